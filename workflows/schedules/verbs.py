"""What operators do with schedules. Each verb is checked, done and written down in one commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from workflows.schedules.backfills import Backfills, has_run
from workflows.schedules.book import note
from workflows.schedules.firing import stop
from workflows.schedules.occurrences import Occurrences, Taken, is_spent, since
from workflows.schedules.settings import (
    ScheduleSettings,
    changed_columns,
    changes_times,
    check_name,
    new_columns,
    wrong,
)
from workflows.schedules.spec import Spec, calendar_of
from workflows.schedules.tables import Overlap, RunCause, ScheduleStatus, TimerKind
from workflows.schedules.timing import arm, due_of, next_nominal, set_next

NEXT_MAX = 100
"""Occurrences that ``schedule_describe`` shows at most."""

Authorize = Callable[[Context, Any, str], bool]
"""``authorize(ctx, schedule_row, verb)``: whether a caller who is not the owner may; the row is None for ``create``."""


def owners_only(ctx: Context, schedule: Any, verb: str) -> bool:
    """The rule unless an engine is given another."""
    return False


class Verbs:
    """The reducers. ``authorize`` is asked for callers who are not the owner of the database."""

    def __init__(self, occurrences: Occurrences, backfills: Backfills) -> None:
        self.authorize: Authorize = owners_only
        self._occurrences = occurrences
        self.launcher = occurrences.runs.launcher
        self._backfills = backfills

    def declare(self, module: Module) -> None:
        """Add the reducers to ``module``."""
        for function in (
            self.schedule_create,
            self.schedule_update,
            self.schedule_pause,
            self.schedule_resume,
            self.schedule_trigger,
            self.schedule_backfill,
            self.schedule_delete,
        ):
            module.reducer(self.launcher.dispatcher.commands.reducer(function))
        module.reducer(self.schedule_describe)

    # -- reducers ----------------------------------------------------------------------------

    def schedule_create(
        self, ctx: Context, name: str, spec: Spec, settings: ScheduleSettings, paused: str | None = None
    ) -> dict[str, Any]:
        """Make a schedule; ``paused`` is the reason if it is to begin paused. Returns ``{"name", "next_at"}``.

        The name of a deleted schedule may be used again; its history goes then.
        """
        self._allow(ctx, None, "create", settings.command)
        columns = new_columns(self.launcher, spec, settings, ctx.now)
        return self.create(ctx, name, columns, paused)

    def schedule_update(
        self, ctx: Context, name: str, spec: Spec | None = None, settings: ScheduleSettings | None = None
    ) -> dict[str, Any]:
        """Change what is given and keep the rest. Returns ``{"name", "next_at", "changed"}``."""
        given = settings or ScheduleSettings()
        schedule = self._live(ctx, name, "update", given.command if isinstance(given.command, str) else None)
        return self.update(ctx, schedule, spec, given)

    def schedule_pause(self, ctx: Context, name: str, reason: str) -> dict[str, Any]:
        """No occurrence comes due until it is resumed; those are not missed. Live runs go on."""
        schedule = self.pause(ctx, self._live(ctx, name, "pause"), reason)
        return {"name": name, "status": schedule.status, "reason": schedule.reason}

    def schedule_resume(self, ctx: Context, name: str) -> dict[str, Any]:
        """Go on with the next occurrence from now, and with what waits. Returns ``{"name", "next_at"}``."""
        return {"name": name, "next_at": self.resume(ctx, self._live(ctx, name, "resume")).next_at}

    def schedule_trigger(self, ctx: Context, name: str, overlap: Overlap | None = None) -> dict[str, Any]:
        """Run it now as well, also while it is paused; ``overlap`` in place of its own policy.

        Returns ``{"outcome", "run_name", "workflow_id", "detail"}``; the outcome is ``started``, ``buffered``,
        ``skipped`` or ``failed``.
        """
        return self.trigger(ctx, self._live(ctx, name, "trigger"), overlap)

    def schedule_backfill(
        self, ctx: Context, name: str, from_at: int, to_at: int, overlap: Overlap | None = None
    ) -> dict[str, Any]:
        """Run the occurrences of a span of the past (µs, inclusive) that have no run yet, a few at a time.

        Those that would wait start beside each other; ``overlap`` in place of the schedule's own policy. Returns
        ``{"backfill", "first_at"}``, both null when there are none; ``schedule_backfill`` has a row until it is done.
        """
        schedule = self._live(ctx, name, "backfill")
        return self._backfills.begin(ctx, schedule, from_at, to_at, overlap)

    def schedule_delete(self, ctx: Context, name: str) -> dict[str, Any]:
        """Nothing more happens; the row, its runs and events stay until the name is used again. Workflows go on."""
        self.delete(ctx, self._live(ctx, name, "delete"))
        return {"name": name, "status": ScheduleStatus.DELETED}

    def schedule_describe(self, ctx: Context, name: str, count: int = 5) -> dict[str, Any]:
        """The schedule, its next ``count`` occurrences (nominal, due, local time), live runs, buffer and backfills.

        For one that is paused: those that would come if it were resumed now.
        """
        schedule = ctx.db.schedule.first(name=name)
        self._allow(ctx, schedule, "describe", None)
        if schedule is None:
            raise SenderError("not_found", f"there is no schedule {name!r}", name=name)
        if not 0 <= count <= NEXT_MAX:
            raise wrong("count", f"it is from 0 to {NEXT_MAX}")
        runs = self._occurrences.runs.live(ctx, schedule.id)
        waiting = ctx.db.schedule_buffer.where(schedule_id=schedule.id)
        return {
            "schedule": schedule,
            "next": _next(ctx, schedule, count),
            "running": [{"run_name": run.run_name, "workflow_id": run.workflow_id} for run in runs],
            "buffered": [{"run_name": row.run_name, "reserved_id": row.reserved_id} for row in waiting],
            "backfills": ctx.db.schedule_backfill.where(schedule_id=schedule.id),
        }

    # -- the same for game code and the engine itself ------------------------------------------

    def create(
        self, ctx: Context, name: str, columns: dict[str, Any], paused: str | None = None, built_in: bool = False
    ) -> dict[str, Any]:
        """As ``schedule_create``, with columns that have been checked."""
        check_name(name)
        old = ctx.db.schedule.first(name=name)
        if old is not None:
            if old.status is not ScheduleStatus.DELETED:
                raise SenderError("unique_violation", f"there is a schedule {name!r} already; update it", name=name)
            self._forget(ctx, old)
        row = ctx.db.schedule.insert(name=name, built_in=built_in, created_at=ctx.now, updated_at=ctx.now, **columns)
        note(ctx, row, "created")
        if paused is not None:
            row = stop(ctx, row, paused)
        else:
            row = set_next(ctx, row, next_nominal(row, ctx.now))
        return {"name": name, "next_at": row.next_at}

    def update(self, ctx: Context, schedule: Any, spec: Spec | None, settings: ScheduleSettings) -> dict[str, Any]:
        """As ``schedule_update``."""
        if schedule.built_in:
            raise wrong("name", f"{schedule.name} is built in; change it where the engine is made, or pause it here")
        return self.change(ctx, schedule, changed_columns(self.launcher, schedule, spec, settings, ctx.now))

    def change(self, ctx: Context, schedule: Any, changes: dict[str, Any]) -> dict[str, Any]:
        """As ``schedule_update``, with columns that have been checked."""
        if changes:
            schedule = ctx.db.schedule.update(schedule.id, updated_at=ctx.now, **changes)
            note(ctx, schedule, "updated", detail=", ".join(sorted(changes)))
            if changes_times(changes) and schedule.status is ScheduleStatus.ACTIVE:
                set_next(ctx, schedule, next_nominal(schedule, since(ctx, schedule)))
            self._occurrences.settle(ctx, schedule.id)
        row = ctx.db.schedule.require(schedule.id)
        return {"name": row.name, "next_at": row.next_at, "changed": sorted(changes)}

    def pause(self, ctx: Context, schedule: Any, reason: str) -> Any:
        """As ``schedule_pause``; returns the row. A second pause changes nothing."""
        return stop(ctx, schedule, reason) if schedule.status is ScheduleStatus.ACTIVE else schedule

    def resume(self, ctx: Context, schedule: Any) -> Any:
        """As ``schedule_resume``; returns the row."""
        if schedule.status is ScheduleStatus.PAUSED:
            schedule = ctx.db.schedule.update(
                schedule.id, status=ScheduleStatus.ACTIVE, reason=None, updated_at=ctx.now
            )
            note(ctx, schedule, "resumed")
            set_next(ctx, schedule, next_nominal(schedule, since(ctx, schedule)))
            if schedule.buffered:
                arm(ctx, schedule.id, TimerKind.DRAIN, ctx.real_now)
            self._occurrences.settle(ctx, schedule.id)
        return ctx.db.schedule.require(schedule.id)

    def trigger(self, ctx: Context, schedule: Any, overlap: Overlap | None) -> dict[str, Any]:
        """As ``schedule_trigger``."""
        nominal = ctx.real_now
        while has_run(ctx, schedule, nominal):
            nominal += 1
        note(ctx, schedule, "triggered", nominal=nominal)
        taken: Taken = self._occurrences.take(ctx, schedule.id, nominal, RunCause.TRIGGER, overlap)
        self._occurrences.settle(ctx, schedule.id)
        return taken._asdict()

    def delete(self, ctx: Context, schedule: Any) -> None:
        """As ``schedule_delete``."""
        if schedule.built_in:
            raise wrong("name", f"{schedule.name} is built in; pause it, or make the engine without it")
        self._occurrences.retire(ctx, schedule, "it was deleted by hand")

    def remove_built_in(self, ctx: Context, schedule: Any) -> None:
        """The engine is made without it now."""
        self._occurrences.retire(ctx, schedule, "the engine is made without it")

    def live(self, ctx: Context, name: str) -> Any:
        """The row of a schedule that is not deleted; ``SenderError`` ``not_found`` or ``not_active``."""
        schedule = ctx.db.schedule.first(name=name)
        if schedule is None:
            raise SenderError("not_found", f"there is no schedule {name!r}", name=name)
        if schedule.status is ScheduleStatus.DELETED:
            raise SenderError("not_active", f"schedule {name} is deleted: {schedule.reason}; create it anew", name=name)
        return schedule

    # -- who may -----------------------------------------------------------------------------

    def _live(self, ctx: Context, name: str, verb: str, command: str | None = None) -> Any:
        """As ``live``, for a caller who must be allowed to; whoever is not learns nothing of what there is."""
        schedule = ctx.db.schedule.first(name=name)
        self._allow(ctx, schedule, verb, command or (None if schedule is None else schedule.command))
        return self.live(ctx, name)

    def _allow(self, ctx: Context, schedule: Any, verb: str, command: Any) -> None:
        """``SenderError`` ``forbidden``. A reducer that a schedule calls may be the owner's: such are for the owner."""
        if ctx.is_owner or ctx.sender is None:
            return
        if isinstance(command, str) or not self.authorize(ctx, schedule, verb):
            which = "a schedule" if schedule is None else f"schedule {schedule.name}"
            raise SenderError("forbidden", f"this identity may not {verb} {which}", verb=verb)

    def _forget(self, ctx: Context, schedule: Any) -> None:
        """Remove a deleted schedule with its runs; its events stay."""
        for run in ctx.db.schedule_run.where(schedule_id=schedule.id):
            ctx.db.schedule_run.delete(run)
        ctx.db.schedule.delete(schedule)


def _next(ctx: Context, schedule: Any, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if schedule.status is ScheduleStatus.DELETED or is_spent(schedule):
        return found
    left = count if schedule.max_runs is None else min(count, schedule.max_runs - schedule.fires - schedule.buffered)
    nominal = schedule.next_at if schedule.next_at is not None else next_nominal(schedule, since(ctx, schedule))
    while nominal is not None and len(found) < left:
        told = calendar_of(schedule.spec).local(nominal)
        found.append({"nominal_at": nominal, "due_at": due_of(schedule, nominal), "local": told})
        nominal = next_nominal(schedule, nominal)
    return found
