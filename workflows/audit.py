"""The record of transitions: one row of ``workflow_event`` for each, in the commit of what it records."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows.life import Status

DETAIL_CHARS_MAX = 500


def actor_of(ctx: Context) -> str:
    """Who causes what this call does: an identity, a timer, or the server itself.

    A timer that the operator fires by hand is the operator's doing.
    """
    return ctx.sender or ("system" if ctx.timer is None else "timer")


def record(
    ctx: Context,
    workflow_id: int,
    sequence: int,
    kind: str,
    cause: str,
    before: Any,
    status: Status,
    step: str,
    detail: str | None = None,
) -> None:
    """Write one event. ``before`` is the workflow's row before the transition, None if it is new."""
    ctx.db.workflow_event.insert(
        workflow_id=workflow_id,
        sequence=sequence,
        timestamp=ctx.now,
        real_at=ctx.real_now,
        kind=kind,
        actor=actor_of(ctx),
        cause=cause,
        status_before=None if before is None else before.status,
        status_after=status,
        step_before=None if before is None else before.current_step,
        step_after=step,
        detail=detail if detail is None else detail[:DETAIL_CHARS_MAX],
    )
