"""``ctx.workflows``: how game code starts, signals, cancels and finds workflows, as part of its own call."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows.dispatch import Dispatcher
from workflows.life import Status, is_live


class Workflows:
    """The workflows, as a reducer or handler sees them. What it does is part of the running call.

    Game code is trusted: nobody's permission is asked here. Payloads are a struct of the declared type, a JSON value,
    or fields by name: ``ctx.workflows.start("respawn", entity_id=7, delay_us=seconds(30))``.
    """

    __slots__ = ("_ctx", "_dispatcher")

    def __init__(self, ctx: Context, dispatcher: Dispatcher) -> None:
        self._ctx = ctx
        self._dispatcher = dispatcher

    def start(
        self,
        workflow_type: str,
        *,
        entity_id: int | None = None,
        correlation_id: str | None = None,
        payload: Any = None,
        parent_id: int | None = None,
        **fields: Any,
    ) -> int:
        """Start a workflow and return its id; raises as ``workflow_start``."""
        return self._dispatcher.start(self._ctx, workflow_type, entity_id, correlation_id, fields or payload, parent_id)

    def signal(self, workflow_id: int, name: str, payload: Any = None, **fields: Any) -> Status:
        """Send a signal and return the workflow's status after it; raises as ``workflow_signal``.

        A workflow whose own step is running gets the signal when that step is over; the status is Running then.
        """
        return self._dispatcher.signal(self._ctx, workflow_id, name, fields or payload)

    def cancel(self, workflow_id: int, reason: str) -> Status:
        """End a workflow; ``SenderError`` ``unknown_workflow`` or ``not_active``."""
        return self._dispatcher.cancel(self._ctx, workflow_id, reason)

    def get(self, workflow_id: int) -> Any:
        """The workflow's row, or None."""
        return self._ctx.db.workflow.get(workflow_id)

    def find(
        self,
        workflow_type: str | None = None,
        *,
        entity_id: int | None = None,
        correlation_id: str | None = None,
        live: bool = True,
    ) -> list[Any]:
        """The rows of workflows of a type, an entity or a correlation, oldest first; only live ones unless told."""
        given = {"entity_id": entity_id, "correlation_id": correlation_id, "workflow_type": workflow_type}
        wanted = {name: value for name, value in given.items() if value is not None}
        table = self._ctx.db.workflow
        rows: list[Any] = table.where(**wanted) if wanted else list(table)
        return [row for row in rows if is_live(row.status)] if live else rows
