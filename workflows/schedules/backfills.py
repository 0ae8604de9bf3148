"""Backfills: the occurrences of a span of the past, run now, a few in each commit."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from reactor.errors import SenderError
from workflows.audit import actor_of
from workflows.schedules.book import note
from workflows.schedules.occurrences import Occurrences, is_spent
from workflows.schedules.runs import COULD_NOT_START
from workflows.schedules.tables import Overlap, RunCause, ScheduleStatus, TimerKind
from workflows.schedules.timing import arm, next_nominal, run_name

PORTION = 25
"""Occurrences of one commit; of a command, which may take its time, one."""
PAUSE_US = 25_000


class Backfills:
    """Begins backfills and carries them on. Their progress is a row, so a restart goes on where it was."""

    def __init__(self, occurrences: Occurrences) -> None:
        self._occurrences = occurrences

    def begin(self, ctx: Context, schedule: Any, from_at: int, to_at: int, overlap: Overlap | None) -> dict[str, Any]:
        """Take the occurrences from ``from_at`` to ``to_at``, both inclusive, at their exact times, without delay."""
        if from_at < 0:
            # As a schedule's own bounds: the name of a run is a date of the calendar.
            raise SenderError(
                "bad_arguments", "parameter from_at: it is in microseconds since 1970 UTC", parameter="from_at"
            )
        if from_at > to_at:
            raise SenderError("bad_arguments", "parameter from_at: it is after to_at; swap them", parameter="from_at")
        if to_at > ctx.real_now:
            raise SenderError(
                "bad_arguments",
                "parameter to_at: it is not in the past; what is to come runs by itself",
                parameter="to_at",
            )
        if is_spent(schedule):
            raise SenderError("limit_exceeded", f"schedule {schedule.name} has its {schedule.max_runs} runs")
        # What is due but has not been taken yet is the schedule's own.
        to_at = to_at if schedule.next_at is None else min(to_at, schedule.next_at - 1)
        first = next_nominal(schedule, from_at - 1)
        if first is None or first > to_at:
            return {"backfill": None, "first_at": None}
        made = ctx.db.schedule_backfill.insert(
            schedule_id=schedule.id,
            from_at=from_at,
            to_at=to_at,
            next_at=first,
            overlap=overlap or schedule.overlap,
            created_at=ctx.now,
            actor=actor_of(ctx),
        )
        arm(ctx, schedule.id, TimerKind.BACKFILL, ctx.real_now, made.id)
        note(ctx, schedule, "backfill", nominal=first, detail=f"backfill {made.id}: {from_at} to {to_at}")
        return {"backfill": made.id, "first_at": first}

    def go_on(self, ctx: Context, schedule: Any, timer: Any) -> None:
        """The next portion."""
        backfill = ctx.db.schedule_backfill.get(timer.target)
        if backfill is None:
            return
        nominal: int | None = backfill.next_at
        for _ in range(1 if schedule.command is not None else PORTION):
            if nominal is None or nominal > backfill.to_at or is_spent(ctx.db.schedule.require(schedule.id)):
                self._finish(ctx, schedule, backfill.id)
                return
            self._take(ctx, schedule, backfill.id, nominal)
            nominal = next_nominal(schedule, nominal)
        if nominal is None:
            self._finish(ctx, schedule, backfill.id)
            return
        ctx.db.schedule_backfill.update(backfill.id, next_at=nominal)
        arm(ctx, schedule.id, TimerKind.BACKFILL, ctx.real_now + PAUSE_US, backfill.id)

    def _take(self, ctx: Context, schedule: Any, backfill_id: int, nominal: int) -> None:
        table = ctx.db.schedule_backfill
        backfill = table.require(backfill_id)
        if has_run(ctx, schedule, nominal):
            table.update(backfill_id, skipped=backfill.skipped + 1)
            return
        taken = self._occurrences.take(ctx, schedule.id, nominal, RunCause.BACKFILL, backfill.overlap)
        column = {"skipped": "skipped", "failed": "failed"}.get(taken.outcome, "started")
        table.update(backfill_id, **{column: getattr(backfill, column) + 1})

    def _finish(self, ctx: Context, schedule: Any, backfill_id: int) -> None:
        done = ctx.db.schedule_backfill.require(backfill_id)
        ctx.db.schedule_backfill.delete(backfill_id)
        told = f"backfill {done.id}: {done.started} started, {done.skipped} skipped, {done.failed} failed"
        note(ctx, schedule, "backfilled", count=done.started, detail=told)


def has_run(ctx: Context, schedule: Any, nominal: int) -> bool:
    """Whether an occurrence has had its run already, as far as the history reaches, or waits for it."""
    runs = ctx.db.schedule_run.where(schedule_id=schedule.id, nominal_at=nominal)
    if any(run.outcome != COULD_NOT_START for run in runs):
        return True
    name = run_name(schedule, nominal)
    if ctx.db.schedule_buffer.first(run_name=name) is not None:
        return True
    # The history of a schedule is shorter than that of its workflows may be.
    return schedule.workflow_type is not None and ctx.db.workflow.first(name=name) is not None


def heal(ctx: Context, schedule: Any) -> None:
    """Carry on the backfills of a schedule whose timers are gone."""
    armed = {
        row.target for row in ctx.db.schedule_timer.where(schedule_id=schedule.id) if row.kind is TimerKind.BACKFILL
    }
    for backfill in ctx.db.schedule_backfill.where(schedule_id=schedule.id):
        if backfill.id not in armed and schedule.status is not ScheduleStatus.DELETED:
            arm(ctx, schedule.id, TimerKind.BACKFILL, ctx.real_now, backfill.id)
