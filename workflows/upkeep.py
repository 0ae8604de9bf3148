"""Upkeep by the operator: removing what ended long ago, and firing due timers by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import nsmallest
from itertools import islice
from typing import Any

from reactor.budget import CallBudgetExceededError
from reactor.clock import days
from reactor.context import Context
from reactor.errors import SenderError
from reactor.scopes import WALL
from reactor.timers import TimerInfo, plan_firing
from workflows.dispatch import Dispatcher
from workflows.life import TERMINAL

CLEANUP_MAX = 1_000
"""Workflows removed in one call: a few milliseconds, so that a clean-up of a million holds nobody up."""
TICK_MAX = 256


def cleanup(ctx: Context, older_than_days: float, limit: int = CLEANUP_MAX) -> dict[str, Any]:
    """Remove ended workflows untouched for that many days, with all that belongs to them.

    Returns ``{"removed": n, "more": whether a further call would find some}``.
    """
    if not 0 <= older_than_days < float("inf"):
        raise SenderError("bad_arguments", "parameter days: a number of days from 0 up", parameter="days")
    before = ctx.now - days(older_than_days)
    found = list(islice(_ended_before(ctx.db.workflow, before), limit + 1))
    for row in found[:limit]:
        _remove(ctx, row)
    return {"removed": min(len(found), limit), "more": len(found) > limit}


def _ended_before(workflow: Any, before: int) -> Iterator[Any]:
    """Ended workflows untouched since then. Live ones, of which there may be a million, are not looked at."""
    (by_status,) = (index for index in workflow.index_list if index.columns == ("status",))
    for status in sorted(TERMINAL):
        # By the index itself: `lookup` would sort and list them all, and the first thousand will do. As entered, so
        # mostly as they ended.
        for key in by_status.find(status):
            row = workflow.rows[key]
            if row.updated_at < before:
                yield row


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

    At most ``limit``, and no more once the time of the call is used up; the rest is for the next call. The reactor
    does this by itself before every call; by hand it matters only behind a backlog, or in a debugger.
    """
    table, fired = ctx.db.workflow_timer, 0
    for due_at, _, scheduled_id in _due(ctx, limit):
        row = table.get(scheduled_id)
        # One that fired before it may have moved or ended it.
        if row is None or row.cancelled or row.scheduled_at > ctx.clock_value(row.clock):
            continue
        try:
            with ctx.savepoint():
                _fire_by_hand(ctx, dispatcher.run_timer, row, due_at)
        except CallBudgetExceededError:
            if fired:
                # Those before it have used the time up too: this one has not failed, it waits.
                break
            # Tried again by itself: if the time of a whole call is not enough for it, it fails.
            _fire_by_hand(ctx, dispatcher.fire, row, due_at)
            return 1
        fired += 1
    return fired


def _due(ctx: Context, limit: int) -> list[tuple[int, int, int]]:
    """The first timers that are due, as (wall instant, priority, id), in the order in which they fire."""
    due: list[tuple[int, int, int]] = []
    rows = ctx.db.workflow_timer.rows
    for clock in (WALL, *ctx.db.clock.rows):
        # One look at each row, and nothing made of those that are not due. Within one clock its own values will do.
        now = ctx.clock_value(clock)
        ready = (
            (row.scheduled_at, row.priority, row.scheduled_id)
            for row in rows.values()
            if row.scheduled_at <= now and row.clock == clock and not row.cancelled
        )
        for value, priority, scheduled_id in nsmallest(limit, ready):
            due_at = ctx.wall_of(clock, value)
            due.append((ctx.now if due_at is None else due_at, priority, scheduled_id))
    due.sort()
    return due[:limit]


def _fire_by_hand(ctx: Context, fire: Callable[[Context, Any], None], row: Any, due_at: int) -> None:
    """One occurrence as the reactor would fire it, under its catch-up policy and at its logical time."""
    now, table = ctx.now, ctx.db.workflow_timer
    plan = plan_firing(row, row.scheduled_at, ctx.clock_value(row.clock))
    if plan.run:
        at = due_at + plan.due_value - row.scheduled_at
        ctx.now = at
        ctx.timer = TimerInfo(table.name, row.scheduled_id, row.clock, plan.due_value, at, now, now - at, plan.missed)
        try:
            fire(ctx, row)
        finally:
            ctx.now, ctx.timer = now, None
    current = table.get(row.scheduled_id)
    if current is None or current.cancelled or current.generation != row.generation:
        return
    if plan.next_due is None:
        table.delete(row.scheduled_id)
    else:
        table.update(row.scheduled_id, scheduled_at=plan.next_due, missed=0 if plan.run else plan.missed)
