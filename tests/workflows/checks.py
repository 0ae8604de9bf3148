"""What must hold of the workflow tables at any moment, whatever was done to them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reactor.testing import Rig
from tests.workflows.control.checks import assert_control
from tests.workflows.start.checks import assert_start_rules
from tests.workflows.tasks.checks import assert_tasks
from workflows import LIVE, TERMINAL

_RESTING = ("Pending", "Paused", "Faulted")
"""Live, and waiting for somebody or something else than what would wake it."""


def assert_invariants(rig: Rig) -> None:
    """F1 a live workflow has a way on; F2 an ended one has no timers; A71 one timer of each name."""
    workflows = {row.id: row for row in rig.rows("workflow")}
    timers = rig.rows("workflow_timer")
    excused = {row.workflow_id for row in rig.rows("recovery_error")}
    excused |= {event.workflow_id for event in rig.rows("workflow_event") if event.kind == "skipped"}
    awake = {t.workflow_id for t in timers if not t.cancelled}
    awake |= {row.parent_id for row in workflows.values() if row.status in LIVE}
    awake |= {row.workflow_id for row in rig.rows("event_subscription")}
    awake |= {row.workflow_id for row in rig.rows("task") if row.ended_at is None}
    for row in workflows.values():
        if row.status in LIVE and row.id not in excused and row.status not in _RESTING:
            assert row.status == "Suspended", f"workflow {row.id} was left {row.status} between two calls"
            assert row.waits is not None or row.id in awake, f"nothing will wake workflow {row.id}"
        if row.status in TERMINAL:
            assert row.waits is None, f"workflow {row.id} has ended and still waits"
        assert row.updated_at >= row.created_at
    for timer in timers:
        owner = workflows.get(timer.workflow_id)
        assert owner is not None, f"timer {timer.scheduled_id} belongs to nobody"
        assert owner.status in LIVE, f"timer {timer.scheduled_id} outlived its workflow"
    names = Counter((t.workflow_id, t.name) for t in timers)
    assert not names or max(names.values()) == 1, f"two timers of one name: {names.most_common(1)}"
    assert_control(rig, workflows)
    assert_start_rules(rig, workflows)
    assert_tasks(rig)
    assert_nobody_waits_after_the_end(rig, workflows)
    assert_events_match(rig, workflows)


def assert_nobody_waits_after_the_end(rig: Rig, workflows: dict[int, Any]) -> None:
    """F6: what waits for a workflow, and what it waits for, goes with it."""
    for table in ("workflow_message", "event_subscription"):
        for row in rig.rows(table):
            owner = workflows.get(row.workflow_id)
            assert owner is not None and owner.status in LIVE, f"{table} {row.id} outlived its workflow"
    for update in rig.rows("workflow_update"):
        owner = workflows.get(update.workflow_id)
        assert owner is not None, f"update {update.id} belongs to nobody"
        assert update.outcome != "accepted" or owner.status in LIVE, f"update {update.id} will never be done"


def assert_events_match(rig: Rig, workflows: dict[int, Any]) -> None:
    """With the audit on there is one event of each sequence number, besides a handler's own notes."""
    kinds = {"pending", "started", "stepped", "faulted", "paused", "resumed", "occurrence_skipped"}
    kinds |= {"completed", "failed", "cancelled", "terminated", "timed_out"}
    numbers: dict[int, list[int]] = {}
    removed: dict[int, int] = {}
    for event in rig.rows("workflow_event"):
        if event.kind == "compacted":
            assert event.workflow_id not in removed | numbers, "the mark is the first of the events"
            removed[event.workflow_id] = event.sequence
        elif event.kind in kinds:
            numbers.setdefault(event.workflow_id, []).append(event.sequence)
    for workflow_id, found in numbers.items():
        first = removed.get(workflow_id, 0) + 1
        assert found == list(range(first, workflows[workflow_id].sequence + 1)), f"events of workflow {workflow_id}"


def picture(rig: Rig) -> list[Any]:
    """Everything the workflow tables say, but for ids that only depend on when the process was started."""
    rows = [tuple(getattr(r, f) for f in r.__struct_fields__) for r in rig.rows("workflow")]
    timers = [
        tuple(getattr(t, f) for f in t.__struct_fields__ if f not in ("scheduled_id",))
        for t in sorted(rig.rows("workflow_timer"), key=lambda t: (t.workflow_id, t.name))
    ]
    events = [tuple(getattr(e, f) for f in e.__struct_fields__ if f != "id") for e in rig.rows("workflow_event")]
    return [rows, timers, events]
