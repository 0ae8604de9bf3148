"""The part of the engine that keeps what was stopped, what went wrong and what was asked for."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from reactor.module import Module
from workflows.control.reducers import ControlReducers
from workflows.control.tables import RETRY_REDUCER, SCHEMAS
from workflows.life import FAULTED
from workflows.parts import Part


class ControlPart(Part):
    """Tables, the operator's verbs, and the retries that come due."""

    schemas = SCHEMAS

    def declare(self, module: Module) -> None:
        """Add the verbs, and what the engine runs by itself."""
        ControlReducers(self.dispatcher.control, self.dispatcher.commands).declare(module)
        module.reducer(name=RETRY_REDUCER, access="internal")(self.workflow_retry_fire)

    def workflow_retry_fire(self, ctx: Context, parked: Any) -> None:
        """Run by the reactor when it is time to try again; nobody else can."""
        self.dispatcher.control.faults.retry_due(ctx, parked)

    def wakes(self, ctx: Context, workflow_id: int) -> bool:
        """A workflow that is tried again by itself has a way on."""
        table = ctx.db.workflow_parked
        if not table.rows:
            return False
        parked = table.first(workflow_id=workflow_id)
        return parked is not None and parked.status is FAULTED and not parked.cancelled

    def ended(self, ctx: Context, row: Any) -> None:
        """Nothing holds it any more."""
        table = ctx.db.workflow_parked
        if table.rows:
            parked = table.first(workflow_id=row.id)
            if parked is not None:
                table.delete(parked.scheduled_id)

    def removed(self, ctx: Context, row: Any) -> None:
        """Its failures and warnings go with it. What was asked of it stays in the log, which bounds itself."""
        for name in ("execution_error", "workflow_warning"):
            table = getattr(ctx.db, name)
            if table.rows:
                for each in table.lookup(("workflow_id",), (row.id,)):
                    table.delete(each.id)
