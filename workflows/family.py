"""Parents and children, by index: children that have ended, however many, are not looked at."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows.life import LIVE

_LIVE = sorted(LIVE)
_COLUMNS = ("parent_id", "status")


def live_children(ctx: Context, workflow_id: int) -> list[Any]:
    """The rows of a workflow's children that have not ended, oldest first."""
    workflows = ctx.db.workflow
    if not workflows.count(parent_id=workflow_id):
        return []
    found = [row for status in _LIVE for row in workflows.lookup(_COLUMNS, (workflow_id, status))]
    found.sort(key=lambda row: row.id)
    return found


def count_live_children(ctx: Context, workflow_id: int) -> int:
    """How many children of a workflow have not ended."""
    workflows = ctx.db.workflow
    if not workflows.count(parent_id=workflow_id):
        return 0
    return sum(workflows.count(parent_id=workflow_id, status=status) for status in _LIVE)
