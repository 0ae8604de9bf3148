"""Giving up a type in steps: no more starts, those that live end, then its code may go."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from reactor.errors import SenderError
from workflows.definition import Definition
from workflows.life import is_live
from workflows.outcome import MESSAGE_CHARS_MAX


def refuse_retired(ctx: Context, kind: Definition) -> None:
    """``SenderError`` ``type_retired`` if no more workflows of the type are to be started.

    Asked only where ``kind.may_be_retired``. The table decides: what the flag was set for may have been undone.
    """
    row = ctx.db.workflow_definition.get(kind.name)
    if row is not None and row.retired_at is not None:
        raise SenderError(
            "type_retired",
            f"workflow type {kind.name} is retired, so no more of them are started"
            + (f": {row.retired_reason}" if row.retired_reason else ""),
            workflow_type=kind.name,
            retired_at=row.retired_at,
        )


def retire(ctx: Context, kind: Definition | None, name: str, reason: str | None) -> dict[str, Any]:
    """Let no more workflows of the type be started; returns its status. To do it again changes nothing."""
    row = _require(ctx, name)
    if kind is not None:
        kind.may_be_retired = True
    if row.retired_at is None:
        shown = None if not reason else reason[:MESSAGE_CHARS_MAX]
        ctx.db.workflow_definition.update(name, retired_at=ctx.now, retired_by=ctx.sender, retired_reason=shown)
        ctx.log(f"workflow type {name} is retired: no more of them are started")
    return status_of(ctx, name)


def restore(ctx: Context, name: str) -> dict[str, Any]:
    """Let workflows of the type be started again; returns its status."""
    row = _require(ctx, name)
    if row.retired_at is not None:
        ctx.db.workflow_definition.update(name, retired_at=None, retired_by=None, retired_reason=None)
        ctx.log(f"workflow type {name} is no longer retired")
    return status_of(ctx, name)


def status_of(ctx: Context, name: str) -> dict[str, Any]:
    """Where a type stands: whether it is registered and retired, how many live, and which began first.

    ``may_be_dropped``: it is retired and none of its workflows live, so a version without its code may be deployed.
    """
    row = _require(ctx, name)
    live = [each for each in ctx.db.workflow.lookup(("workflow_type",), (name,)) if is_live(each.status)]
    oldest = min(live, key=lambda each: (each.created_at, each.id), default=None)
    return {
        "workflow_type": name,
        "is_registered": row.is_registered,
        "state_version": row.state_version,
        "retired_at": row.retired_at,
        "retired_by": row.retired_by,
        "reason": row.retired_reason,
        "live": len(live),
        "oldest_id": oldest and oldest.id,
        "oldest_at": oldest and oldest.created_at,
        "may_be_dropped": row.retired_at is not None and not live,
    }


def _require(ctx: Context, name: str) -> Any:
    row = ctx.db.workflow_definition.get(name)
    if row is None:
        known = sorted(ctx.db.workflow_definition.rows)
        raise SenderError(
            "unknown_type",
            f"there is no workflow type {name!r}; there are {', '.join(known) or 'none'}",
            workflow_type=name,
            known_types=known,
        )
    return row
