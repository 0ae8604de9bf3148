"""What a start does with the workflows it finds.

There is nothing to replay: a workflow is its row, its timers are in line again as soon as the tables are loaded, and
what was due meanwhile fires by itself. So a start only looks. Every live workflow must have a registered type, a
state that type can read, and something that will wake it. Parked workflows are not touched; one that nothing would
wake is given to its handler (``on_recover``); one that cannot go on is named in ``recovery_error`` and left as it is,
and all others are served.

Types come first, before anything runs: live workflows whose type is missing stop the start, unless that type was
named as skipped when the engine was made. The timers of skipped workflows are held until the type is back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from reactor.context import Context
from reactor.errors import Refusal
from workflows.audit import record
from workflows.definition import Definition, StateError
from workflows.dispatch import Dispatcher
from workflows.life import RUNNING, SUSPENDED, is_live

SAMPLES_MAX = 20
PAGE_ROWS = 2_000
"""Rows looked at in one round: about two milliseconds, and one commit if any of them needs a change."""


def live_rows(workflow: Any) -> list[Any]:
    """The rows of all live workflows, by index: those that have ended, mostly far more, are not looked at."""
    return [row for status in (SUSPENDED, RUNNING) for row in workflow.lookup(("status",), (status,))]


def check_types(workflow: Any, dispatcher: Dispatcher, skip_types: Collection[str]) -> None:
    """Raise ``Refusal`` ``unregistered_types`` if live workflows belong to types nobody registered or skipped."""
    missing: dict[str, list[int]] = {}
    known = {*dispatcher.registry.names, *skip_types}
    for row in live_rows(workflow):
        if row.workflow_type not in known:
            missing.setdefault(row.workflow_type, []).append(row.id)
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

    def __init__(self, dispatcher: Dispatcher, skip_types: Collection[str]) -> None:
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

    @staticmethod
    def _in_pages(ctx: Context) -> Iterator[list[int]]:
        ids = sorted(row.id for row in live_rows(ctx.db.workflow))
        return (ids[at : at + PAGE_ROWS] for at in range(0, len(ids), PAGE_ROWS))

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
                kind.decode_state(row.state)
                if row.status is SUSPENDED and (row.waits is not None or _has_waker(ctx, workflow_id)):
                    parked += 1
                else:
                    self._resume(ctx, row, kind)
            except Exception as error:
                self._note(ctx, row, error)
        self._parked += parked

    def _resume(self, ctx: Context, row: Any, kind: Definition) -> None:
        if is_live(row.status):
            self._dispatcher.resume(ctx, row, kind)
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
            if row.workflow_id not in self._unreadable and not self._unseen:
                ctx.db.recovery_error.delete(row.workflow_id)
        ctx.log(
            f"recovered {self._parked + self._resumed} workflows ({self._parked} parked, {self._resumed} taken up "
            f"again); {len(self._unreadable)} cannot go on, {self._skipped} skipped, {self._unseen} not looked at",
            "warning" if self._unreadable or self._unseen else "info",
        )

    # -- types that are missing, on purpose ----------------------------------------------------

    def _skip(self, ctx: Context, row: Any) -> None:
        self._skipped += 1
        timers = ctx.db.workflow_timer
        for timer in timers.lookup(("workflow_id",), (row.id,)):
            if not timer.cancelled:
                timers.update(timer.scheduled_id, cancelled=True, held=True)
        events = ctx.db.workflow_event
        if not any(event.kind == "skipped" for event in events.lookup(("workflow_id",), (row.id,))):
            detail = f"type {row.workflow_type} is not registered"
            record(ctx, row.id, row.sequence, "skipped", "start", row, row.status, row.current_step, detail)

    def _release_timers(self, ctx: Context) -> None:
        """Let the held timers of types that are back fire again, at the times they were due."""
        timers, rows = ctx.db.workflow_timer, ctx.db.workflow.rows
        for timer in [t for t in timers.rows.values() if t.held]:
            row = rows.get(timer.workflow_id)
            if row is not None and row.workflow_type in self._dispatcher.registry:
                timers.update(timer.scheduled_id, cancelled=False, held=False)


def _has_waker(ctx: Context, workflow_id: int) -> bool:
    """Whether a timer or the end of a child will wake the workflow."""
    db = ctx.db
    if any(not timer.cancelled for timer in db.workflow_timer.lookup(("workflow_id",), (workflow_id,))):
        return True
    return any(is_live(child.status) for child in db.workflow.lookup(("parent_id",), (workflow_id,)))
