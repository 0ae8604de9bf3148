"""The part of the engine that keeps messages: its tables, and the reducers that send and deliver them."""

from __future__ import annotations

from typing import Any, Literal

from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from workflows import messages
from workflows.life import is_awake, is_live
from workflows.parts import Part
from workflows.signal_or_start import Came, Wanted, wanted
from workflows.start import names
from workflows.start.asking import check_client
from workflows.start.options import StartOptions


class Inbox(Part):
    """What waits for workflows, and the signals that are remembered by their ids."""

    schemas = (messages.MESSAGE_SCHEMA, messages.SIGNAL_ID_SCHEMA, messages.DELIVERY_SCHEMA)

    def declare(self, module: Module) -> None:
        """Add ``workflow_send`` and what the engine runs by itself."""
        module.reducer(self.workflow_send)
        module.reducer(self.workflow_signal_or_start)
        module.reducer(name=messages.DELIVERY_REDUCER, access="internal")(self.dispatcher.signalling.go_on)
        module.on_start(self._deliver_to_returned_types)
        module.on_reload(self._deliver_to_returned_types)

    def workflow_send(
        self, ctx: Context, id: int | str, name: str, payload: Any = None, signal_id: str | None = None
    ) -> dict[str, Any]:
        """Send a signal that may be sent again, to a workflow by id or name: with a ``signal_id`` it counts once.

        Returns ``{"status", "outcome", "position"}``: ``outcome`` is ``delivered``, ``stored`` (the workflow takes it
        later; ``position`` is its id in ``workflow_message``) or ``duplicate``, with the status the first was told.
        """
        id = names.resolve(ctx, id)
        commands = self.dispatcher.commands
        try:
            row = ctx.db.workflow.get(id)
            if row is not None:
                self.dispatcher.allow(ctx, row, row.workflow_type, "signal")
            sent = self.dispatcher.send(ctx, id, name, payload, signal_id)
        except SenderError:
            commands.refused(ctx, "signal", id, reason=name)
            raise
        if commands.logs_starts:
            commands.note(ctx, "signal", id, reason=name, detail=sent.outcome)
        return sent._asdict()

    def workflow_signal_or_start(
        self,
        ctx: Context,
        type: str,
        signal: str,
        payload: Any = None,
        start_payload: Any = None,
        entity_id: int | None = None,
        correlation_id: str | None = None,
        signal_id: str | None = None,
        on_finished: Literal["refuse", "start_new"] = "refuse",
        signal_new: bool = False,
        options: StartOptions | None = None,
    ) -> dict[str, Any]:
        """Send a signal to the workflow that is meant, or start it if there is none; both are one commit.

        Meant is the one with the name in ``options``, or that holds what the type or ``options`` want exclusively, or
        the one of that type, entity and correlation. One that has ended is a ``conflict``, unless ``on_finished`` is
        ``start_new``. ``signal_new``: one that is started gets the signal, too.

        Returns ``{"did", "id", "name", "status", "outcome", "position"}``; ``did`` is ``started`` or ``signalled``.
        """
        order = wanted(
            type, signal, payload, start_payload=start_payload, entity_id=entity_id, correlation_id=correlation_id,
            signal_id=signal_id, on_finished=on_finished, signal_new=signal_new, options=options,
        )  # fmt: skip
        commands = self.dispatcher.commands
        try:
            came = self._signal_or_start(ctx, order)
        except SenderError:
            commands.refused(ctx, "signal_or_start", None, workflow_type=type, reason=signal)
            raise
        if commands.logs_starts:
            commands.note(ctx, "signal_or_start", came.id, reason=signal, detail=came.did)
        return came._asdict()

    def _signal_or_start(self, ctx: Context, order: Wanted) -> Came:
        both, type = self.dispatcher.signal_or_start, order.workflow_type
        found = both.find(ctx, order)
        if found is not None:
            self.dispatcher.allow(ctx, found, type, "signal")
        if found is None or not is_live(found.status):
            self.dispatcher.allow(ctx, None, type, "start")
            check_client(ctx, self.dispatcher.registry.get(type), order.options)
        return both.ask(ctx, order, found)

    def ended(self, ctx: Context, row: Any) -> None:
        """Nobody will take what still waits for it."""
        if ctx.db.workflow_message.rows:
            messages.forget(ctx, row.id)

    def removed(self, ctx: Context, row: Any) -> None:
        """The ids of its signals are forgotten with it."""
        marks = ctx.db.workflow_signal_id
        if marks.rows:
            for mark in marks.lookup(("workflow_id",), (row.id,)):
                marks.delete(mark.id)

    def _deliver_to_returned_types(self, ctx: Context) -> None:
        """What was told to workflows while their type was missing is delivered now that it is back."""
        waiting: dict[int, bool] = {}
        for message in ctx.db.workflow_message.rows.values():
            waiting[message.workflow_id] = waiting.get(message.workflow_id, False) or message.hook is not None
        for workflow_id in sorted(waiting):
            row = ctx.db.workflow.get(workflow_id)
            kind = None if row is None or not is_awake(row.status) else self.dispatcher.registry.get(row.workflow_type)
            # The signals of a script wait until it asks for them.
            if kind is not None and (waiting[workflow_id] or not kind.stores_signals):
                self.dispatcher.signalling.deliver_later(ctx, workflow_id)
