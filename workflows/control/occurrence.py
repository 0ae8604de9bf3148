"""What a step ran for, kept so that it can be run again."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from reactor.errors import SenderError
from workflows.definition import Definition
from workflows.handle import Cause
from workflows.messages import TOLD

START = "start"
RECOVER = "recover"

_HOOK_OF = {told: hook for hook, told in TOLD.items()}
_encode = msgspec.json.Encoder().encode


class Occurrence(NamedTuple):
    """What a step ran for: the columns of ``workflow_parked`` that say so.

    ``kind`` and ``name`` are its cause. ``hook`` is the handler's method, None for a signal of a handler, a timer or a
    start. ``argument`` is what it is told, as JSON text; ``timer_id`` the row of the timer that fired.
    """

    kind: str
    name: str
    hook: str | None = None
    argument: str | None = None
    timer_id: int | None = None


def occurrence_of(kind: Definition, cause: Cause, argument: Any, firing: Any) -> Occurrence | None:
    """What a step that has failed ran for; None if it cannot be run again."""
    if firing is not None:
        return Occurrence(cause.kind, cause.name, timer_id=firing.scheduled_id)
    hook = _HOOK_OF.get(type(argument))
    if hook is None and cause.kind == "signal" and kind.stores_signals:
        hook = "on_message"
    if hook is None and cause.kind not in ("signal", START):
        return None
    try:
        return Occurrence(cause.kind, cause.name, hook, _encode(argument).decode())
    except (TypeError, msgspec.MsgspecError):
        # A payload that game code gave as a struct may hold what JSON cannot say.
        return None


def read(kind: Definition, what: Occurrence, bytes_max: int) -> tuple[Any, Any]:
    """The handler's method and its argument. ``SenderError`` if the type, as it is now, cannot read the argument."""
    if what.hook is None:
        declared = kind.signals.get(what.name)
        if declared is None:
            raise SenderError("unknown_signal", f"workflow type {kind.name} declares no signal {what.name!r} any more")
        reader, function = declared
        return function, reader.read(what.argument, bytes_max)
    method = getattr(kind.handler, what.hook)
    if what.hook == "on_message":
        return method, what.name
    try:
        return method, msgspec.json.decode(what.argument or "", type=TOLD[what.hook])
    except msgspec.MsgspecError as error:
        raise SenderError("bad_arguments", f"what {what.hook} was told cannot be read any more: {error}") from None
