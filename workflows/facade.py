"""``ctx.workflows``: how game code starts, signals, cancels and finds workflows, as part of its own call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reactor.context import Context
from reactor.errors import SenderError
from workflows.control.facade import ControlVerbs
from workflows.dispatch import Dispatcher
from workflows.life import Status, is_live
from workflows.signal_or_start import Came, wanted
from workflows.signalling import Sent
from workflows.start import names
from workflows.start.options import Started, StartOptions


class Workflows(ControlVerbs):
    """The workflows, as a reducer or handler sees them. What it does is part of the running call.

    Game code is trusted: nobody's permission is asked here. A workflow is named by its id or its name. Payloads are a
    struct of the declared type, a JSON value, or fields by name:
    ``ctx.workflows.start("respawn", entity_id=7, delay_us=seconds(30))``.
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
        options: StartOptions | None = None,
        **fields: Any,
    ) -> int:
        """Start a workflow and return its id, or that of the one the start rules give instead; raises as
        ``workflow_start``.
        """
        given = fields or payload
        return self._dispatcher.start(self._ctx, workflow_type, entity_id, correlation_id, given, parent_id, options)

    def start_with(
        self,
        workflow_type: str,
        *,
        entity_id: int | None = None,
        correlation_id: str | None = None,
        payload: Any = None,
        parent_id: int | None = None,
        options: StartOptions | None = None,
        **fields: Any,
    ) -> Started:
        """As ``start``, and tell what came of it: ``.id``, ``.name``, ``.outcome`` and more."""
        given = fields or payload
        return self._dispatcher.start_with(
            self._ctx, workflow_type, entity_id, correlation_id, given, parent_id, options
        )

    def can_start(
        self, workflow_type: str, *, entity_id: int | None = None, payload: Any = None, **fields: Any
    ) -> dict[str, Any]:
        """Whether a start would start it now, and if not why; changes nothing. As ``workflow_can_start``."""
        return self._dispatcher.starting.can_start(self._ctx, workflow_type, entity_id, fields or payload)

    def rename(self, workflow: int | str, name: str) -> str:
        """Give a workflow another name; returns the old one. ``SenderError`` ``already_exists`` if it is taken."""
        row = names.find(self._ctx, workflow)
        if row is None:
            raise SenderError("unknown_workflow", f"there is no workflow {workflow!r}", workflow=workflow)
        return names.rename(self._ctx, row, name)

    def signal(self, workflow: int | str, name: str, payload: Any = None, **fields: Any) -> Status:
        """Send a signal and return the workflow's status after it; raises as ``workflow_signal``.

        A workflow whose own step is running gets the signal when that step is over; the status is Running then.
        """
        return self._dispatcher.signal(self._ctx, names.resolve(self._ctx, workflow), name, fields or payload)

    def send(
        self, workflow: int | str, name: str, payload: Any = None, *, signal_id: str | None = None, **fields: Any
    ) -> Sent:
        """Send a signal, once however often with one ``signal_id``; ``.outcome`` says what became of it."""
        return self._dispatcher.send(self._ctx, names.resolve(self._ctx, workflow), name, fields or payload, signal_id)

    def signal_or_start(self, workflow_type: str, signal: str, payload: Any = None, **asked: Any) -> Came:
        """Signal the workflow that is meant, or start it; ``asked`` as of ``workflow_signal_or_start``."""
        order = wanted(workflow_type, signal, payload, **asked)
        both = self._dispatcher.signal_or_start
        return both.ask(self._ctx, order, both.find(self._ctx, order))

    def update(self, workflow: int | str, name: str, payload: Any = None, **fields: Any) -> Any:
        """Run an update and return its reply; raises as ``workflow_update``, and nothing has changed then."""
        return self._dispatcher.answering.update(self._ctx, names.resolve(self._ctx, workflow), name, fields or payload)

    def query(self, workflow: int | str, name: str, payload: Any = None, **fields: Any) -> Any:
        """Ask a workflow, also one that has ended; raises as ``workflow_query``. It changes nothing."""
        return self._dispatcher.answering.query(self._ctx, names.resolve(self._ctx, workflow), name, fields or payload)

    def cancel(self, workflow: int | str, reason: str) -> Status:
        """End a workflow; ``SenderError`` ``unknown_workflow`` or ``not_active``."""
        return self._dispatcher.cancel(self._ctx, names.resolve(self._ctx, workflow), reason)

    @property
    def attribute_kinds(self) -> Mapping[str, Any]:
        """The search attributes that hold one kind of value, as the engine's option ``attributes`` says."""
        return self._dispatcher.attribute_kinds

    def get(self, id_or_name: int | str) -> Any:
        """The row of the workflow with that id or name, or None."""
        return names.find(self._ctx, id_or_name)

    def find(
        self,
        workflow_type: str | None = None,
        *,
        entity_id: int | None = None,
        correlation_id: str | None = None,
        parent_id: int | None = None,
        live: bool = True,
    ) -> list[Any]:
        """The rows of workflows of a type, an entity, a correlation or a parent, oldest first; only live ones unless
        told.
        """
        given = {
            "entity_id": entity_id,
            "correlation_id": correlation_id,
            "parent_id": parent_id,
            "workflow_type": workflow_type,
        }
        wanted = {name: value for name, value in given.items() if value is not None}
        table = self._ctx.db.workflow
        rows: list[Any] = table.where(**wanted) if wanted else list(table)
        return [row for row in rows if is_live(row.status)] if live else rows
