"""The built-in buff, to the microsecond."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from reactor import SenderError, minutes, seconds
from reactor.testing import Rig
from tests.workflows.conftest import MakeRig
from workflows import Buff, Status, Timer, Workflow


class LoudBuff(Buff):
    """Notes what its hooks are told."""

    heard: list[Any] = []

    def on_applied(self, w: Workflow[Any]) -> None:
        self.heard.append("applied")

    def on_tick(self, w: Workflow[Any], timer: Timer) -> None:
        self.heard.append(("tick", timer.due_value))

    def on_stacked(self, w: Workflow[Any], before: int) -> None:
        self.heard.append(("stacks", before, w.state.stacks))

    def on_removed(self, w: Workflow[Any], cause: str) -> None:
        self.heard.append((cause, w.time()))


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    LoudBuff.heard.clear()
    return make_rig(LoudBuff)


def buff(rig: Rig, **payload: Any) -> int:
    return rig.start("buff", entity_id=42, payload=payload)


def outcome(rig: Rig, workflow_id: int) -> Any:
    return orjson.loads(rig.row("workflow", workflow_id).result)


def test_it_ticks_and_expires(rig: Rig) -> None:
    """The last tick and the end fall together: tick first."""
    workflow_id = buff(rig, duration_us=seconds(9), tick_us=seconds(3))
    rig.advance(seconds(9) - 1)
    assert rig.row("workflow", workflow_id).current_step == "active"
    rig.advance(1)
    row = rig.row("workflow", workflow_id)
    assert (row.status, row.current_step) == (Status.COMPLETED, "expired")
    assert outcome(rig, workflow_id) == {"outcome": "expired", "stacks": 1}
    assert LoudBuff.heard == [
        "applied", ("tick", seconds(3)), ("tick", seconds(6)), ("tick", seconds(9)), ("expired", seconds(9)),
    ]  # fmt: skip


def test_a_tick_writes_no_row(rig: Rig) -> None:
    """REQ-10: the row stays as it is between changes of state."""
    workflow_id = buff(rig, duration_us=seconds(9), tick_us=seconds(3))
    before = rig.row("workflow", workflow_id)
    rig.advance(seconds(6))
    assert rig.row("workflow", workflow_id) is before


def test_refreshing_keeps_the_phase_of_the_ticks(rig: Rig) -> None:
    """B1, B2: any number of refreshes leave one end and one period, whose phase is that of the start."""
    workflow_id = buff(rig, duration_us=seconds(10), tick_us=seconds(3))
    for _ in range(50):
        rig.advance(seconds(0.1))
        rig.call("workflow_signal", workflow_id, "refresh")
    assert [(t.name, t.scheduled_at) for t in rig.rows("workflow_timer")] == [
        ("tick", seconds(6)),
        ("expire", seconds(15)),
    ]
    rig.call("workflow_signal", workflow_id, "refresh", {"duration_us": seconds(1)})
    rig.advance(seconds(1))
    assert LoudBuff.heard == ["applied", ("tick", seconds(3)), ("tick", seconds(6)), ("expired", seconds(6))]


@pytest.mark.parametrize(("rule", "ends"), [("reset", 14), ("keep", 10), ("extend", 20)])
def test_another_stack_and_the_time_that_is_left(rig: Rig, rule: str, ends: int) -> None:
    """B1: reset, keep or extend; one timer for the end in each case (A71)."""
    workflow_id = buff(rig, duration_us=seconds(10), max_stacks=3, on_stack=rule)
    rig.advance(seconds(4))
    rig.call("workflow_signal", workflow_id, "stack")
    state = orjson.loads(rig.row("workflow", workflow_id).state)
    assert (state["stacks"], state["ends_at"]) == (2, seconds(ends))
    (timer,) = rig.rows("workflow_timer")
    assert timer.scheduled_at == seconds(ends)
    rig.advance(seconds(ends - 4))
    assert rig.row("workflow", workflow_id).status is Status.COMPLETED


def test_stacks_have_a_maximum(rig: Rig) -> None:
    """A64: ``Stack(3)`` arrives as 3; what is above the maximum is lost, but the duration begins again."""
    workflow_id = buff(rig, duration_us=seconds(10), max_stacks=3)
    rig.call("workflow_signal", workflow_id, "stack", [3])
    rig.advance(seconds(5))
    rig.call("workflow_signal", workflow_id, "stack", 9)
    assert LoudBuff.heard == ["applied", ("stacks", 1, 3)]
    (timer,) = rig.rows("workflow_timer")
    assert timer.scheduled_at == seconds(15)


def test_stacks_survive_a_crash_between_signals(rig: Rig) -> None:
    """A61: the counter is in the row."""
    workflow_id = buff(rig, duration_us=seconds(10), max_stacks=9)
    for _ in range(3):
        rig.call("workflow_signal", workflow_id, "stack")
        rig.crash()
        rig.reopen()
    assert orjson.loads(rig.row("workflow", workflow_id).state)["stacks"] == 4


@pytest.mark.parametrize(
    ("signal", "payload", "cause"),
    [
        ("dispel", "[]", "dispelled"),
        ("dispel", {"kind": "magic"}, "dispelled"),
        ("entity_death", None, "entity_death"),
    ],
)
def test_it_can_be_taken_off(rig: Rig, signal: str, payload: Any, cause: str) -> None:
    """A24, A62, A90: dispel before expiry: its timers go and never fire."""
    workflow_id = buff(rig, duration_us=seconds(10), tick_us=seconds(3), kind="magic", max_stacks=2, stacks=5)
    rig.advance(seconds(2))
    assert rig.call("workflow_signal", workflow_id, signal, payload) == "Completed"
    assert outcome(rig, workflow_id) == {"outcome": cause, "stacks": 2}
    assert rig.rows("workflow_timer") == []
    rig.advance(minutes(1))
    assert LoudBuff.heard == ["applied", (cause, seconds(2))]


def test_a_dispel_of_another_kind_does_nothing(rig: Rig) -> None:
    """The kind must fit."""
    workflow_id = buff(rig, duration_us=seconds(10), kind="poison")
    assert rig.call("workflow_signal", workflow_id, "dispel", {"kind": "magic"}) == "Suspended"
    assert rig.row("workflow", workflow_id).sequence == 1


def test_dispel_and_expiry_in_the_same_instant(rig: Rig) -> None:
    """REQ-2: the timers due at an instant come before the inputs of that instant."""
    workflow_id = buff(rig, duration_us=seconds(10))
    rig.clock.move_to(rig.clock.now() + seconds(10))
    with pytest.raises(SenderError) as caught:
        rig.call("workflow_signal", workflow_id, "dispel")
    assert caught.value.code == "not_active"
    assert outcome(rig, workflow_id)["outcome"] == "expired"


def test_a_pause_of_the_process_stops_the_world(rig: Rig) -> None:
    """B3: two seconds into a period of five, down for an hour: the next tick comes after three more."""
    buff(rig, tick_us=seconds(5))
    rig.advance(seconds(2))
    rig.crash()
    rig.advance(minutes(60))
    rig.reopen()
    rig.advance(seconds(3) - 1)
    assert LoudBuff.heard == ["applied"]
    rig.advance(1)
    assert LoudBuff.heard == ["applied", ("tick", seconds(5))]


def test_without_a_duration_it_lasts(rig: Rig) -> None:
    """Infinite, no timer at all: only a signal ends it."""
    workflow_id = buff(rig, effect="curse")
    assert rig.rows("workflow_timer") == []
    rig.call("workflow_signal", workflow_id, "refresh")
    rig.call("workflow_signal", workflow_id, "stack")
    rig.advance(minutes(60))
    assert rig.call("workflow_signal", workflow_id, "dispel") == "Completed"


def test_cancelling_tells_the_game(rig: Rig) -> None:
    """The hook runs, the result says how many stacks there were."""
    workflow_id = buff(rig, duration_us=seconds(10), stacks=2, max_stacks=2)
    rig.call("workflow_cancel", workflow_id, "gm")
    assert LoudBuff.heard == ["applied", ("cancelled", 0)]
    assert outcome(rig, workflow_id) == {"outcome": "cancelled", "stacks": 2}


@pytest.mark.parametrize(
    "payload",
    [
        {"duration_us": 0},
        {"duration_us": -1},
        {"duration_us": 2**60},
        {"tick_us": 0},
        {"tick_us": 49_999},
        {"stacks": 0},
        {"on_stack": "x"},
        {"tick_us": "1"},
    ],
)
def test_bad_payloads_are_refused(rig: Rig, payload: Any) -> None:
    """A64: ranges and types."""
    with pytest.raises(SenderError) as caught:
        buff(rig, **payload)
    assert caught.value.code == "bad_arguments"


def test_lost_timers_are_armed_again_in_phase(rig: Rig) -> None:
    """C01: a planted row without its timers is taken up, with the end and the ticks where they were."""
    workflow_id = buff(rig, duration_us=seconds(10), tick_us=seconds(3))
    rig.advance(seconds(4))

    def lose(ctx: Any) -> None:
        for timer in ctx.db.workflow_timer:
            ctx.db.workflow_timer.delete(timer)
        ctx.db.workflow.update(workflow_id, status=Status.RUNNING)

    rig.run(lose)
    rig.crash()
    rig.reopen()
    assert LoudBuff.heard == ["applied", ("tick", seconds(3))], "a tick that was had does not come again"
    assert {t.name: t.scheduled_at for t in rig.rows("workflow_timer")} == {"tick": seconds(6), "expire": seconds(10)}
