"""What must hold of what was stopped, what failed and what was asked for."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reactor.testing import Rig
from workflows import TERMINAL
from workflows.control.errorlog import ERRORS_MAX
from workflows.failures import FailureCategory

# The log of commands also tells of those for workflows that never were, and what came of a group's targets goes with
# its operation: both bound themselves.
_OUTLIVES = {"command_log", "workflow_group_result"}


def assert_control(rig: Rig, workflows: dict[int, Any]) -> None:
    """F1, F2, F6, F10 and A105, as far as rows tell."""
    assert_parked(rig, workflows)
    assert_ends(rig, workflows)
    assert_errors(rig)
    assert_no_orphans(rig)
    assert all(row.outcome in ("accepted", "refused") for row in rig.rows("command_log"))
    assert all((row.code is None) == (row.outcome == "accepted") for row in rig.rows("command_log"))


def assert_parked(rig: Rig, workflows: dict[int, Any]) -> None:
    """F1, F2: what is paused or faulted has one row that says so, and no timer of it can fire."""
    parked = {row.workflow_id: row for row in rig.rows("workflow_parked")}
    stopped = {row.id: row for row in workflows.values() if row.status in ("Paused", "Faulted")}
    assert parked.keys() == stopped.keys(), "what is stopped, and what says so"
    for workflow_id, row in parked.items():
        assert row.status == stopped[workflow_id].status
        assert row.cancelled or row.status == "Faulted", "a pause ends by itself"
        assert (stopped[workflow_id].failure_category is not None) == (row.status == "Faulted")
    for timer in rig.rows("workflow_timer"):
        if timer.workflow_id in stopped:
            assert timer.cancelled, f"timer {timer.name} of workflow {timer.workflow_id} may fire"
        assert timer.cancelled or not timer.held


def assert_ends(rig: Rig, workflows: dict[int, Any]) -> None:
    """F6, D99: an end has its time, and a failure its category; nothing live has either."""
    for row in workflows.values():
        ended = row.status in TERMINAL
        assert (row.ended_at is not None) == ended, f"workflow {row.id}: {row.status}, ended at {row.ended_at}"
        failed = ended and row.status != "Completed"
        if failed:
            assert row.failure_category in set(FailureCategory), f"workflow {row.id} failed without a category"
        elif ended:
            assert row.failure_category is None
        parent = workflows.get(row.parent_id)
        if parent is not None and parent.status in TERMINAL:
            assert ended, f"workflow {row.id} outlived its parent"


def assert_errors(rig: Rig) -> None:
    """E25, D100: failures are bounded, follow one another in order, and have a category."""
    errors = {row.id: row for row in rig.rows("execution_error")}
    counts = Counter(row.workflow_id for row in errors.values())
    assert not counts or max(counts.values()) <= ERRORS_MAX
    for row in errors.values():
        assert row.category in set(FailureCategory)
        before = errors.get(row.follows)
        if before is not None:
            assert before.workflow_id == row.workflow_id
            assert row.attempt == before.attempt + 1
            assert before.at <= row.at


def assert_no_orphans(rig: Rig) -> None:
    """A105, E14: whatever table has a workflow's id has that of one that exists."""
    ids = {row.id for row in rig.rows("workflow")}
    for name, table in rig.engine.store.tables.items():
        if name in _OUTLIVES or "workflow_id" not in table.schema.column_names:
            continue
        lost = {row.workflow_id for row in table} - ids - {None}
        assert lost == set(), f"{name} speaks of workflows that are gone"
