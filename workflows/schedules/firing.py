"""What ``schedule_fire`` does: one occurrence, or one portion of longer work, in one commit with what comes next.

The next occurrence is found from the nominal time of this one, never from the time it is now. So none is lost and none
comes twice, however late this call is, and whatever was done to the clock.
"""

from __future__ import annotations

from typing import Any

from reactor.clock import SECOND
from reactor.context import Context
from reactor.errors import ReactorError
from workflows.schedules.backfills import Backfills
from workflows.schedules.book import count_missed, note
from workflows.schedules.occurrences import Occurrences
from workflows.schedules.spec import calendar_of
from workflows.schedules.tables import RunCause, ScheduleStatus, TimerKind
from workflows.schedules.timing import disarm, due_of, next_nominal, set_next

LATE_US = SECOND
"""What is later than this is missed, unless the schedule catches up."""
MISSED_MAX = 500
"""Occurrences counted as missed in one commit, where each must be looked at."""
PAUSE_US = 25_000
"""Between two portions of work, so that everybody else has a turn."""


class Firing:
    """Runs what is due."""

    def __init__(self, occurrences: Occurrences, backfills: Backfills) -> None:
        self._occurrences = occurrences
        self._backfills = backfills

    def fire(self, ctx: Context, timer: Any) -> None:
        """Do what a row of ``schedule_timer`` stands for. It never raises: a schedule that cannot go on is paused."""
        schedule = ctx.db.schedule.get(timer.schedule_id)
        if schedule is None or schedule.status is ScheduleStatus.DELETED:
            return
        try:
            with ctx.savepoint():
                self._run(ctx, schedule, timer)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            told = error.message if isinstance(error, ReactorError) else f"{type(error).__name__}: {error}"
            ctx.log(f"schedule {schedule.name} is paused: {timer.kind} failed: {told}", "error")
            stop(ctx, schedule, f"{timer.kind} failed: {told}")

    def _run(self, ctx: Context, schedule: Any, timer: Any) -> None:
        if timer.kind is TimerKind.OCCURRENCE:
            self._occur(ctx, schedule)
        elif timer.kind is TimerKind.DRAIN:
            self._occurrences.drain(ctx, schedule.id)
        elif timer.kind is TimerKind.BACKFILL:
            self._backfills.go_on(ctx, schedule, timer)
        else:
            self._occurrences.runs.go_on(ctx, schedule, timer.target)
        self._occurrences.settle(ctx, schedule.id)

    def _occur(self, ctx: Context, schedule: Any) -> None:
        nominal = schedule.next_at
        if nominal is None or schedule.status is not ScheduleStatus.ACTIVE:
            return
        in_time_from = ctx.real_now - max(schedule.catch_up_us, LATE_US)
        if due_of(schedule, nominal) < in_time_from:
            self._miss(ctx, schedule, nominal, in_time_from)
            return
        schedule = ctx.db.schedule.update(schedule.id, last_at=nominal)
        set_next(ctx, schedule, next_nominal(schedule, nominal))
        self._occurrences.take(ctx, schedule.id, nominal, RunCause.SCHEDULE)

    def _miss(self, ctx: Context, schedule: Any, nominal: int, in_time_from: int) -> None:
        """Leave out what is too late: this one, and all that are too late whatever their delay."""
        end = in_time_from - schedule.jitter_us
        if schedule.ends_at is not None:
            end = min(end, schedule.ends_at + 1)
        missed = calendar_of(schedule.spec).missed(nominal, end, MISSED_MAX)
        schedule = count_missed(ctx, schedule, missed.number, missed.last)
        more = missed.number >= MISSED_MAX
        set_next(ctx, schedule, next_nominal(schedule, missed.last), ctx.real_now + PAUSE_US if more else 0)


def stop(ctx: Context, schedule: Any, reason: str) -> Any:
    """Pause a schedule: no occurrence comes due. What has begun goes on, what waits stays waiting."""
    disarm(ctx, schedule.id, TimerKind.OCCURRENCE)
    after = ctx.db.schedule.update(
        schedule.id, status=ScheduleStatus.PAUSED, reason=reason, next_at=None, updated_at=ctx.now
    )
    note(ctx, after, "paused", detail=reason)
    return after
