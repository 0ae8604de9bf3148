"""Deadlines: timers of their own, so that a workflow that waits for a signal alone ends in time as well."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows.start.tables import Span


def arm(ctx: Context, workflow_id: int, span: Span, at: int | None, lasts_us: int | None = None) -> None:
    """Let a workflow end as TimedOut at that instant; None arms nothing."""
    if at is not None:
        ctx.db.workflow_deadline.insert(scheduled_at=at, workflow_id=workflow_id, span=span, lasts_us=lasts_us)


def earliest(ctx: Context, workflow_id: int) -> int | None:
    """The first of a workflow's deadlines, for its column; None if it has none."""
    rows = ctx.db.workflow_deadline.lookup(("workflow_id",), (workflow_id,))
    return min((row.scheduled_at for row in rows), default=None)


def drop(ctx: Context, workflow_id: int) -> None:
    """A workflow has ended."""
    table = ctx.db.workflow_deadline
    for row in table.lookup(("workflow_id",), (workflow_id,)):
        table.delete(row.scheduled_id)


def renew(ctx: Context, workflow_id: int) -> int | None:
    """A new run begins under the same id: a deadline given as a span counts anew, one that is an instant stays.

    Returns what the column ``deadline`` is to show.
    """
    table = ctx.db.workflow_deadline
    if table.rows:
        for row in table.lookup(("workflow_id",), (workflow_id,)):
            if row.span is Span.RUN and row.lasts_us is not None:
                table.update(row.scheduled_id, scheduled_at=ctx.now + row.lasts_us)
    return earliest(ctx, workflow_id)


def reason(row: Any) -> str:
    """Why a workflow was ended by this deadline."""
    if row.span is Span.CHAIN:
        return "the deadline of all its runs together has passed"
    return "its deadline has passed"
