"""One occurrence of a timer that is fired, or left out, by somebody else than the reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactor.context import Context
from reactor.timers import Firing, TimerInfo, plan_firing

Fire = Callable[[Context, Any], None]


def fire_by_hand(ctx: Context, fire: Fire, row: Any, due_at: int) -> None:
    """One occurrence as the reactor would fire it, under its catch-up policy and at its logical time."""
    now, told, table = ctx.now, ctx.timer, ctx.db.workflow_timer
    fired_at = ctx.real_now
    plan = plan_firing(row, row.scheduled_at, max(ctx.clock_value(row.clock), row.scheduled_at))
    if plan.run:
        at = due_at + plan.due_value - row.scheduled_at
        ctx.now = at
        ctx.timer = TimerInfo(
            table.name, row.scheduled_id, row.clock, plan.due_value, at, fired_at, fired_at - at, plan.missed
        )
        try:
            fire(ctx, row)
        finally:
            ctx.now, ctx.timer = now, told
    current = table.get(row.scheduled_id)
    if current is not None and not current.cancelled and current.generation == row.generation:
        _go_on(ctx, row, plan)


def fire_again(ctx: Context, fire: Fire, row: Any) -> None:
    """As ``fire_by_hand``, for an occurrence that was due before."""
    due_at = ctx.wall_of(row.clock, row.scheduled_at)
    fire_by_hand(ctx, fire, row, ctx.now if due_at is None else due_at)


def leave_out(ctx: Context, row: Any) -> None:
    """Let an occurrence that is due not happen: a timer that fires once goes, an interval goes on."""
    _go_on(ctx, row, plan_firing(row, row.scheduled_at, max(ctx.clock_value(row.clock), row.scheduled_at)))


def _go_on(ctx: Context, row: Any, plan: Firing) -> None:
    table = ctx.db.workflow_timer
    if plan.next_due is None:
        table.delete(row.scheduled_id)
    else:
        table.update(row.scheduled_id, scheduled_at=plan.next_due, missed=0 if plan.run else plan.missed)
