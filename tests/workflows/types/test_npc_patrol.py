"""The built-in patrol, to the microsecond."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reactor import SenderError, days, minutes, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from workflows import Combat, NpcPatrol, Status, Workflow

PATH = [
    {"place": "gate", "travel_us": seconds(4)},
    {"place": "well", "travel_us": seconds(8), "wait_us": seconds(2)},
    {"place": "inn", "travel_us": seconds(3)},
]


class LoudPatrol(NpcPatrol):
    """Notes where it arrives, on the world's clock."""

    arrived: list[tuple[str, float]] = []

    def on_arrive(self, w: Workflow[Any], waypoint: Any) -> None:
        self.arrived.append((waypoint.place, w.time() / seconds(1)))

    def on_depart(self, w: Workflow[Any]) -> None:
        w.state.waypoints[w.state.to]  # it is known where it goes


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    LoudPatrol.arrived.clear()
    return make_rig(LoudPatrol, Combat)


def patrol(rig: Rig, **more: Any) -> int:
    return rig.start("npc_patrol", entity_id=5, payload={"waypoints": PATH, **more})


def signal(rig: Rig, workflow_id: int, name: str, payload: Any = None) -> None:
    rig.call("workflow_signal", workflow_id, name, payload)


def test_two_rounds_of_a_loop(rig: Rig) -> None:
    """N1: exact arrival times."""
    workflow_id = patrol(rig)
    assert rig.row("workflow", workflow_id).current_step == "moving"
    rig.advance(seconds(34))
    assert LoudPatrol.arrived == [
        ("well", 8), ("inn", 13), ("gate", 17), ("well", 25), ("inn", 30), ("gate", 34),
    ]  # fmt: skip


def test_there_and_back(rig: Rig) -> None:
    """A leg takes as long in both directions; the ends are not visited twice."""
    patrol(rig, mode="ping_pong")
    rig.advance(seconds(39))
    assert LoudPatrol.arrived == [
        ("well", 8), ("inn", 13), ("well", 16), ("gate", 26), ("well", 34), ("inn", 39),
    ]  # fmt: skip


def test_once_along_the_path(rig: Rig) -> None:
    """It ends at the last waypoint."""
    workflow_id = patrol(rig, mode="once")
    rig.advance(seconds(60))
    assert LoudPatrol.arrived == [("well", 8), ("inn", 13)]
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.current_step) == (Status.COMPLETED, "finished")
    assert orjson.loads(row.result) == {"outcome": "finished", "place": "inn"}


def test_a_watcher_gets_two_changes_a_leg(rig: Rig) -> None:
    """N9: at most two row changes per leg, none in between."""
    workflow_id = patrol(rig)
    watch = rig.subscribe(f"SELECT * FROM workflow WHERE id = {workflow_id}")
    rig.advance(seconds(17))
    assert [row["current_step"] for _, row in watch.events] == ["waiting", "moving", "moving", "moving"]


@pytest.mark.parametrize(("resume", "arrives"), [("here", 28), ("departure", 31)])
def test_an_interrupted_leg_goes_on(rig: Rig, resume: str, arrives: float) -> None:
    """N2, N3: interrupted at 3/8 of a leg for 20 s; nothing happens meanwhile; exact next arrival."""
    workflow_id = patrol(rig, resume=resume)
    rig.advance(seconds(3))
    signal(rig, workflow_id, "combat_start")
    assert rig.row("workflow", workflow_id).current_step == "interrupted"
    assert [t.cancelled for t in rig.rows("workflow_timer")] == [True]
    rig.advance(seconds(20))
    assert LoudPatrol.arrived == []
    signal(rig, workflow_id, "combat_start")
    signal(rig, workflow_id, "combat_end")
    signal(rig, workflow_id, "combat_end")
    assert rig.row("workflow", workflow_id).current_step == "moving"
    rig.advance(seconds(30))
    assert LoudPatrol.arrived[0] == ("well", arrives)


def test_an_interrupted_wait_goes_on(rig: Rig) -> None:
    """A wait keeps what was left of it, also across a crash."""
    workflow_id = patrol(rig)
    rig.advance(seconds(9.5))
    signal(rig, workflow_id, "combat_start")
    rig.crash()
    rig.advance(minutes(10))
    rig.reopen()
    rig.advance(seconds(10))
    signal(rig, workflow_id, "combat_end")
    assert rig.row("workflow", workflow_id).current_step == "waiting"
    rig.advance(seconds(0.5))
    assert rig.row("workflow", workflow_id).current_step == "moving"


def test_a_fight_of_its_own_resumes_the_patrol(rig: Rig) -> None:
    """A66: the patrol spawns a combat and walks on when it ends, however it ends."""
    workflow_id = patrol(rig)
    rig.advance(seconds(3))
    signal(rig, workflow_id, "combat_start", {"fight": {"participants": [5, 6], "turn_us": seconds(1)}})
    (fight,) = [row for row in rig.rows("workflow") if row.workflow_type == "combat"]
    assert (fight.parent_id, fight.entity_id) == (workflow_id, 5)
    rig.advance(seconds(2))
    signal(rig, fight.id, "death", 6)
    assert rig.row("workflow", workflow_id).current_step == "moving"
    rig.advance(seconds(5))
    assert LoudPatrol.arrived == [("well", 10)]
    signal(rig, workflow_id, "combat_start", {"fight": {"participants": [5, 7]}})
    rig.call("workflow_cancel", rig.rows("workflow")[-1].id, "gm")
    assert rig.row("workflow", workflow_id).current_step == "waiting"


def test_arrival_and_interrupt_in_the_same_instant(rig: Rig) -> None:
    """REQ-2: it has arrived, and is interrupted in its wait."""
    workflow_id = patrol(rig)
    rig.clock.move_to(rig.clock.now() + seconds(8))
    signal(rig, workflow_id, "combat_start")
    assert LoudPatrol.arrived == [("well", 8)]
    state = orjson.loads(rig.row("workflow", workflow_id).state)
    assert (state["phase"], state["remaining_us"]) == ("waiting", seconds(2))


def test_it_freezes_while_the_process_is_down(rig: Rig) -> None:
    """The world's clock: a leg goes on where it was."""
    patrol(rig)
    rig.advance(seconds(3))
    rig.crash()
    rig.advance(minutes(60))
    rig.reopen()
    rig.advance(seconds(5))
    assert LoudPatrol.arrived == [("well", 8)]


@pytest.mark.parametrize(
    "payload",
    [
        {"waypoints": [{"place": "a", "travel_us": 0}]},
        {"waypoints": [{"place": "a", "travel_us": 0}, {"place": "b", "travel_us": 49_999}], "mode": "ping_pong"},
        {"waypoints": [{"place": "a", "travel_us": 100}] * 999 + [{"place": "b", "travel_us": 60_000}]},
        {"waypoints": [{"place": "a", "travel_us": 0, "wait_us": days(40_000)}]},
        {"waypoints": []},
        {"waypoints": [{"place": "a", "travel_us": -1}]},
        {"waypoints": [{"place": "a", "travel_us": 60_000, "speed": 2}]},
    ],
)
def test_paths_that_cannot_be_walked_are_refused(rig: Rig, payload: Any) -> None:
    """N5: a zero-length loop is refused at the start and never spins."""
    with pytest.raises(SenderError) as caught:
        rig.start("npc_patrol", payload=payload)
    assert caught.value.code == "bad_arguments"


def test_one_waypoint_is_a_patrol_too(rig: Rig) -> None:
    """It walks in a circle, or just stands and waits."""
    rig.start("npc_patrol", payload={"waypoints": [{"place": "a", "travel_us": seconds(2)}]})
    waits = [{"place": "b", "travel_us": 0, "wait_us": seconds(3)}]
    rig.start("npc_patrol", payload={"waypoints": waits, "mode": "ping_pong"})
    rig.advance(seconds(6))
    assert LoudPatrol.arrived == [("a", 2), ("b", 3), ("a", 4), ("a", 6), ("b", 6)]


def test_cancelled_while_waiting_it_leaves_nothing(rig: Rig) -> None:
    """N10: no timer, no later arrival."""
    workflow_id = patrol(rig)
    rig.advance(seconds(9))
    rig.call("workflow_cancel", workflow_id, "despawned")
    assert rig.rows("workflow_timer") == []
    rig.advance(seconds(60))
    assert LoudPatrol.arrived == [("well", 8)]


def test_a_lost_timer_begins_the_leg_again(rig: Rig) -> None:
    """C01: taken up at the next start."""
    workflow_id = patrol(rig)
    rig.advance(seconds(3))

    def lose(ctx: Any) -> None:
        for timer in ctx.db.workflow_timer:
            ctx.db.workflow_timer.delete(timer)
        ctx.db.workflow.update(workflow_id, status=Status.RUNNING)

    rig.run(lose)
    rig.crash()
    rig.reopen()
    rig.advance(seconds(8))
    assert LoudPatrol.arrived == [("well", 11)]
