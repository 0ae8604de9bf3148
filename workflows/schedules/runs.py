"""Runs of schedules: started, ended, followed by the next in the buffer."""

from __future__ import annotations

from typing import Any

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.errors import ReactorError, SenderError
from workflows.life import Status, is_live
from workflows.schedules.book import count_failed, count_fired
from workflows.schedules.launching import Launched, Launcher
from workflows.schedules.tables import Overlap, RunCause, ScheduleStatus, TimerKind
from workflows.schedules.timing import arm, disarm, run_name

RUNNING = "running"
COULD_NOT_START = "could_not_start"
RUNS_KEPT = 100
"""Runs of one schedule that have ended; older ones go."""
MORE_AFTER_US = 100_000
"""Between two portions of a command, so that everybody else has a turn."""
_BAD_ENDS = (Status.FAILED.name.lower(), Status.TIMED_OUT.name.lower())


class Runs:
    """The rows of ``schedule_run``, and what they stand for."""

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher

    def running(self, ctx: Context, schedule_id: int) -> int:
        """How many runs of a schedule are live."""
        return ctx.db.schedule_run.count(schedule_id=schedule_id, outcome=RUNNING)

    def live(self, ctx: Context, schedule_id: int) -> list[Any]:
        """The rows of the live runs of a schedule, oldest first."""
        found: list[Any] = ctx.db.schedule_run.where(schedule_id=schedule_id, outcome=RUNNING)
        return found

    def start(
        self, ctx: Context, schedule_id: int, nominal: int, cause: RunCause, workflow_id: int | None = None
    ) -> Any:
        """Start a run and return its row; one that cannot be started is counted, and the schedule goes on.

        ``workflow_id`` is the id that was reserved for its workflow, if any.
        """
        schedule, table = ctx.db.schedule.require(schedule_id), ctx.db.schedule_run
        run = table.insert(
            schedule_id=schedule_id,
            nominal_at=nominal,
            run_name=run_name(schedule, nominal),
            cause=cause,
            workflow_id=workflow_id,
            outcome=RUNNING,
            started_at=ctx.now,
        )
        done = self._attempt(ctx, schedule, run)
        if isinstance(done, str):
            count_failed(ctx, schedule_id, nominal, done)
            return self._end(ctx, run, COULD_NOT_START, done, workflow_id=None)
        count_fired(ctx, schedule_id, nominal, run.run_name)
        if schedule.command is not None:
            return self._went(ctx, run, done)
        run = table.update(run.id, workflow_id=done.workflow_id)
        workflow = ctx.db.workflow.get(done.workflow_id)
        if run.outcome == RUNNING and (workflow is None or not is_live(workflow.status)):
            # It has ended in its first step, before this run knew whose it is.
            return self.close(ctx, run, Status.COMPLETED if workflow is None else workflow.status)
        return run

    def _attempt(self, ctx: Context, schedule: Any, run: Any) -> Launched | str:
        """What came of the launch, or why nothing did; then nothing is left of it."""
        try:
            with ctx.savepoint():
                return self.launcher.launch(ctx, schedule, run)
        except ReactorError as error:
            return f"{error.code}: {error.message}"
        except CallBudgetExceededError:
            return f"it ran longer than {self.launcher.dispatcher.limits.call_budget_s} s"
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            ctx.log(f"schedule {schedule.name}: {type(error).__name__}: {error}", "error")
            return f"{type(error).__name__}: {error}"

    def _went(self, ctx: Context, run: Any, done: Launched) -> Any:
        """A command has been called: it has ended, or is called again soon."""
        if done.more:
            arm(ctx, run.schedule_id, TimerKind.MORE, ctx.real_now + MORE_AFTER_US, run.id)
            return ctx.db.schedule_run.update(run.id, detail=done.told)
        return self.close(ctx, run, Status.COMPLETED, done.told)

    def go_on(self, ctx: Context, schedule: Any, run_id: int) -> None:
        """The next portion of a command. A pause ends what the schedule began by itself."""
        run = ctx.db.schedule_run.get(run_id)
        if run is None or run.outcome != RUNNING:
            return
        if schedule.status is ScheduleStatus.PAUSED and run.cause is RunCause.SCHEDULE:
            self.close(ctx, run, Status.CANCELLED, "the schedule was paused")
            return
        done = self._attempt(ctx, schedule, run)
        if isinstance(done, str):
            self.close(ctx, run, Status.FAILED, done)
        else:
            self._went(ctx, run, done)

    def close(self, ctx: Context, run: Any, status: Status, detail: str | None = None) -> Any:
        """A run has ended: what waits for it may start, in a commit of its own."""
        run = self._end(ctx, run, status.name.lower(), detail)
        schedule = ctx.db.schedule.get(run.schedule_id)
        if schedule is not None:
            if run.outcome in _BAD_ENDS:
                ctx.db.schedule.update(schedule.id, runs_failed=schedule.runs_failed + 1)
            if schedule.buffered and schedule.status is ScheduleStatus.ACTIVE:
                arm(ctx, schedule.id, TimerKind.DRAIN, ctx.now)
        return run

    def _end(self, ctx: Context, run: Any, outcome: str, detail: str | None, **changes: Any) -> Any:
        table = ctx.db.schedule_run
        after = table.update(run.id, outcome=outcome, ended_at=ctx.now, detail=detail, **changes)
        ended = list(table.range("ended_at", schedule_id=run.schedule_id))
        for old in ended[: max(len(ended) - RUNS_KEPT, 0)]:
            table.delete(old.id)
        return after

    def end_others(self, ctx: Context, schedule: Any, policy: Overlap, successor: str) -> None:
        """Cancel or terminate what is live. What cannot be ended at once stays, and ends later."""
        reason = f"run {successor} of schedule {schedule.name} takes its place"
        for run in self.live(ctx, schedule.id):
            if run.workflow_id is None:
                disarm(ctx, schedule.id, TimerKind.MORE, run.id)
                self.close(ctx, run, _ENDS[policy], reason)
                continue
            workflow = ctx.db.workflow.get(run.workflow_id)
            if workflow is None or not is_live(workflow.status):
                continue
            try:
                self._end_workflow(ctx, policy, run.workflow_id, reason)
            except SenderError as error:
                ctx.log(f"schedule {schedule.name}: {run.run_name} was not ended: {error.message}", "warning")

    def _end_workflow(self, ctx: Context, policy: Overlap, workflow_id: int, reason: str) -> None:
        if policy is Overlap.TERMINATE_OTHER:
            self.launcher.dispatcher.terminate(ctx, workflow_id, reason)
        else:
            self.launcher.dispatcher.cancel(ctx, workflow_id, reason)


_ENDS = {Overlap.CANCEL_OTHER: Status.CANCELLED, Overlap.TERMINATE_OTHER: Status.TERMINATED}
