"""What a group can be told. A new verb is one line of ``VERBS``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from reactor.context import Context
from reactor.errors import SenderError
from workflows.attributes import book
from workflows.life import FAULTED, LIVE, PAUSED, SUSPENDED, TERMINAL, Status
from workflows.upkeep import remove


class Order(NamedTuple):
    """What every target of one command is told. ``name`` and ``payload`` are those of a signal."""

    verb: str
    name: str | None
    payload: Any
    reason: str


Act = Callable[[Any, Context, Any, Order], Status | None]
"""``act(dispatcher, ctx, row, order)``: do it to one workflow; the status after it, None when it is gone."""


class Verb(NamedTuple):
    """One verb.

    ``statuses`` are those it is for, when the filter names none; None for all. ``is_destructive``: a large group needs
    a token from a preview; ``always_token``: so does a small one. ``owner_only``: clients may not, as with the verb for
    a single workflow. ``says_why``: it needs a reason. ``for_ended``: also those that have ended can be told. ``asks``
    is what permission is asked for, where it is not the verb's own name.
    """

    act: Act
    statuses: frozenset[Status] | None = LIVE
    is_destructive: bool = False
    always_token: bool = False
    owner_only: bool = True
    says_why: bool = True
    for_ended: bool = False
    asks: str | None = None


def _signal(dispatcher: Any, ctx: Context, row: Any, order: Order) -> Status:
    status: Status = dispatcher.signal(ctx, row.id, order.name, order.payload)
    return status


def _cancel(dispatcher: Any, ctx: Context, row: Any, order: Order) -> Status:
    status: Status = dispatcher.cancel(ctx, row.id, order.reason)
    return status


class Labels(msgspec.Struct, forbid_unknown_fields=True):
    """The payload of ``tag``: tags to give and to take away, and attributes to set (None takes one away)."""

    add: list[str] = []
    remove: list[str] = []
    attributes: dict[str, Any] = {}


def labels_of(order: Order) -> Labels:
    """What ``tag`` is to change; ``SenderError`` ``bad_arguments`` for any other payload."""
    try:
        labels = msgspec.convert(order.payload or {}, Labels)
    except msgspec.ValidationError as error:
        raise _bad_payload(str(error)) from None
    if not (labels.add or labels.remove or labels.attributes):
        raise _bad_payload("it says nothing to add, to remove, or to set")
    return labels


def _bad_payload(reason: str) -> SenderError:
    return SenderError(
        "bad_arguments",
        f'parameter payload: {reason}; for tag it is {{"add": [...], "remove": [...], "attributes": {{...}}}}',
        parameter="payload",
    )


def _tag(dispatcher: Any, ctx: Context, row: Any, order: Order) -> Status:
    labels = labels_of(order)
    book.change_tags(ctx, row.id, labels.add, labels.remove)
    book.set_attributes(ctx, row.id, labels.attributes, dispatcher.attribute_kinds)
    status: Status = row.status
    return status


def _terminate(dispatcher: Any, ctx: Context, row: Any, order: Order) -> Status:
    status: Status = dispatcher.terminate(ctx, row.id, order.reason)
    return status


def _delete(dispatcher: Any, ctx: Context, row: Any, order: Order) -> None:
    if row.status not in TERMINAL:
        raise _wrong_status(row, "only one that has ended can be deleted, so cancel it first")
    remove(ctx, dispatcher, row)


def _operate(name: str) -> Act:
    """A verb of ``dispatcher.control``, which says whether the workflow was in a status for it."""

    def act(dispatcher: Any, ctx: Context, row: Any, order: Order) -> Status:
        if not getattr(dispatcher.control, name)(ctx, row.id, order.reason):
            raise _wrong_status(row, f"{name} does nothing to it")
        status: Status = ctx.db.workflow.require(row.id).status
        return status

    return act


def _wrong_status(row: Any, why: str) -> SenderError:
    return SenderError(
        "wrong_status", f"workflow {row.id} is {row.status}; {why}", workflow_id=row.id, status=str(row.status)
    )


VERBS: dict[str, Verb] = {
    "signal": Verb(_signal, owner_only=False, says_why=False),
    "cancel": Verb(_cancel, is_destructive=True, owner_only=False),
    "terminate": Verb(_terminate, is_destructive=True),
    "suspend": Verb(_operate("suspend"), frozenset({SUSPENDED})),
    "resume": Verb(_operate("resume"), frozenset({PAUSED}), says_why=False),
    "retry": Verb(_operate("retry"), frozenset({FAULTED}), says_why=False),
    "skip": Verb(_operate("skip"), frozenset({FAULTED}), says_why=False),
    "tag": Verb(_tag, None, owner_only=False, says_why=False, for_ended=True, asks="label"),
    "delete": Verb(_delete, TERMINAL, is_destructive=True, always_token=True, for_ended=True),
}


def verb_of(name: str) -> Verb:
    """The verb of that name; ``SenderError`` ``bad_arguments`` lists those there are."""
    found = VERBS.get(name)
    if found is None:
        raise SenderError(
            "bad_arguments", f"there is no verb {name!r} for groups; there are {', '.join(VERBS)}", parameter="verb"
        )
    return found
