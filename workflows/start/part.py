"""The start rules as a part of the engine: their tables, their reducers, and what they do at ends."""

from __future__ import annotations

from typing import Any

import msgspec

from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from workflows.dispatch import Dispatcher
from workflows.life import is_live
from workflows.parts import Part
from workflows.reducers import remember
from workflows.start import deadlines, keys, names
from workflows.start.asking import check_client
from workflows.start.options import NO_OPTIONS, Started, StartOptions
from workflows.start.rules import StartRules
from workflows.start.tables import BEGIN_REDUCER, DEADLINE_REDUCER, QUEUE_VIEW, SCHEMAS
from workflows.starting import refused
from workflows.upkeep import remove


class StartPart(Part):
    """Names, ids, keys, claims, slots, Pending workflows and deadlines."""

    schemas = SCHEMAS

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self.rules = StartRules(dispatcher)
        self.rules.remove = self._remove
        self.rules.label = self._no_labels
        dispatcher.starting.rules = self.rules

    def declare(self, module: Module) -> None:
        """The reducers of this part."""
        module.reducer(self.workflow_start_with)
        module.reducer(self.workflow_can_start)
        module.reducer(self.workflow_find)
        module.reducer(self.workflow_rename)
        module.reducer(access="owner")(self.workflow_keys_forget)
        module.reducer(name=BEGIN_REDUCER, access="internal")(self.workflow_begin)
        module.reducer(name=DEADLINE_REDUCER, access="internal")(self.workflow_deadline_fire)
        module.view("workflow_queue", QUEUE_VIEW)
        module.on_start(self._take_up)
        module.on_reload(self._take_up)

    # -- what clients call -------------------------------------------------------------------------

    def workflow_start_with(
        self,
        ctx: Context,
        type: str,
        entity_id: int | None = None,
        correlation_id: str | None = None,
        payload: Any = None,
        options: StartOptions | None = None,
    ) -> dict[str, Any]:
        """Start a workflow with options; the answer tells what came of it (id, name, outcome, status, …)."""
        commands, options = self.dispatcher.commands, options or NO_OPTIONS
        try:
            self.dispatcher.allow(ctx, None, type, "start")
            check_client(ctx, self.dispatcher.registry.get(type), options)
            started = self.dispatcher.start_with(ctx, type, entity_id, correlation_id, payload, None, options)
        except SenderError:
            commands.refused(ctx, "start", None, workflow_type=type)
            raise
        if ctx.sender is not None:
            remember(ctx, ctx.sender, started.id)
            if commands.logs_starts:
                commands.note(ctx, "start", started.id, workflow_type=type, detail=started.outcome)
        return as_json(started)

    def workflow_can_start(
        self, ctx: Context, type: str, entity_id: int | None = None, payload: Any = None
    ) -> dict[str, Any]:
        """Whether ``workflow_start`` would start it now, and if not why; changes nothing."""
        try:
            self.dispatcher.allow(ctx, None, type, "start")
        except SenderError as error:
            return refused(error)
        return self.dispatcher.starting.can_start(ctx, type, entity_id, payload)

    def workflow_find(self, ctx: Context, id: int | str) -> Any:
        """The workflow with that id or name as a row; ``unknown_workflow`` if there is none."""
        row = names.find(ctx, id)
        if row is None:
            raise SenderError("unknown_workflow", f"there is no workflow {id!r}", workflow=id)
        return row

    def workflow_rename(self, ctx: Context, id: int | str, name: str) -> str:
        """Give a workflow another name, live or ended; returns the name it had."""
        row = self.workflow_find(ctx, id)
        with self.dispatcher.commands.command(ctx, "rename", row.id, reason=name):
            self.dispatcher.allow(ctx, row, row.workflow_type, "rename")
            return names.rename(ctx, row, name)

    def workflow_keys_forget(self, ctx: Context, days: float) -> dict[str, Any]:
        """Forget spent idempotency keys older than ``days``: {"removed": n, "more": bool}."""
        return keys.forget(ctx, days)

    # -- what the reactor calls --------------------------------------------------------------------

    def workflow_begin(self, ctx: Context, timer: Any) -> None:
        """Run by the reactor for every due row of ``workflow_start_timer``."""
        self.rules.waiting.due(ctx, timer)

    def workflow_deadline_fire(self, ctx: Context, timer: Any) -> None:
        """Run by the reactor for every due row of ``workflow_deadline``."""
        row = ctx.db.workflow.get(timer.workflow_id)
        if row is not None and is_live(row.status):
            self.dispatcher.ending.time_out(ctx, row, deadlines.reason(timer))

    def _take_up(self, ctx: Context) -> None:
        names.count_on_from_ids(ctx)
        self.rules.waiting.take_up(ctx)

    # -- hooks -------------------------------------------------------------------------------------

    def ended(self, ctx: Context, row: Any) -> None:
        """Release what it held."""
        if row.deadline is not None:
            deadlines.drop(ctx, row.id)
        self.rules.waiting.ended(ctx, row)

    def removed(self, ctx: Context, row: Any) -> None:
        """Its keys are spent; what it replaced is forgotten."""
        keys.spend(ctx, row.id)
        table = ctx.db.workflow_lineage
        if table.rows:
            for lineage in table.lookup(("workflow_id",), (row.id,)):
                table.delete(lineage.id)

    def _remove(self, ctx: Context, row: Any) -> None:
        remove(ctx, self.dispatcher, row)

    @staticmethod
    def _no_labels(ctx: Context, workflow_id: int, attributes: dict[str, Any] | None, tags: list[str] | None) -> None:
        raise SenderError("bad_arguments", "option attributes: this engine keeps none", parameter="attributes")


def as_json(started: Started) -> dict[str, Any]:
    """The answer as a client sees it."""
    answer: dict[str, Any] = msgspec.to_builtins(started)
    return answer
