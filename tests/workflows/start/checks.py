"""What must hold of names, claims, slots, lines, deadlines and what is Pending, at any moment."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reactor.testing import Rig
from workflows import LIVE


def assert_start_rules(rig: Rig, workflows: dict[int, Any]) -> None:
    """F1 for the Pending; E05 for names; REQ-7, B53 for what is held; D101 for deadlines."""
    live = {row.id for row in workflows.values() if row.status in LIVE}
    names = Counter(row.name for row in workflows.values())
    assert not names or max(names.values()) == 1, f"two workflows of one name: {names.most_common(1)}"
    held = {row.claim: row.workflow_id for row in rig.rows("workflow_claim")}
    for table in ("workflow_claim", "workflow_slot", "workflow_pending", "workflow_start_timer", "workflow_deadline"):
        for row in rig.rows(table):
            assert row.workflow_id in live, f"{table} has a row of workflow {row.workflow_id}, which is not live"
    _assert_pending(rig, workflows, held)
    _assert_deadlines(rig, workflows)


def _assert_pending(rig: Rig, workflows: dict[int, Any], held: dict[str, int]) -> None:
    pending = {row.workflow_id: row for row in rig.rows("workflow_pending")}
    assert set(pending) == {row.id for row in workflows.values() if row.status == "Pending"}
    timed = {row.workflow_id for row in rig.rows("workflow_start_timer") if not row.cancelled}
    slots = Counter(row.slot for row in rig.rows("workflow_slot"))
    fronts: dict[str, int] = {}
    for row in pending.values():
        if row.line is None:
            assert row.workflow_id in timed, f"nothing will begin workflow {row.workflow_id}"
        else:
            fronts.setdefault(row.line, row.workflow_id)
    for line, front in fronts.items():
        assert line in held or slots[line] or front in timed, f"line {line} stands still"


def _assert_deadlines(rig: Rig, workflows: dict[int, Any]) -> None:
    first: dict[int, int] = {}
    for row in rig.rows("workflow_deadline"):
        first[row.workflow_id] = min(first.get(row.workflow_id, row.scheduled_at), row.scheduled_at)
    for row in workflows.values():
        if row.status in LIVE:
            assert row.deadline == first.get(row.id), f"the deadline of workflow {row.id} is not what will end it"
