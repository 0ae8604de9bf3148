"""What is written down about schedules: counters in their rows, and events."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows.audit import DETAIL_CHARS_MAX, actor_of

ROUTINE_KEPT = 200
"""Events of one schedule that happen by themselves; older ones go. What people did stays."""
_ROUTINE = frozenset(("fired", "skipped", "missed", "failed", "backfilled"))


def note(
    ctx: Context, schedule: Any, kind: str, *, nominal: int | None = None, count: int = 1, detail: str | None = None
) -> None:
    """Write one event."""
    table, routine = ctx.db.schedule_event, kind in _ROUTINE
    table.insert(
        schedule_id=schedule.id,
        schedule=schedule.name,
        kind=kind,
        routine=routine,
        at=ctx.now,
        real_at=ctx.real_now,
        actor=actor_of(ctx),
        nominal_at=nominal,
        count=count,
        detail=None if detail is None else detail[:DETAIL_CHARS_MAX],
    )
    if routine and table.count(schedule_id=schedule.id, routine=True) > ROUTINE_KEPT:
        table.delete(table.first(schedule_id=schedule.id, routine=True))


def count_missed(ctx: Context, schedule: Any, count: int, last: int) -> Any:
    """Occurrences came too late and are left out; returns the schedule's row as it is then."""
    note(ctx, schedule, "missed", nominal=last, count=count)
    return ctx.db.schedule.update(schedule.id, missed=schedule.missed + count, last_missed_at=last, last_at=last)


def count_skipped(ctx: Context, schedule_id: int, nominal: int, reason: str) -> None:
    """An occurrence is left out because of others."""
    schedule = ctx.db.schedule.require(schedule_id)
    note(ctx, schedule, "skipped", nominal=nominal, detail=reason)
    ctx.db.schedule.update(schedule_id, skipped=schedule.skipped + 1, last_skipped_at=nominal, last_skip_reason=reason)


def count_failed(ctx: Context, schedule_id: int, nominal: int, reason: str) -> None:
    """A run could not be started."""
    schedule = ctx.db.schedule.require(schedule_id)
    note(ctx, schedule, "failed", nominal=nominal, detail=reason)
    ctx.db.schedule.update(
        schedule_id,
        failures=schedule.failures + 1,
        last_failed_at=nominal,
        last_failure=reason[:DETAIL_CHARS_MAX],
    )


def count_fired(ctx: Context, schedule_id: int, nominal: int, run_name: str) -> None:
    """A run was started."""
    schedule = ctx.db.schedule.require(schedule_id)
    note(ctx, schedule, "fired", nominal=nominal, detail=run_name)
    ctx.db.schedule.update(schedule_id, fires=schedule.fires + 1, last_fired_at=nominal)
