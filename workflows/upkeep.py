"""Upkeep by the operator: removing what ended long ago, and firing due timers by hand."""

from __future__ import annotations

from typing import Any

from reactor.clock import days
from reactor.context import Context
from reactor.errors import SenderError
from reactor.timers import TimerInfo, plan_firing
from workflows.dispatch import Dispatcher
from workflows.life import is_live

CLEANUP_MAX = 1_000
"""Workflows removed in one call: a few milliseconds, so that a clean-up of a million holds nobody up."""
TICK_MAX = 256


def cleanup(ctx: Context, older_than_days: float, limit: int = CLEANUP_MAX) -> dict[str, Any]:
    """Remove ended workflows untouched for that many days, with all that belongs to them, oldest first.

    Returns ``{"removed": n, "more": whether a further call would find some}``.
    """
    if not 0 <= older_than_days < float("inf"):
        raise SenderError("bad_arguments", "parameter days: a number of days from 0 up", parameter="days")
    before = ctx.now - days(older_than_days)
    found: list[Any] = []
    # In the order the rows were made: what is old is met first, and the search stops when it has enough.
    for row in ctx.db.workflow.rows.values():
        if row.updated_at < before and not is_live(row.status):
            found.append(row)
            if len(found) > limit:
                break
    for row in found[:limit]:
        _remove(ctx, row)
    return {"removed": min(len(found), limit), "more": len(found) > limit}


def _remove(ctx: Context, row: Any) -> None:
    db = ctx.db
    for timer in db.workflow_timer.lookup(("workflow_id",), (row.id,)):
        db.workflow_timer.delete(timer.scheduled_id)
    for event in db.workflow_event.lookup(("workflow_id",), (row.id,)):
        db.workflow_event.delete(event.id)
    db.recovery_error.delete(row.id)
    last = db.last_workflow_id.get(row.owner)
    if last is not None and last.workflow_id == row.id:
        db.last_workflow_id.delete(last.identity)
    db.workflow.delete(row.id)


def tick(ctx: Context, dispatcher: Dispatcher, limit: int = TICK_MAX) -> int:
    """Fire the timers that are due now, in order, and no others; returns how many.

    The reactor does this by itself before every call; by hand it matters only behind a backlog, or in a debugger.
    """
    due: list[tuple[int, int, int]] = []
    for row in ctx.db.workflow_timer.rows.values():
        if not row.cancelled and row.scheduled_at <= ctx.clock_value(row.clock):
            due_at = ctx.wall_of(row.clock, row.scheduled_at)
            due.append((ctx.now if due_at is None else due_at, row.priority, row.scheduled_id))
    due.sort()
    for due_at, _, scheduled_id in due[:limit]:
        row = ctx.db.workflow_timer.get(scheduled_id)
        # One that fired before it may have moved or ended it.
        if row is not None and not row.cancelled and row.scheduled_at <= ctx.clock_value(row.clock):
            _fire_by_hand(ctx, dispatcher, row, due_at)
    return len(due[:limit])


def _fire_by_hand(ctx: Context, dispatcher: Dispatcher, row: Any, due_at: int) -> None:
    """One occurrence as the reactor would fire it, under its catch-up policy and at its logical time."""
    now, table = ctx.now, ctx.db.workflow_timer
    plan = plan_firing(row, row.scheduled_at, ctx.clock_value(row.clock))
    if plan.run:
        at = due_at + plan.due_value - row.scheduled_at
        ctx.now = at
        ctx.timer = TimerInfo(table.name, row.scheduled_id, row.clock, plan.due_value, at, now, now - at, plan.missed)
        try:
            dispatcher.fire(ctx, row)
        finally:
            ctx.now, ctx.timer = now, None
    current = table.get(row.scheduled_id)
    if current is None or current.cancelled or current.generation != row.generation:
        return
    if plan.next_due is None:
        table.delete(row.scheduled_id)
    else:
        table.update(row.scheduled_id, scheduled_at=plan.next_due, missed=0 if plan.run else plan.missed)
