"""What a start does with the workflows it finds.

There is nothing to replay: a workflow is its row, its timers are in line again as soon as the tables are loaded, and
what was due meanwhile fires by itself. So a start only looks. Every live workflow must have a registered type, a
state that type can read, and something that will wake it. Workflows that wait, are paused, faulted or not begun are
not touched; one that nothing would wake is given to its handler (``on_recover``); one that cannot go on is named in
``recovery_error`` and left as it is, and all others are served.

Types come first, before anything runs: live workflows whose type is missing stop the start, unless that type was
named as skipped when the engine was made. The timers of skipped workflows are held until the type is back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from reactor.context import Context
from reactor.errors import Refusal
from workflows.audit import record
from workflows.control.held import hold_timers
from workflows.definition import Definition
from workflows.dispatch import Dispatcher
from workflows.life import LIVE, PAUSED, RUNNING, is_awake, is_live
from workflows.versions.migrations import StateError

SAMPLES_MAX = 20
PAGE_ROWS = 2_000
"""Rows looked at in one round: about two milliseconds, and one commit if any of them needs a change."""


def live_rows(workflow: Any) -> list[Any]:
    """The rows of all live workflows, by index: those that have ended, mostly far more, are not looked at."""
    return [row for status in sorted(LIVE) for row in workflow.lookup(("status",), (status,))]


def check_types(workflow: Any, dispatcher: Dispatcher, skip_types: Collection[str]) -> None:
    """Raise ``Refusal`` ``unregistered_types`` if live workflows belong to types nobody registered or skipped."""
    missing: dict[str, list[int]] = {}
    known = {*dispatcher.registry.names, *skip_types}
    (by_type,) = (index for index in workflow.index_list if index.columns == ("workflow_type",))
    for name in by_type.values():
        if name not in known:
            found = [key for key in by_type.find(name) if is_live(workflow.rows[key].status)]
            if found:
                missing[name] = found
    if missing:
        ids = sorted(workflow_id for found in missing.values() for workflow_id in found)
        raise Refusal(
            "unregistered_types",
            f"{len(ids)} live workflows belong to types that are not registered: {', '.join(sorted(missing))}. "
            "Register their handlers with WorkflowEngine(types=[...]), or leave these workflows parked with "
            "WorkflowEngine(skip_types=[...])",
            known_types=dispatcher.registry.names,
            missing_types=sorted(missing),
            count=len(ids),
            samples=ids[:SAMPLES_MAX],
            truncated=len(ids) > SAMPLES_MAX,
        )


class Recovery:
    """One start's look at all live workflows, a page a round."""

    def __init__(
        self, dispatcher: Dispatcher, skip_types: Collection[str], only: Collection[str] | None = None
    ) -> None:
        """``only`` are the types to look at; None for all."""
        self._only = only
        self._dispatcher = dispatcher
        self._skip_types = frozenset(skip_types)
        self._pages: Iterator[list[int]] | None = None
        self._parked = self._resumed = self._skipped = self._unseen = 0
        self._unreadable: dict[int, None] = {}

    def round(self, ctx: Context) -> bool:
        """Look at one page; True while there is more. To be run as a start function."""
        if self._pages is None:
            self._pages = self._in_pages(ctx)
            self._release_timers(ctx)
        page = next(self._pages, None)
        if page is None:
            self._finish(ctx)
            return False
        try:
            with ctx.savepoint():
                self._look_at(ctx, page)
        except Exception as error:
            # Workflows go on without having been looked at; a start that does not happen helps nobody.
            self._unseen += len(page)
            ctx.log(f"recovery could not look at workflows {page[0]} to {page[-1]}: {error!r}", "error")
        return True

    def _in_pages(self, ctx: Context) -> Iterator[list[int]]:
        if self._only is None:
            ids = sorted(row.id for row in live_rows(ctx.db.workflow))
        else:
            found = (row for name in self._only for row in ctx.db.workflow.lookup(("workflow_type",), (name,)))
            ids = sorted(row.id for row in found if is_live(row.status))
        return (ids[at : at + PAGE_ROWS] for at in range(0, len(ids), PAGE_ROWS))

    def _concerns(self, workflow_type: str) -> bool:
        return self._only is None or workflow_type in self._only

    def _look_at(self, ctx: Context, ids: list[int]) -> None:
        rows, types = ctx.db.workflow.rows, self._dispatcher.registry.get
        parked = 0
        for workflow_id in ids:
            row = rows.get(workflow_id)
            if row is None:
                continue
            kind = types(row.workflow_type)
            if kind is None:
                self._skip(ctx, row)
                continue
            try:
                if is_awake(row.status) or row.status is PAUSED:
                    # One that has not begun has no state, and one that is Faulted is looked at by somebody already.
                    kind.read_state(row)
                waits = row.status is not RUNNING and (row.waits is not None or self._has_waker(ctx, workflow_id))
                if waits or not is_awake(row.status):
                    parked += 1
                else:
                    self._resume(ctx, row, kind)
            except Exception as error:
                self._note(ctx, row, error)
        self._parked += parked

    def _has_waker(self, ctx: Context, workflow_id: int) -> bool:
        """Whether a timer, the end of a child or a part of the engine will wake the workflow."""
        timers = ctx.db.workflow_timer.lookup(("workflow_id",), (workflow_id,))
        return any(not timer.cancelled for timer in timers) or self._dispatcher.steps.has_waker(ctx, workflow_id)

    def _resume(self, ctx: Context, row: Any, kind: Definition) -> None:
        if is_live(row.status):
            self._dispatcher.take_up(ctx, row, kind)
            self._resumed += 1

    def _note(self, ctx: Context, row: Any, error: Exception) -> None:
        """Name a workflow that cannot go on, once however many starts find it so."""
        message = str(error) if isinstance(error, StateError) else f"{type(error).__name__}: {error}"
        self._unreadable[row.id] = None
        ctx.log(f"{row.workflow_type} {row.id} cannot be recovered and is left as it is: {message}", "error")
        table = ctx.db.recovery_error
        known = table.get(row.id)
        if known is None:
            table.insert(workflow_id=row.id, workflow_type=row.workflow_type, message=message, at=ctx.now)
        elif known.message != message:
            table.update(row.id, message=message, at=ctx.now)

    def _finish(self, ctx: Context) -> None:
        for row in list(ctx.db.recovery_error):
            seen = self._concerns(row.workflow_type) and not self._unseen
            if seen and row.workflow_id not in self._unreadable:
                ctx.db.recovery_error.delete(row.workflow_id)
        ctx.log(
            f"recovered {self._parked + self._resumed} workflows ({self._parked} parked, {self._resumed} taken up "
            f"again); {len(self._unreadable)} cannot go on, {self._skipped} skipped, {self._unseen} not looked at",
            "warning" if self._unreadable or self._unseen else "info",
        )

    # -- types that are missing, on purpose ----------------------------------------------------

    def _skip(self, ctx: Context, row: Any) -> None:
        self._skipped += 1
        hold_timers(ctx, row.id)
        events = ctx.db.workflow_event
        if not any(event.kind == "skipped" for event in events.lookup(("workflow_id",), (row.id,))):
            detail = f"type {row.workflow_type} is not registered"
            record(ctx, row.id, row.sequence, "skipped", "start", row, row.status, row.current_step, detail)

    def _release_timers(self, ctx: Context) -> None:
        """Let the held timers of types that are back fire again, at the times they were due.

        Those of workflows that are paused or faulted wait for somebody, not for a type; their retries go on.
        """
        rows = ctx.db.workflow.rows
        for table, is_retry in ((ctx.db.workflow_timer, False), (ctx.db.workflow_parked, True)):
            for timer in [t for t in table.rows.values() if t.held]:
                row = rows.get(timer.workflow_id)
                if row is None or row.workflow_type not in self._dispatcher.registry:
                    continue
                if is_retry or is_awake(row.status):
                    table.update(timer.scheduled_id, cancelled=False, held=False)
