"""What becomes of an occurrence: it starts, waits, or is left out, by the schedule's overlap policy."""

from __future__ import annotations

from typing import Any, NamedTuple

from reactor.context import Context
from workflows.life import Status
from workflows.schedules.book import count_skipped, note
from workflows.schedules.runs import COULD_NOT_START, Runs
from workflows.schedules.tables import Overlap, RunCause, ScheduleStatus, TimerKind
from workflows.schedules.timing import arm, disarm, next_nominal, run_name, set_next

BUFFER_MAX = 1_000
"""Occurrences of one schedule that wait; further ones are skipped."""
DRAIN_MAX = 25
"""Started from the buffer in one commit."""

_BUFFERING = (Overlap.BUFFER_ONE, Overlap.BUFFER_ALL)


class Taken(NamedTuple):
    """What became of it: ``started``, ``buffered``, ``skipped`` or ``failed``; ``detail`` says why for the last two."""

    outcome: str
    run_name: str
    workflow_id: int | None = None
    detail: str | None = None


class Occurrences:
    """Takes occurrences, and keeps the buffer."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    def take(
        self, ctx: Context, schedule_id: int, nominal: int, cause: RunCause, overlap: Overlap | None = None
    ) -> Taken:
        """Run, buffer or skip one occurrence. ``overlap`` in place of the schedule's own policy."""
        # What waits goes first, also where the end it waits for has come at this very instant.
        self.drain(ctx, schedule_id)
        schedule = ctx.db.schedule.require(schedule_id)
        policy = overlap or schedule.overlap
        if is_spent(schedule):
            return self._skip(ctx, schedule, nominal, f"it has its {schedule.max_runs} runs")
        if cause is RunCause.BACKFILL and policy in _BUFFERING:
            policy = Overlap.ALLOW_ALL
        if policy is Overlap.ALLOW_ALL or not (schedule.buffered or self.runs.running(ctx, schedule_id)):
            return self._start(ctx, schedule, nominal, cause)
        if policy is Overlap.SKIP:
            return self._skip(ctx, schedule, nominal, "a run is still live")
        if policy in _BUFFERING:
            if schedule.buffered >= (1 if policy is Overlap.BUFFER_ONE else BUFFER_MAX):
                return self._skip(ctx, schedule, nominal, "a run is still live and the buffer is full")
            return self._buffer(ctx, schedule, nominal, cause)
        self._clear(ctx, schedule, "a later occurrence takes its place")
        self.runs.end_others(ctx, schedule, policy, run_name(schedule, nominal))
        schedule = ctx.db.schedule.require(schedule_id)
        if self.runs.running(ctx, schedule_id):
            # It could not be ended at once, and the new run is not to be beside it.
            return self._buffer(ctx, schedule, nominal, cause)
        return self._start(ctx, schedule, nominal, cause)

    def drain(self, ctx: Context, schedule_id: int) -> None:
        """Start what waits, oldest first, as far as the policy lets it."""
        buffer = ctx.db.schedule_buffer
        for _ in range(DRAIN_MAX):
            schedule = ctx.db.schedule.require(schedule_id)
            if not schedule.buffered or schedule.status is not ScheduleStatus.ACTIVE:
                return
            if schedule.overlap is not Overlap.ALLOW_ALL and self.runs.running(ctx, schedule_id):
                return
            waiting: Any = buffer.first(schedule_id=schedule_id)
            buffer.delete(waiting)
            ctx.db.schedule.update(schedule_id, buffered=schedule.buffered - 1)
            self.runs.start(ctx, schedule_id, waiting.nominal_at, waiting.cause, waiting.reserved_id)
        arm(ctx, schedule_id, TimerKind.DRAIN, ctx.real_now)

    def settle(self, ctx: Context, schedule_id: int) -> None:
        """Afterwards: stop when it has run often enough, go on if it has not after all, end when all is done."""
        schedule = ctx.db.schedule.get(schedule_id)
        if schedule is None or schedule.status is not ScheduleStatus.ACTIVE:
            return
        if is_spent(schedule):
            if schedule.next_at is not None:
                schedule = set_next(ctx, schedule, None)
        elif schedule.next_at is None:
            # Something that was to be its last run could not be started.
            schedule = set_next(ctx, schedule, next_nominal(schedule, since(ctx, schedule)))
        busy = schedule.buffered or ctx.db.schedule_backfill.count(schedule_id=schedule_id)
        busy = busy or any(run.workflow_id is None for run in self.runs.live(ctx, schedule_id))
        if schedule.next_at is None and not busy:
            reason = f"it has its {schedule.max_runs} runs" if is_spent(schedule) else "it has no further occurrence"
            self.retire(ctx, schedule, reason)

    def retire(self, ctx: Context, schedule: Any, reason: str) -> None:
        """Delete a schedule, softly: nothing more happens, its row and history stay. Workflows go on."""
        self._clear(ctx, schedule, "the schedule was deleted")
        for run in self.runs.live(ctx, schedule.id):
            if run.workflow_id is None:
                self.runs.close(ctx, run, Status.CANCELLED, "the schedule was deleted")
        disarm(ctx, schedule.id)
        for backfill in ctx.db.schedule_backfill.where(schedule_id=schedule.id):
            ctx.db.schedule_backfill.delete(backfill)
        after = ctx.db.schedule.update(
            schedule.id, status=ScheduleStatus.DELETED, reason=reason, next_at=None, updated_at=ctx.now
        )
        note(ctx, after, "deleted", detail=reason)

    def _start(self, ctx: Context, schedule: Any, nominal: int, cause: RunCause) -> Taken:
        run = self.runs.start(ctx, schedule.id, nominal, cause)
        outcome = "failed" if run.outcome == COULD_NOT_START else "started"
        return Taken(outcome, run.run_name, run.workflow_id, run.detail)

    def _skip(self, ctx: Context, schedule: Any, nominal: int, reason: str) -> Taken:
        count_skipped(ctx, schedule.id, nominal, reason)
        return Taken("skipped", run_name(schedule, nominal), None, reason)

    def _buffer(self, ctx: Context, schedule: Any, nominal: int, cause: RunCause) -> Taken:
        name = run_name(schedule, nominal)
        reserved = None if schedule.workflow_type is None else ctx.db.workflow.reserve_id()
        ctx.db.schedule_buffer.insert(
            schedule_id=schedule.id,
            nominal_at=nominal,
            run_name=name,
            reserved_id=reserved,
            cause=cause,
            buffered_at=ctx.now,
        )
        ctx.db.schedule.update(schedule.id, buffered=schedule.buffered + 1)
        return Taken("buffered", name, reserved)

    def _clear(self, ctx: Context, schedule: Any, reason: str) -> None:
        """Skip all that waits."""
        for waiting in ctx.db.schedule_buffer.where(schedule_id=schedule.id):
            ctx.db.schedule_buffer.delete(waiting)
            count_skipped(ctx, schedule.id, waiting.nominal_at, reason)
        ctx.db.schedule.update(schedule.id, buffered=0)


def is_spent(schedule: Any) -> bool:
    """Whether it has had all the runs it may have; those that wait count."""
    return schedule.max_runs is not None and schedule.fires + schedule.buffered >= schedule.max_runs


def since(ctx: Context, schedule: Any) -> int:
    """The instant after which the next occurrence is looked for: now, or the last one if the clock was set back."""
    return max(ctx.real_now, schedule.last_at or 0)
