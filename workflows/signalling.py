"""Signals: what others tell a workflow, by name and with a payload its type has declared.

A handler that is awake gets a signal at once, in the sender's commit. For one that can take no step now it is stored,
and delivered in order, each once, in the commit in which the workflow wakes. A script's signals are stored always, and
the script takes them when it asks for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.errors import SenderError
from workflows import messages
from workflows.definition import Definition
from workflows.handle import Cause, Deferred
from workflows.life import Status, is_awake
from workflows.steps import Steps

DELIVERED_AT_ONCE_MAX = 200
"""Messages delivered in one commit, some ten milliseconds; what is left follows by itself, as many at a time."""

DELIVERED, STORED, DUPLICATE = "delivered", "stored", "duplicate"


class Sent(NamedTuple):
    """What became of a signal: ``outcome`` is ``delivered``, ``stored`` or ``duplicate``.

    ``status`` is the workflow's after it, for a duplicate the one the first sender was told. ``position`` is the id of
    the stored message, None if none was stored.
    """

    status: Status
    outcome: str
    position: int | None


class Signalling:
    """Sends signals, and keeps what cannot be delivered yet."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.run_update: Callable[[Context, Any, Definition, Any], None] | None = None
        """Runs an update that was stored, given its message; set by the part that keeps updates."""
        self.check_contract: Callable[[Context, int, Definition, str, Any], None] | None = None
        """Refuses what the workflow's own declaration of the signal does not take; set by the part that keeps them."""

    # -- sending -------------------------------------------------------------------------------

    def signal(self, ctx: Context, workflow_id: int, name: str, payload: Any) -> Status:
        """Send a signal and return the status after it; raises as ``send``."""
        return self.send(ctx, workflow_id, name, payload).status

    def send(self, ctx: Context, workflow_id: int, name: str, payload: Any, signal_id: str | None = None) -> Sent:
        """Send a signal; with a ``signal_id`` it may be sent again, and counts once.

        ``SenderError``: ``unknown_workflow``, ``not_active``, ``unknown_type``, ``unknown_signal``, ``bad_arguments``,
        ``payload_too_large``, ``limit_exceeded``, ``key_reused`` (the id came with another payload before), or what
        the handler raised; nothing is stored then.
        """
        if signal_id is not None:
            with ctx.savepoint():
                return self._send_once(ctx, workflow_id, name, payload, signal_id)
        inside = self._steps.open.get(workflow_id)
        row: Any = None if inside is not None else self._steps.live_row(ctx, workflow_id)
        kind = self._steps.registry.require(row.workflow_type if inside is None else inside.type)
        function, given = self.read(kind, name, payload)
        if self.check_contract is not None:
            self.check_contract(ctx, workflow_id, kind, name, given)
        if inside is not None:
            return self._send_inside(ctx, kind, inside, name, given)
        if kind.stores_signals or not is_awake(row.status) or self.is_behind(ctx, workflow_id):
            return self._store(ctx, row, kind, name, given)
        status = self._steps.step(ctx, row, kind, function, given, Cause("signal", name), refusable=True)
        return Sent(status, DELIVERED, None)

    def read(self, kind: Definition, name: str, payload: Any) -> tuple[Any, Any]:
        """What runs for a signal, and its payload decoded. Raises ``unknown_signal`` and what the reader raises."""
        declared = kind.signals.get(name)
        if declared is None:
            takes = f"it takes {', '.join(kind.signals)}" if kind.signals else "it takes none"
            raise SenderError(
                "unknown_signal",
                f"workflow type {kind.name} declares no signal {name!r}; {takes}",
                signal=name,
                known_signals=list(kind.signals),
            )
        reader, function = declared
        return function, reader.read(payload, self._steps.limits.payload_bytes_max)

    def _send_inside(self, ctx: Context, kind: Definition, inside: Any, name: str, given: Any) -> Sent:
        """To a workflow whose own step is open: it gets the signal when that step is over."""
        if not kind.stores_signals:
            return Sent(self._steps.defer(inside, Deferred("signal", name, given)), DELIVERED, None)
        status = self._steps.defer(inside, Deferred("message", name, None))
        message = messages.put_signal(ctx, inside.id, name, messages.encode(given).decode())
        return Sent(status, STORED, message.id)

    def _store(self, ctx: Context, row: Any, kind: Definition, name: str, given: Any) -> Sent:
        message = messages.put_signal(ctx, row.id, name, messages.encode(given).decode())
        if not kind.stores_signals or not is_awake(row.status) or self.is_behind(ctx, row.id):
            return Sent(row.status, STORED, message.id)
        status = self.wake(ctx, row, kind, name)
        outcome = STORED if message.id in ctx.db.workflow_message.rows else DELIVERED
        return Sent(status, outcome, message.id)

    def signalled(self, ctx: Context, row: Any, asked: Deferred) -> None:
        """A step is over in which its own workflow was sent a signal: deliver it."""
        kind = self._steps.registry.require(row.workflow_type)
        if asked.verb == "message":
            if is_awake(row.status):
                self.wake(ctx, row, kind, asked.name)
        elif is_awake(row.status):
            cause = Cause("signal", asked.name)
            self._steps.step(ctx, row, kind, kind.signals[asked.name][1], asked.payload, cause)
        else:
            messages.put_signal(ctx, row.id, asked.name, messages.encode(asked.payload).decode())

    def wake(self, ctx: Context, row: Any, kind: Definition, name: str) -> Status:
        """Run a script that waits for signal ``name``, so that it takes the one that is stored; others are left."""
        if row.waits is None or name not in row.waits.split(","):
            status: Status = row.status
            return status
        handler: Any = kind.handler
        return self._steps.step(ctx, row, kind, handler.on_message, name, Cause("signal", name))

    # -- signals with an id of the sender's -----------------------------------------------------

    def _send_once(self, ctx: Context, workflow_id: int, name: str, payload: Any, signal_id: str) -> Sent:
        messages.check_id("signal_id", signal_id)
        marks = ctx.db.workflow_signal_id
        first = marks.first(workflow_id=workflow_id, name=name, signal_id=signal_id)
        digest = self._digest(ctx, workflow_id, name, payload)
        if first is not None:
            if first.digest != digest:
                raise SenderError(
                    "key_reused",
                    f"signal {name} with id {signal_id!r} was sent to workflow {workflow_id} before with another "
                    "payload; use a new id for a new signal",
                    signal_id=signal_id,
                )
            return Sent(Status(first.status), DUPLICATE, first.position)
        sent = self.send(ctx, workflow_id, name, payload)
        messages.remember(ctx, workflow_id, name, signal_id, digest, sent.outcome, sent.position, sent.status)
        return sent

    def _digest(self, ctx: Context, workflow_id: int, name: str, payload: Any) -> str:
        """The payload's fingerprint, as decoded: every form of one payload has the same."""
        inside = self._steps.open.get(workflow_id)
        # Of one that has ended, too: the answer to what ended it may have been lost.
        row: Any = ctx.db.workflow.get(workflow_id)
        if row is None and inside is None:
            self._steps.live_row(ctx, workflow_id)
        kind = self._steps.registry.require(row.workflow_type if inside is None else inside.type)
        _, given = self.read(kind, name, payload)
        return messages.fingerprint(given)

    # -- what waits for a workflow ---------------------------------------------------------------

    def hold(self, ctx: Context, row: Any, hook: str, argument: Any, cause: Cause) -> None:
        """Keep what is told to a workflow that can take no step now, until it can."""
        messages.put_told(ctx, row.id, hook, argument, cause)

    def is_behind(self, ctx: Context, workflow_id: int) -> bool:
        """Whether older messages are still to be delivered to a workflow that is awake."""
        deliveries = ctx.db.workflow_delivery
        return bool(deliveries.rows) and deliveries.count(workflow_id=workflow_id) > 0

    def deliver_held(self, ctx: Context, row: Any) -> None:
        """A workflow is awake: deliver what waits for it, in order, each once, for as long as it stays awake.

        When much has come together, what is left follows by itself in the next commits, and new messages wait behind.
        """
        if self.is_behind(ctx, row.id):
            return
        kind = self._steps.registry.get(row.workflow_type)
        if kind is None:
            return
        count = 0
        for message in messages.unread(ctx, row.id):
            current = ctx.db.workflow.get(row.id)
            if current is None or not is_awake(current.status):
                return
            try:
                with ctx.savepoint():
                    count += self._deliver(ctx, current, kind, message)
            except CallBudgetExceededError:
                if not count:
                    raise
                count = DELIVERED_AT_ONCE_MAX
            if count == DELIVERED_AT_ONCE_MAX:
                self.deliver_later(ctx, row.id)
                return

    def deliver_later(self, ctx: Context, workflow_id: int) -> None:
        """Deliver what waits for a workflow in a commit of its own, very soon."""
        if not self.is_behind(ctx, workflow_id):
            ctx.db.workflow_delivery.insert(scheduled_at=ctx.real_now, workflow_id=workflow_id)

    def go_on(self, ctx: Context, delivery: Any) -> None:
        """The next of what waits for a workflow that is behind; run by a row of ``workflow_delivery``."""
        ctx.db.workflow_delivery.delete(delivery.scheduled_id)
        row = ctx.db.workflow.get(delivery.workflow_id)
        if row is None or not is_awake(row.status):
            return
        try:
            with ctx.savepoint():
                self.deliver_held(ctx, row)
        except CallBudgetExceededError as error:
            # Its first message alone used up the time of this call.
            row = ctx.db.workflow.get(delivery.workflow_id)
            self._steps.ends.fail(ctx, row, Cause("message"), error)

    def _deliver(self, ctx: Context, row: Any, kind: Definition, message: Any) -> bool:
        """Deliver one message; False for one that is left for the script to ask for."""
        table = ctx.db.workflow_message
        if message.id not in table.rows:
            return False
        if message.hook is None and kind.stores_signals:
            self.wake(ctx, row, kind, message.name)
            return message.id not in table.rows
        # Gone before the step, so that a step that fails has had it.
        table.delete(message.id)
        if message.hook == messages.UPDATE and self.run_update is not None:
            self.run_update(ctx, row, kind, message)
            return True
        cause = Cause(message.kind, message.name)
        try:
            if message.hook is None:
                function, argument = self.read(kind, message.name, message.payload)
            else:
                function, argument = getattr(kind.handler, message.hook), messages.read_told(message)
        except (SenderError, msgspec.MsgspecError) as error:
            # Stored under an older declaration, which this one cannot read.
            self._steps.ends.fail(ctx, row, cause, error)
            return True
        self._steps.step(ctx, row, kind, function, argument, cause)
        return True
