"""Upkeep by the operator: removing what ended long ago, and firing due timers by hand."""

from __future__ import annotations

from heapq import merge, nsmallest
from itertools import islice
from typing import Any

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.indexes import OrderedIndex
from reactor.scopes import WALL
from workflows.amounts import days_us
from workflows.control.replay import fire_by_hand
from workflows.dispatch import Dispatcher
from workflows.life import TERMINAL, is_live

CLEANUP_MAX = 1_000
"""Workflows removed in one call: a few milliseconds, so that a clean-up of a million holds nobody up."""
FILL_MAX = 10_000
"""Ends noted in one call for rows written before the column existed."""
TICK_MAX = 256


def cleanup(
    ctx: Context,
    dispatcher: Dispatcher,
    older_than_days: float,
    limit: int = CLEANUP_MAX,
    workflow_type: str | None = None,
) -> dict[str, Any]:
    """Remove workflows that ended that many days ago, of one type or of all, with all that belongs to them.

    Oldest ends first. Returns ``{"removed": n, "more": whether a further call would find some}``.
    """
    before = ctx.now - days_us(older_than_days)
    is_complete = _fill_ends(ctx)
    found = ended_before(ctx, before, limit + 1, workflow_type)
    for row in found[:limit]:
        remove(ctx, dispatcher, row)
    return {"removed": min(len(found), limit), "more": len(found) > limit or not is_complete}


def ended_before(ctx: Context, before: int, limit: int, workflow_type: str | None = None) -> list[Any]:
    """The first ``limit`` workflows that ended before an instant, oldest ends first.

    Neither live workflows nor younger ends are looked at, however many there are.
    """
    workflow = ctx.db.workflow
    types = [workflow_type] if workflow_type is not None else types_of(workflow)
    by_type = [
        workflow.range("ended_at", None, before, include=(True, False), limit=limit, workflow_type=name)
        for name in types
    ]
    return list(islice(merge(*by_type, key=lambda row: (row.ended_at, row.id)), limit))


def types_of(workflow: Any) -> list[str]:
    """The types there are workflows of, also those that are not registered."""
    (by_type,) = (index for index in workflow.index_list if index.columns == ("workflow_type",))
    return sorted(by_type.values())


def _fill_ends(ctx: Context) -> bool:
    """Note when workflows ended that did so before there was a column for it; False while there are more.

    Costs a look at the sizes of two indexes when there are none.
    """
    workflow = ctx.db.workflow
    (by_end,) = (index for index in workflow.index_list if isinstance(index, OrderedIndex))
    if sum(workflow.count(status=status) for status in TERMINAL) == len(by_end):
        return True
    old = (row for row in workflow.rows.values() if row.ended_at is None and not is_live(row.status))
    missing = list(islice(old, FILL_MAX))
    for row in missing:
        workflow.update(row.id, ended_at=row.updated_at)
    return len(missing) < FILL_MAX


def remove(ctx: Context, dispatcher: Dispatcher, row: Any) -> None:
    """Remove an ended workflow with all that the engine and its parts keep of it."""
    for part in dispatcher.removers:
        part.removed(ctx, row)
    remove_row(ctx, row)


def remove_row(ctx: Context, row: Any) -> None:
    """Remove one ended workflow with its timers and events; what parts of the engine keep of it is for them."""
    db = ctx.db
    for timer in db.workflow_timer.lookup(("workflow_id",), (row.id,)):
        db.workflow_timer.delete(timer.scheduled_id)
    for event in db.workflow_event.lookup(("workflow_id",), (row.id,)):
        db.workflow_event.delete(event.id)
    db.recovery_error.delete(row.id)
    # Not only its starter's: others who asked for it under the same key, or joined it, have it as their last, too.
    for last in db.last_workflow_id.lookup(("workflow_id",), (row.id,)):
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
                fire_by_hand(ctx, dispatcher.run_timer, row, due_at)
        except CallBudgetExceededError:
            if fired:
                # Those before it have used the time up too: this one has not failed, it waits.
                break
            # Tried again by itself: if the time of a whole call is not enough for it, it fails.
            fire_by_hand(ctx, dispatcher.fire, row, due_at)
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
