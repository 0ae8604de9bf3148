"""The record of transitions: one row of ``workflow_event`` for each, in the commit of what it records."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows.life import Status

DETAIL_CHARS_MAX = 500
COMPACTED = "compacted"
"""The kind of the event that stands for those that were removed; ``sequence`` is the last of these."""


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
    """Write one event. ``before`` is the workflow's row before the transition, None if it is new.

    Past ``workflow_events_max`` of one workflow the oldest quarter gives way to a mark, an event ``compacted``.
    """
    events, bound = ctx.db.workflow_event, ctx.limits.workflow_events_max
    if 0 < bound <= events.count(workflow_id=workflow_id):
        _compact(events, workflow_id, bound)
    events.insert(
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


def _compact(events: Any, workflow_id: int, bound: int) -> None:
    """Remove the oldest events; the first of them becomes the mark, which says how many there were up to which."""
    rows = events.lookup(("workflow_id",), (workflow_id,))
    first, gone = rows[0], rows[1 : len(rows) - bound * 3 // 4]
    for row in gone:
        events.delete(row.id)
    before = int(first.detail.split()[0]) if first.kind == COMPACTED else 1
    last = gone[-1] if gone else first
    events.update(first.id, kind=COMPACTED, sequence=last.sequence, detail=f"{before + len(gone)} events were removed")
