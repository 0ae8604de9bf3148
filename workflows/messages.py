"""What is told to a workflow and waits for it, as rows.

A workflow that is awake is told at once, and nothing is stored. A row is written for what is told to one that can take
no step now (it is paused, faulted, not begun, its type is missing), and for each signal of a type that asks for its
signals itself (a script). The row goes in the commit of the step that takes it, so a message is there or taken, never
both. Ids of messages only rise: of two messages to one workflow the lower id was sent first.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from reactor.columns import Timestamp
from reactor.context import Context
from reactor.errors import SenderError, invariant
from reactor.schema import declare_table, index, primary_key
from workflows.control.limits import warn_near
from workflows.handle import Cause, ChildEnd, EventSeen, TaskEnd

MESSAGE_TABLE = "workflow_message"
DELIVERY_TABLE = "workflow_delivery"
DELIVERY_REDUCER = "workflow_deliver"
SIGNAL_ID_TABLE = "workflow_signal_id"

SIGNAL_IDS_MAX = 2_000
"""Signal ids remembered of one workflow; when there are more, the older half is forgotten."""

UPDATE = "update"
"""Stands for a method in the messages that are updates."""
ID_BYTES_MAX = 128
"""Bytes of UTF-8 in an id that a sender gives to a signal or an update."""

encode = msgspec.json.Encoder().encode

TOLD: dict[str, Any] = {"on_child_end": ChildEnd, "on_task_end": TaskEnd, "on_event": EventSeen}
"""What each method of a handler is told, so that it can be stored and read again."""


class MessageRow:
    """Something told to a workflow that it has not taken yet.

    ``id`` is its position: a workflow takes messages of one name in this order. ``kind`` is ``signal``, ``update``,
    ``child``, ``task`` or ``event``, ``name`` the signal's, or what the thing is called. ``hook`` is the method that
    will be told; None for a signal. ``payload`` is JSON text, checked when it was sent. ``signal_id`` is the sender's
    own id of a signal or update, ``sender`` the identity that sent it.
    """

    id: int = primary_key(auto=True)
    workflow_id: int
    kind: str
    name: str
    hook: str | None = None
    payload: str
    signal_id: str | None = None
    sender: str | None = None
    sent_at: Timestamp


class SignalIdRow:
    """A signal that came with an id of its sender's, so that sending it again does nothing.

    ``digest`` tells the same signal from another with its id. ``outcome``, ``position`` and ``status`` are the answer
    the sender was given.
    """

    id: int = primary_key(auto=True)
    workflow_id: int
    name: str
    signal_id: str
    digest: str
    outcome: str
    position: int | None
    status: str
    accepted_at: Timestamp


class DeliveryRow:
    """A workflow that is awake again with more waiting for it than one commit should hold; goes on by itself."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    workflow_id: int


MESSAGE_SCHEMA = declare_table(
    MessageRow, name=MESSAGE_TABLE, public=True, indexes=["workflow_id", index("workflow_id", "name")]
)
SIGNAL_ID_SCHEMA = declare_table(
    SignalIdRow, name=SIGNAL_ID_TABLE, indexes=["workflow_id"], unique=[("workflow_id", "name", "signal_id")]
)
DELIVERY_SCHEMA = declare_table(DeliveryRow, name=DELIVERY_TABLE, unique=["workflow_id"], scheduled=DELIVERY_REDUCER)


def check_id(what: str, given: str) -> None:
    """``SenderError`` ``bad_arguments`` unless the sender's own id, the parameter ``what``, is short enough."""
    size = len(given.encode())
    if not 0 < size <= ID_BYTES_MAX:
        raise SenderError(
            "bad_arguments",
            f"parameter {what}: it has {size} bytes; 1 to {ID_BYTES_MAX} bytes of UTF-8 are allowed",
            parameter=what,
        )


def fingerprint(payload: Any) -> str:
    """What tells a decoded payload from others; every form of one payload has the same."""
    return hashlib.blake2b(encode(payload), digest_size=16).hexdigest()


def put_signal(ctx: Context, workflow_id: int, name: str, payload: str, signal_id: str | None = None) -> Any:
    """Store a signal for a workflow; ``SenderError`` ``limit_exceeded`` when too many wait already."""
    waiting, bound = ctx.db.workflow_message.count(workflow_id=workflow_id), ctx.limits.workflow_signals_max
    if waiting >= bound:
        raise SenderError(
            "limit_exceeded",
            f"{waiting} messages wait for workflow {workflow_id}, and {bound} may; send this one again when it has "
            "taken some",
            kind="unread_messages",
            value=waiting,
            limit=bound,
        )
    warn_near(ctx, workflow_id, "unread_messages", waiting + 1, bound)
    return ctx.db.workflow_message.insert(
        workflow_id=workflow_id,
        kind="signal",
        name=name,
        payload=payload,
        signal_id=signal_id,
        sender=ctx.sender,
        sent_at=ctx.now,
    )


def put_update(ctx: Context, workflow_id: int, name: str, payload: str, update_id: str) -> Any:
    """Store an update for a workflow; raises as ``put_signal``."""
    message = put_signal(ctx, workflow_id, name, payload, update_id)
    return ctx.db.workflow_message.update(message.id, kind=UPDATE, hook=UPDATE)


def put_told(ctx: Context, workflow_id: int, hook: str, argument: Any, cause: Cause) -> Any:
    """Store what a handler's method ``hook`` will be told. It is owed to the workflow, so no limit applies."""
    invariant(hook in TOLD, f"{hook} is told nothing that can be stored")
    return ctx.db.workflow_message.insert(
        workflow_id=workflow_id,
        kind=cause.kind,
        name=cause.name,
        hook=hook,
        payload=encode(argument).decode(),
        sender=ctx.sender,
        sent_at=ctx.now,
    )


def read_told(message: Any) -> Any:
    """What ``put_told`` stored. ``msgspec.ValidationError`` if this program cannot read it."""
    return msgspec.json.decode(message.payload, type=TOLD[message.hook])


def unread(ctx: Context, workflow_id: int) -> list[Any]:
    """The messages that wait for a workflow, in the order in which they were sent."""
    rows: list[Any] = ctx.db.workflow_message.lookup(("workflow_id",), (workflow_id,))
    return rows


def take(ctx: Context, workflow_id: int, name: str) -> Any:
    """Take the oldest signal ``name`` that waits for a workflow: its row, which is removed in this commit, or None."""
    table = ctx.db.workflow_message
    for message in table.lookup(("workflow_id", "name"), (workflow_id, name)):
        if message.hook is None:
            table.delete(message.id)
            return message
    return None


def forget(ctx: Context, workflow_id: int) -> None:
    """Remove all that waits for a workflow: it has ended."""
    table, deliveries = ctx.db.workflow_message, ctx.db.workflow_delivery
    for message in unread(ctx, workflow_id):
        table.delete(message.id)
    if deliveries.rows:
        for row in deliveries.lookup(("workflow_id",), (workflow_id,)):
            deliveries.delete(row.scheduled_id)


def remember(
    ctx: Context,
    workflow_id: int,
    name: str,
    signal_id: str,
    digest: str,
    outcome: str,
    position: int | None,
    status: str,
) -> None:
    """Remember a signal by its sender's id, with the answer its sender is given."""
    marks = ctx.db.workflow_signal_id
    if marks.count(workflow_id=workflow_id) >= SIGNAL_IDS_MAX:
        for mark in marks.lookup(("workflow_id",), (workflow_id,))[: SIGNAL_IDS_MAX // 2]:
            marks.delete(mark.id)
    marks.insert(
        workflow_id=workflow_id,
        name=name,
        signal_id=signal_id,
        digest=digest,
        outcome=outcome,
        position=position,
        status=status,
        accepted_at=ctx.now,
    )
