"""Scripts on the simulated rig: what they await, and that a restart makes no difference."""

from __future__ import annotations

import json

from reactor.testing import Rig
from tests.workflows.scripts.scripts import Burn, nap
from workflows import WorkflowEngine, seconds


def test_one_sleep() -> None:
    """A60: a script of one sleep waits as one row and one timer, and ends with what it returns."""
    with Rig(WorkflowEngine([nap])) as rig:
        started = rig.call("workflow_start", "nap")
        row = rig.row("workflow", started)
        assert (row.status, row.current_step, row.waits) == ("Suspended", "sleep", None)
        assert len(rig.rows("workflow_timer")) == 1
        rig.advance(seconds(5))
        row = rig.row("workflow", started)
        assert (row.status, json.loads(row.result)) == ("Completed", "awake")
        (pointer,) = rig.rows("execution_pointer")
        assert (pointer.kind, pointer.status, pointer.created_no, pointer.done_no) == ("sleep", "Complete", 1, 2)


def test_select_cancels_the_losers_and_locals_survive() -> None:
    """A61, A62, A71, A64: stacks survive a crash; the timer of a select that was lost is flagged and never fires."""
    with Rig(WorkflowEngine([Burn])) as rig:
        started = rig.call("workflow_start", "burn", 7, None, {"duration_us": seconds(10)})
        for _ in range(10):
            rig.advance(seconds(6))
            rig.call("workflow_signal", started, "stack", {"count": 3})
            rig.crash()
            rig.reopen()
        timers = [t for t in rig.rows("workflow_timer") if not t.cancelled]
        assert len(timers) == 1
        rig.advance(seconds(9))
        assert rig.row("workflow", started).status == "Suspended"
        rig.advance(seconds(1))
        assert json.loads(rig.row("workflow", started).result) == {"outcome": "expire", "stacks": 31}
