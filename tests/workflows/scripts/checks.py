"""What must hold of scripts: a record belongs to somebody, nothing is open after the end, and every record replays."""

from __future__ import annotations

from typing import Any

from reactor.testing import Rig
from workflows import LIVE
from workflows.engine import WorkflowEngine
from workflows.scripts.record import replay_record, take_record
from workflows.scripts.runner import ScriptRunner
from workflows.scripts.tables import OPEN

REPLAYED_MAX = 200


def assert_scripts(rig: Rig) -> None:
    """C16, C28, D58: pointers belong to the current run, open ones to live workflows, and live scripts replay."""
    workflows = {row.id: row for row in rig.rows("workflow")}
    for pointer in rig.rows("execution_pointer"):
        owner = workflows.get(pointer.workflow_id)
        assert owner is not None, f"pointer {pointer.id} belongs to nobody"
        assert pointer.run == owner.run, f"pointer {pointer.id} is of run {pointer.run}, its workflow of {owner.run}"
        assert pointer.status not in OPEN or owner.status in LIVE, f"pointer {pointer.id} outlived its workflow"
    kinds = _runners(rig)
    context = rig.engine.look()
    live = [row for row in workflows.values() if row.status in LIVE and row.workflow_type in kinds]
    for row in live[:REPLAYED_MAX]:
        # Before its first step, and parked because its code has changed, a script cannot be replayed.
        if row.state != "null" and row.failure_category != "task_failure":
            runner = kinds[row.workflow_type]
            verdict = replay_record(runner, take_record(context, row, runner))
            assert verdict.is_ok, f"workflow {row.id} ({row.workflow_type}): {verdict.message}"


def _runners(rig: Rig) -> dict[str, ScriptRunner]:
    found: dict[str, ScriptRunner] = {}
    waiting: list[Any] = [rig.module]
    while waiting:
        module = waiting.pop()
        waiting += module.includes
        if isinstance(module, WorkflowEngine):
            found |= {kind.name: kind.handler for kind in module.registry if isinstance(kind.handler, ScriptRunner)}
    return found
