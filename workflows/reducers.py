"""The reducers that clients and operators call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from workflows.dispatch import Dispatcher
from workflows.tables import TIMER_REDUCER
from workflows.upkeep import cleanup, tick

Authorize = Callable[[Context, Any, str], bool]


class StartItem(msgspec.Struct, forbid_unknown_fields=True):
    """One workflow of a batch."""

    type: str
    entity_id: int | None = None
    correlation_id: str | None = None
    payload: Any = None


def starters_may_cancel(ctx: Context, workflow: Any, verb: str) -> bool:
    """The rule unless an engine is given another: anyone may start and signal, the starter may cancel."""
    return verb != "cancel" or (workflow.owner is not None and workflow.owner == ctx.sender)


class Reducers:
    """The engine's reducers over one dispatcher; ``declare`` adds them to a module."""

    def __init__(self, dispatcher: Dispatcher, authorize: Authorize) -> None:
        self._dispatcher = dispatcher
        self._authorize = authorize

    def declare(self, module: Module) -> None:
        """Add the reducers to ``module``."""
        for function in (
            self.workflow_start,
            self.workflow_start_batch,
            self.workflow_signal,
            self.workflow_cancel,
            self.workflow_last_id,
        ):
            module.reducer(function)
        module.reducer(access="owner")(self.cleanup_old_workflows)
        module.reducer(access="owner")(self.workflow_tick)
        module.reducer(name=TIMER_REDUCER, access="internal")(self.workflow_timer_fire)

    def workflow_start(
        self,
        ctx: Context,
        type: str,
        entity_id: int | None = None,
        correlation_id: str | None = None,
        payload: Any = None,
    ) -> int:
        """Start a workflow and return its id.

        ``payload`` is a JSON value, JSON text, or the bytes of JSON text as a list or in base64.
        """
        self._allow(ctx, None, type, "start")
        workflow_id = self._dispatcher.start(ctx, type, entity_id, correlation_id, payload)
        if ctx.sender is not None:
            self._remember(ctx, ctx.sender, workflow_id)
        return workflow_id

    def workflow_start_batch(self, ctx: Context, items: list[StartItem]) -> list[int]:
        """Start many workflows, all or none; returns their ids in order. An error names the bad item's ``index``."""
        started: list[int] = []
        try:
            for item in items:
                self._allow(ctx, None, item.type, "start")
                started.append(
                    self._dispatcher.start(ctx, item.type, item.entity_id, item.correlation_id, item.payload)
                )
        except SenderError as error:
            at = len(started)
            raise SenderError(error.code, f"item {at}: {error.message}", **{**error.details, "index": at}) from error
        if started and ctx.sender is not None:
            self._remember(ctx, ctx.sender, started[-1])
        return started

    def workflow_signal(self, ctx: Context, id: int, name: str, payload: Any = None) -> str:
        """Send a signal to a live workflow; returns its status after it."""
        row = self._dispatcher.live_row(ctx, id)
        self._allow(ctx, row, row.workflow_type, "signal")
        return self._dispatcher.signal(ctx, id, name, payload)

    def workflow_cancel(self, ctx: Context, id: int, reason: str) -> str:
        """End a live workflow, for whoever started it and for the owner of the database; the reason is kept."""
        row = self._dispatcher.live_row(ctx, id)
        self._allow(ctx, row, row.workflow_type, "cancel")
        return self._dispatcher.cancel(ctx, id, reason)

    def workflow_last_id(self, ctx: Context) -> int | None:
        """The id of the workflow this caller started last, for clients that cannot take a return value."""
        row = ctx.db.last_workflow_id.get(ctx.sender)
        return None if row is None else row.workflow_id

    def cleanup_old_workflows(self, ctx: Context, days: float) -> dict[str, Any]:
        """Remove ended workflows untouched for ``days``, a bounded number a call: {"removed": n, "more": bool}."""
        return cleanup(ctx, days)

    def workflow_tick(self, ctx: Context) -> int:
        """Fire the timers that are due, for debugging; returns how many."""
        return tick(ctx, self._dispatcher)

    def workflow_timer_fire(self, ctx: Context, timer: Any) -> None:
        """Run by the reactor for every due row of ``workflow_timer``; nobody else can."""
        self._dispatcher.fire(ctx, timer)

    def _allow(self, ctx: Context, row: Any, type_name: str, verb: str) -> None:
        """``SenderError`` ``forbidden`` unless the caller may; the owner and the reactor itself always may."""
        if ctx.is_owner or ctx.sender is None:
            return
        kind = self._dispatcher.registry.get(type_name)
        allowed = None if kind is None or kind.may is None else kind.may(ctx, row, verb)
        if allowed is None:
            allowed = self._authorize(ctx, row, verb)
        if not allowed:
            which = type_name if row is None else f"workflow {row.id} ({type_name})"
            raise SenderError("forbidden", f"this identity may not {verb} {which}", verb=verb)

    def _remember(self, ctx: Context, identity: str, workflow_id: int) -> None:
        table = ctx.db.last_workflow_id
        if identity in table.rows:
            table.update(identity, workflow_id=workflow_id)
        else:
            table.insert(identity=identity, workflow_id=workflow_id)
