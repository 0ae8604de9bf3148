"""When a schedule is next due, and the rows of ``schedule_timer`` that see to it.

Everything here follows from the schedule's row: nominal times from its spec, the delay of each from its id and that
nominal time. So a restart finds the same times again, and nothing drifts.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from reactor.context import Context
from workflows.schedules.spec import calendar_of
from workflows.schedules.tables import TimerKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DRAW_BITS = 64


def next_nominal(schedule: Any, after: int) -> int | None:
    """The first nominal time after ``after`` within the schedule's bounds; None when there is none (any more)."""
    start = after + 1 if schedule.starts_at is None else max(after + 1, schedule.starts_at)
    found = calendar_of(schedule.spec).first_from(start)
    if found is None or (schedule.ends_at is not None and found > schedule.ends_at):
        return None
    return found


def due_of(schedule: Any, nominal: int) -> int:
    """When an occurrence is to run: its nominal time and its delay, which never reaches the next nominal time."""
    if not schedule.jitter_us:
        return nominal
    following = calendar_of(schedule.spec).first_from(nominal + 1)
    most = schedule.jitter_us if following is None else min(schedule.jitter_us, following - nominal - 1)
    told = hashlib.blake2b(f"{schedule.id}|{nominal}".encode(), digest_size=_DRAW_BITS // 8).digest()
    delay: int = int.from_bytes(told, "big") * (most + 1) >> _DRAW_BITS
    return nominal + delay


def run_name(schedule: Any, nominal: int) -> str:
    """The name of the run of an occurrence: ``harvest-2024-03-31T02:00:00Z``, the same whoever asks."""
    moment = _EPOCH + timedelta(microseconds=nominal)
    return f"{schedule.name}-{moment.replace(tzinfo=None).isoformat()}Z"


def arm(ctx: Context, schedule_id: int, kind: TimerKind, at: int, target: int | None = None) -> None:
    """Have ``schedule_fire`` run at ``at``; of each kind and target a schedule has one row, which is moved."""
    table = ctx.db.schedule_timer
    for row in table.lookup(("schedule_id",), (schedule_id,)):
        if row.kind is kind and row.target == target:
            table.update(row.scheduled_id, scheduled_at=at, generation=row.generation + 1)
            return
    table.insert(schedule_id=schedule_id, kind=kind, scheduled_at=at, target=target)


def disarm(ctx: Context, schedule_id: int, kind: TimerKind | None = None, target: int | None = None) -> None:
    """Remove the timers of a schedule: all of them, those of a kind, or that of a kind and target."""
    table = ctx.db.schedule_timer
    for row in table.lookup(("schedule_id",), (schedule_id,)):
        if (kind is None or row.kind is kind) and (target is None or row.target == target):
            table.delete(row.scheduled_id)


def set_next(ctx: Context, schedule: Any, nominal: int | None, not_before: int = 0) -> Any:
    """Make ``nominal`` the next occurrence, or none; returns the schedule's row as it is then."""
    if nominal is None:
        disarm(ctx, schedule.id, TimerKind.OCCURRENCE)
    else:
        arm(ctx, schedule.id, TimerKind.OCCURRENCE, max(due_of(schedule, nominal), not_before))
    return ctx.db.schedule.update(schedule.id, next_at=nominal)
