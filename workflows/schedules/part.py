"""Schedules as a part of the workflow engine."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from workflows.dispatch import Dispatcher
from workflows.life import Status, is_live
from workflows.parts import Part
from workflows.schedules.backfills import Backfills
from workflows.schedules.backfills import heal as heal_backfills
from workflows.schedules.cleanup import CleanupPolicy, by_type, keep_up
from workflows.schedules.facade import Schedules
from workflows.schedules.firing import Firing, stop
from workflows.schedules.launching import Launcher
from workflows.schedules.occurrences import Occurrences, since
from workflows.schedules.runs import MORE_AFTER_US, RUNNING, Runs
from workflows.schedules.tables import SCHEMAS, TIMER_REDUCER, ScheduleStatus, TimerKind
from workflows.schedules.timing import arm, next_nominal, set_next
from workflows.schedules.verbs import Authorize, Verbs

OVERVIEW = """\
SELECT COUNT(CASE WHEN s.status = 'active' THEN 1 END) AS active,
       COUNT(CASE WHEN s.status = 'paused' THEN 1 END) AS paused,
       COALESCE(SUM(s.fires), 0) AS fires,
       COALESCE(SUM(s.failures), 0) AS failures,
       COALESCE(SUM(s.runs_failed), 0) AS runs_failed,
       COALESCE(SUM(s.missed), 0) AS missed,
       COALESCE(SUM(s.skipped), 0) AS skipped,
       COALESCE(SUM(s.buffered), 0) AS buffered,
       (SELECT MIN(t.scheduled_at) FROM schedule_timer AS t WHERE t.kind = 'occurrence') AS oldest_due
FROM schedule AS s"""


class SchedulePart(Part):
    """Schedules. ``cleanup``: the policy of the built-in clean-up, None for none."""

    schemas = SCHEMAS

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self.cleanup: CleanupPolicy | None = None
        self._launcher = Launcher(dispatcher)
        self._runs = Runs(self._launcher)
        self._occurrences = Occurrences(self._runs)
        backfills = Backfills(self._occurrences)
        self._firing = Firing(self._occurrences, backfills)
        self._verbs = Verbs(self._occurrences, backfills)

    @property
    def authorize(self) -> Authorize:
        """``authorize(ctx, schedule_row, verb)``: whether a caller who is not the owner may."""
        return self._verbs.authorize

    @authorize.setter
    def authorize(self, authorize: Authorize) -> None:
        self._verbs.authorize = authorize

    def declare(self, module: Module) -> None:
        """Add the reducers, the view and what is done at a start."""
        self._verbs.declare(module)
        module.reducer(access="owner")(self.cleanup_by_type)
        module.reducer(name=TIMER_REDUCER, access="internal")(self.schedule_fire)
        module.extension("schedules", lambda ctx: Schedules(ctx, self._verbs))
        module.view("schedule_overview", OVERVIEW)
        module.before_start(self._look_up)
        module.on_start(self._take_up)
        module.on_reload(self._keep_up)

    def schedule_fire(self, ctx: Context, timer: Any) -> None:
        """Run by the reactor for every due row of ``schedule_timer``; nobody else can."""
        self._firing.fire(ctx, timer)

    def cleanup_by_type(self, ctx: Context, days: float, types: dict[str, float]) -> dict[str, Any]:
        """Remove workflows that ended so many ``days`` ago, or as many as ``types`` says for their type.

        A bounded number a call; returns {"removed": n, "more": bool}.
        """
        return by_type(ctx, self.dispatcher, days, types)

    def ended(self, ctx: Context, row: Any) -> None:
        """The run of a schedule may have ended: what waits for it starts."""
        table = ctx.db.schedule_run
        if not table.rows:
            return
        for run in table.lookup(("workflow_id",), (row.id,)):
            if run.outcome == RUNNING:
                self._runs.close(ctx, run, row.status, row.error_message)

    def removed(self, ctx: Context, row: Any) -> None:
        """The history of a schedule outlives its workflows."""
        for run in ctx.db.schedule_run.lookup(("workflow_id",), (row.id,)):
            ctx.db.schedule_run.update(run.id, workflow_id=None)

    def _look_up(self, engine: Any) -> None:
        self._launcher.reactor = engine

    def _take_up(self, ctx: Context) -> None:
        """At a start: see that every schedule has a way on, whatever was done to its rows."""
        self._keep_up(ctx)
        for schedule in ctx.db.schedule:
            if schedule.status is not ScheduleStatus.DELETED:
                try:
                    with ctx.savepoint():
                        self._heal(ctx, schedule)
                except SenderError as error:
                    stop(ctx, schedule, f"it cannot go on: {error.message}")

    def _keep_up(self, ctx: Context) -> None:
        keep_up(ctx, self._verbs, self._launcher, self.cleanup)

    def _heal(self, ctx: Context, schedule: Any) -> None:
        if schedule.workflow_type is not None and schedule.workflow_type not in self.dispatcher.registry:
            ctx.log(f"schedule {schedule.name}: workflow type {schedule.workflow_type} is not registered", "warning")
        armed = {(row.kind, row.target) for row in ctx.db.schedule_timer.where(schedule_id=schedule.id)}
        for run in self._runs.live(ctx, schedule.id):
            workflow = None if run.workflow_id is None else ctx.db.workflow.get(run.workflow_id)
            if run.workflow_id is None and schedule.command is not None:
                if (TimerKind.MORE, run.id) not in armed:
                    arm(ctx, schedule.id, TimerKind.MORE, ctx.real_now + MORE_AFTER_US, run.id)
            elif workflow is None or not is_live(workflow.status):
                self._runs.close(ctx, run, Status.COMPLETED if workflow is None else workflow.status)
        heal_backfills(ctx, schedule)
        if schedule.status is ScheduleStatus.ACTIVE:
            if schedule.buffered and (TimerKind.DRAIN, None) not in armed:
                arm(ctx, schedule.id, TimerKind.DRAIN, ctx.real_now)
            if (TimerKind.OCCURRENCE, None) not in armed:
                nominal = schedule.next_at or next_nominal(schedule, since(ctx, schedule))
                set_next(ctx, schedule, nominal)
            self._occurrences.settle(ctx, schedule.id)
