"""The reducers that clients and operators call."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from workflows.dispatch import Dispatcher
from workflows.start import names
from workflows.start.asking import check_client
from workflows.start.options import StartOptions
from workflows.tables import TIMER_REDUCER
from workflows.upkeep import cleanup, tick

BATCH_STARTS_MAX = 10_000
"""Workflows started in one call: a commit is whole, so live calls wait for all of it, some tenths of a second."""


class StartItem(msgspec.Struct, forbid_unknown_fields=True):
    """One workflow of a batch."""

    type: str
    entity_id: int | None = None
    correlation_id: str | None = None
    payload: Any = None
    options: StartOptions | None = None


def remember(ctx: Context, identity: str, workflow_id: int) -> None:
    """Note the workflow that a caller has started last."""
    table = ctx.db.last_workflow_id
    if identity in table.rows:
        table.update(identity, workflow_id=workflow_id)
    else:
        table.insert(identity=identity, workflow_id=workflow_id)


class Reducers:
    """The engine's reducers over one dispatcher; ``declare`` adds them to a module."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._allow = dispatcher.allow
        self._commands = dispatcher.commands

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
        # Not `with`: a start is too frequent to pay for it.
        try:
            self._allow(ctx, None, type, "start")
            workflow_id = self._dispatcher.start(ctx, type, entity_id, correlation_id, payload)
        except SenderError:
            self._commands.refused(ctx, "start", None, workflow_type=type)
            raise
        if ctx.sender is not None:
            remember(ctx, ctx.sender, workflow_id)
            if self._commands.logs_starts:
                self._commands.note(ctx, "start", workflow_id, workflow_type=type)
        return workflow_id

    def workflow_start_batch(self, ctx: Context, items: list[StartItem]) -> list[int]:
        """Start many workflows, all or none; returns their ids in order. An error names the bad item's ``index``."""
        if len(items) > BATCH_STARTS_MAX:
            raise SenderError(
                "limit_exceeded",
                f"{len(items)} workflows are too many for one call; start {BATCH_STARTS_MAX} at most, in several calls",
                count=len(items),
                limit=BATCH_STARTS_MAX,
            )
        started: list[int] = []
        try:
            for item in items:
                self._allow(ctx, None, item.type, "start")
                if item.options is not None:
                    check_client(ctx, self._dispatcher.registry.get(item.type), item.options)
                started.append(
                    self._dispatcher.start(
                        ctx, item.type, item.entity_id, item.correlation_id, item.payload, None, item.options
                    )
                )
        except SenderError as error:
            at = len(started)
            self._commands.refused(ctx, "start_batch", None, workflow_type=items[at].type)
            raise SenderError(error.code, f"item {at}: {error.message}", **{**error.details, "index": at}) from error
        if started and ctx.sender is not None:
            remember(ctx, ctx.sender, started[-1])
            if self._commands.logs_starts:
                detail = f"{len(started)} workflows, {started[0]} to {started[-1]}"
                self._commands.note(ctx, "start_batch", None, detail=detail)
        return started

    def workflow_signal(self, ctx: Context, id: int | str, name: str, payload: Any = None) -> str:
        """Send a signal to a live workflow, named by id or name; returns its status after it."""
        id = names.resolve(ctx, id)
        try:
            row = self._dispatcher.live_row(ctx, id)
            self._allow(ctx, row, row.workflow_type, "signal")
            status = self._dispatcher.signal(ctx, id, name, payload)
        except SenderError:
            self._commands.refused(ctx, "signal", id, reason=name)
            raise
        if self._commands.logs_starts:
            self._commands.note(ctx, "signal", id, reason=name)
        return status

    def workflow_cancel(self, ctx: Context, id: int | str, reason: str) -> str:
        """End a live workflow, for whoever started it and for the owner of the database; the reason is kept."""
        id = names.resolve(ctx, id)
        with self._commands.command(ctx, "cancel", id, reason=reason):
            row = self._dispatcher.live_row(ctx, id)
            self._allow(ctx, row, row.workflow_type, "cancel")
            return self._dispatcher.cancel(ctx, id, reason)

    def workflow_last_id(self, ctx: Context) -> int | None:
        """The id of the workflow this caller started last, for clients that cannot take a return value."""
        row = ctx.db.last_workflow_id.get(ctx.sender)
        return None if row is None else row.workflow_id

    def cleanup_old_workflows(self, ctx: Context, days: float, type: str | None = None) -> dict[str, Any]:
        """Remove workflows that ended ``days`` ago, of one type or all, a bounded number a call.

        Returns {"removed": n, "more": bool}.
        """
        return cleanup(ctx, self._dispatcher, days, workflow_type=type)

    def workflow_tick(self, ctx: Context) -> int:
        """Fire the timers that are due, for debugging; returns how many."""
        return tick(ctx, self._dispatcher)

    def workflow_timer_fire(self, ctx: Context, timer: Any) -> None:
        """Run by the reactor for every due row of ``workflow_timer``; nobody else can."""
        self._dispatcher.fire(ctx, timer)
