"""Scripts and what is outside of them: tasks that workers do, events that others publish."""

from __future__ import annotations

import json
from typing import Any

from tests.workflows.scripts.world import crash, make_rig
from workflows import NoPayload, Payload, seconds
from workflows.scripts import Run, TaskFailedError, script


@script(clock="wall")
async def smith(w: Run, payload: NoPayload) -> Any:
    """Have two things forged, one of which fails."""
    first = await w.task("forge", "sword", {"steel": 3})
    try:
        await w.task("forge", "crown", {"gold": 9}, attempts_max=1)
    except TaskFailedError as error:
        return [first, error.status]


def claim(rig: Any) -> dict[str, Any]:
    """Take the next task of the queue."""
    (task,) = rig.call("task_claim", "forge", 5, seconds(30))
    return dict(task)


def test_a_task_gives_its_result_once() -> None:
    """C27, D119: the script waits across crashes, gets the result once, and a failure as an error."""
    with make_rig(smith) as rig:
        started = rig.call("workflow_start", "smith")
        row = rig.row("workflow", started)
        assert (row.status, row.waits) == ("Suspended", "task:forge")
        crash(rig)
        task = claim(rig)
        crash(rig)
        rig.call("task_complete", task["id"], task["token"], {"sharp": True})
        crash(rig)
        task = claim(rig)
        rig.call("task_fail", task["id"], task["token"], "cracked")
        assert json.loads(rig.row("workflow", started).result) == [{"sharp": True}, "failed"]


def test_a_task_that_lost_is_cancelled() -> None:
    """A62: the task of a select that somebody else won is taken back."""

    @script(clock="wall")
    async def hasty(w: Run, payload: NoPayload) -> str:
        chosen = await w.select(done=w.task("forge", "sword"), late=w.sleep(seconds(5)))
        return str(chosen.name)

    with make_rig(hasty) as rig:
        started = rig.call("workflow_start", "hasty")
        rig.advance(seconds(5))
        assert json.loads(rig.row("workflow", started).result) == "late"
        assert [task.status for task in rig.rows("task")] == ["Cancelled"]


class Zone(Payload):
    """Where to listen."""

    zone: int


@script(clock="wall")
async def listener(w: Run, payload: Zone) -> Any:
    """Wait for the storm of one zone."""
    return await w.event("storm", f"zone {payload.zone}")


def test_a_broadcast_wakes_those_of_its_zone() -> None:
    """A67, E21: of sixty listeners in three zones, twenty wake, in one commit, each with the data."""
    with make_rig(listener) as rig:
        ids = [rig.call("workflow_start", "listener", n, None, {"zone": n % 3}) for n in range(60)]
        crash(rig)
        before = rig.engine.seq
        rig.call("event_publish", "storm", "zone 1", {"wind": 9})
        assert rig.engine.seq == before + 1
        rows = [rig.row("workflow", i) for i in ids]
        assert [row.status for row in rows] == ["Completed" if n % 3 == 1 else "Suspended" for n in range(60)]
        assert json.loads(rows[1].result) == {"wind": 9}
        rig.advance(1)
        rig.call("event_publish", "storm", "zone 1", {"wind": 1})
        assert sum(row.status == "Completed" for row in rig.rows("workflow")) == 20


def test_an_event_from_before_the_wait_is_found() -> None:
    """E20: published first, waited for with an earlier as-of, and it wakes."""

    @script(clock="wall")
    async def late(w: Run, payload: NoPayload) -> Any:
        return await w.select(bell=w.event("bell", as_of=w.now - seconds(10)), late=w.sleep(seconds(60)))

    with make_rig(late) as rig:
        rig.call("event_publish", "bell", "", {"rings": 2})
        rig.advance(seconds(5))
        started = rig.call("workflow_start", "late")
        assert json.loads(rig.row("workflow", started).result) == ["bell", {"rings": 2}]
        assert rig.rows("workflow_timer") == [] and rig.rows("event_subscription") == []
