"""A workflow type made ready to run: its declaration checked, its decoders compiled, its methods looked up.

Everything that depends on the type alone is done here, once, so that a step does no looking around.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import msgspec

from reactor.errors import Refusal
from reactor.schema import check_name
from workflows.handle import Signal, Workflow
from workflows.handler import Handler
from workflows.payload import NoPayload, PayloadReader
from workflows.policy import ErrorPolicy
from workflows.start.options import Concurrency, Exclusive, OnConflict
from workflows.versions.migrations import Migrations, StateError

Step = Callable[[Workflow[Any], Any], None]
R = TypeVar("R")
Answer = Callable[[Workflow[Any], Any], Any]
"""A method that is given a payload and returns a reply."""

_HOOKS = {"start", "timer", "signal", "child_end", "task_end", "event", "cancel", "conflict", "recover", "error"}
_METHODS = tuple(f"on_{hook}" for hook in sorted(_HOOKS))
_encode_json = msgspec.json.Encoder().encode


class Update(NamedTuple):
    """A declared update: what reads its payload, what may refuse it (or None), and what does it and replies."""

    reader: PayloadReader
    validate: Step | None
    run: Answer


class Query(NamedTuple):
    """A declared query: what reads its payload, and what answers it."""

    reader: PayloadReader
    run: Answer


class Definition:
    """One type. ``waits`` is what its waiting workflows show in that column: the signals they take, or None.

    ``stores_signals``: every signal is stored, and ``handler.on_message(w, name)`` is told of it while the column
    ``waits`` of the workflow names it; the handler takes it with ``messages.take``. ``may_be_retired``: whether the
    table of definitions has to be asked before one is started. ``has_start_rules``: whether a start of it takes
    anything that others may have.
    """

    __slots__ = (
        "_decode_state", "can_refresh", "catch_up", "clock", "concurrency", "exclusive", "handler", "has_start_rules",
        "may", "may_be_retired", "migrations", "name", "new_state", "on_error", "payload", "queries", "signals",
        "state_type", "state_version", "stores_signals", "timers", "updates", "waits",
    )  # fmt: skip

    def __init__(self, handler_class: type[Handler[Any]]) -> None:
        where = f"workflow type {handler_class.__name__}"
        self.name = sys.intern(check_name(handler_class.name, f"{where}, name"))
        where = f"workflow type {self.name}"
        self.handler = _instance(handler_class, where)
        self.clock = sys.intern(_text(handler_class.clock, f"{where}, clock"))
        self.catch_up = handler_class.catch_up
        self.timers = None if handler_class.timers is None else frozenset(map(str, handler_class.timers))
        self.on_error = _policy(handler_class.on_error, where)
        self.exclusive = _rule(handler_class.exclusive, Exclusive, f"{where}, exclusive")
        self.concurrency = _rule(handler_class.concurrency, Concurrency, f"{where}, concurrency")
        self.has_start_rules = self.exclusive is not None or self.concurrency is not None
        self.can_refresh = handler_class.on_conflict is not Handler.on_conflict
        if self.exclusive is not None and self.exclusive.on_conflict == OnConflict.REFRESH and not self.can_refresh:
            raise _bad(where, "to be refreshed it needs a method on_conflict(self, w, payload)")
        self.may = None if handler_class.may is Handler.may else self.handler.may
        state = _state_type(handler_class, where)
        self.state_type = state
        self._decode_state = _state_decoder(state, where)
        self.migrations = _migrations(handler_class, self.name, state and self._decode_state, where)
        self.state_version = self.migrations.version
        self.may_be_retired = False
        self.new_state: Callable[[], Any] | None = None
        if state is None or not any(field.required for field in msgspec.structs.fields(state)):
            self.new_state = state or (lambda: None)
        self.payload = PayloadReader(_payload_of(handler_class, where), where)
        self.signals = {name: _signal(handler_class, self.handler, name, where) for name in handler_class.signals}
        self.updates = {name: _update(handler_class, self.handler, name, where) for name in handler_class.updates}
        self.queries = {name: _query(handler_class, self.handler, name, where) for name in handler_class.queries}
        self.waits = sys.intern(",".join(sorted(self.signals))) if self.signals else None
        self.stores_signals = handler_class.stores_signals

    def decode_state(self, text: str) -> Any:
        """The state in a row; ``StateError`` if it is none of this type."""
        try:
            return self._decode_state(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise StateError(f"the stored state of {self.name} cannot be read: {error}") from None

    def read_state(self, row: Any) -> Any:
        """The state of a row, brought to the version of this code if it was stored by another; nothing is written.

        Raises ``StateError``, and ``VersionError`` if there is no way to this version, or it fails.
        """
        if row.state_version != self.state_version:
            return self.migrations.bring(row.state_version, row.state)
        try:
            return self._decode_state(row.state)
        except (msgspec.DecodeError, RecursionError) as error:
            raise StateError(f"the stored state of {self.name} cannot be read: {error}") from None

    def encode_state(self, state: Any) -> str:
        """The state as a row stores it."""
        return _encode_json(state).decode()


def encode_result(result: Any) -> str | None:
    """A result as a row stores it; None for none. ``TypeError`` if it is not JSON."""
    return None if result is None else _encode_json(result).decode()


def _bad(where: str, reason: str) -> Refusal:
    return Refusal("bad_declaration", f"{where}: {reason}")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise _bad(where, f"a name is wanted, not {value!r}")
    return str(value)


def _policy(value: Any, where: str) -> ErrorPolicy:
    if not isinstance(value, ErrorPolicy):
        raise _bad(where, f"on_error is an ErrorPolicy, not {value!r}; a signal cannot have that name")
    return value


def _rule(value: Any, kind: type[R], where: str) -> R | None:
    if value is not None and not isinstance(value, kind):
        raise _bad(where, f"{kind.__name__}(…) is wanted, not {value!r}")
    return value


def _instance(handler_class: type[Handler[Any]], where: str) -> Handler[Any]:
    if inspect.isabstract(handler_class):
        raise _bad(where, "it is abstract")
    for name in _METHODS:
        if inspect.iscoroutinefunction(getattr(handler_class, name)):
            raise _bad(where, f"{name} is async; a step runs whole, so it cannot wait. Arm a timer instead")
    try:
        return handler_class()
    except TypeError as error:
        raise _bad(where, f"one instance serves all workflows and is made without arguments: {error}") from None


def _state_type(handler_class: type[Handler[Any]], where: str) -> Any:
    """``S`` of the nearest ``Handler[S]`` among the bases; None for a type without state."""
    found = _state_argument(handler_class, {})
    if found is None or isinstance(found, TypeVar):
        raise _bad(where, "it declares no state: derive it from Handler[MyState], or from Handler[None]")
    if found is type(None):
        return None
    if not (isinstance(found, type) and issubclass(found, msgspec.Struct)):
        raise _bad(where, f"its state {found!r} is not a msgspec.Struct")
    if found.__struct_config__.frozen:
        raise _bad(where, f"its state {found.__name__} is frozen, so no step could change it")
    return found


def _state_argument(cls: type, bound: dict[Any, Any]) -> Any:
    """The argument that reaches ``Handler`` through the bases of ``cls``, whose type variables are ``bound``."""
    for base in getattr(cls, "__orig_bases__", ()):
        origin = typing.get_origin(base)
        arguments = [bound.get(a, a) for a in typing.get_args(base)]
        if origin is Handler:
            return arguments[0]
        if isinstance(origin, type) and issubclass(origin, Handler):
            parameters = getattr(origin, "__parameters__", ())
            return _state_argument(origin, dict(zip(parameters, arguments, strict=False)))
    for base in cls.__bases__:
        if issubclass(base, Handler) and base is not Handler:
            return _state_argument(base, {})
    return None


def _state_decoder(state: Any, where: str) -> Callable[[str], Any]:
    try:
        return msgspec.json.Decoder(type(None) if state is None else state).decode
    except TypeError as error:
        raise _bad(where, f"its state cannot be stored: {error}") from None


def _migrations(
    handler_class: type[Handler[Any]], name: str, decode: Callable[[Any], Any] | None, where: str
) -> Migrations:
    up, down = handler_class.migrations, handler_class.downgrades
    return Migrations(name, handler_class.state_version, up, down, decode, where)


def _payload_of(handler_class: type[Handler[Any]], where: str) -> Any:
    method = handler_class.on_start
    if method is Handler.on_start:
        raise _bad(where, "it needs a method on_start(self, w, payload)")
    return _second_parameter(method, f"{where}, on_start")


def _second_parameter(method: Any, where: str) -> Any:
    parameters = list(inspect.signature(method).parameters.values())
    if len(parameters) != 3:
        raise _bad(where, "it takes (self, w, payload); a payload of nothing is NoPayload")
    try:
        module = sys.modules.get(method.__module__)
        hints = typing.get_type_hints(method, vars(module) if module else {})
    except (NameError, TypeError) as error:
        raise _bad(where, f"a parameter's type cannot be resolved: {error}") from None
    if parameters[2].name not in hints:
        raise _bad(where, f"parameter {parameters[2].name} needs a type, so that what is sent can be checked")
    return hints[parameters[2].name]


def _signal(
    handler_class: type[Handler[Any]], handler: Handler[Any], name: Any, where: str
) -> tuple[PayloadReader, Step]:
    at = f"{where}, signal {name}"
    check_name(_text(name, at), at)
    if name in _HOOKS:
        raise _bad(at, f"on_{name} has another meaning; choose another name")
    kind = handler_class.signals[name]
    reader = PayloadReader(NoPayload if kind is None else kind, f"signal {name} of {handler_class.name}")
    own = getattr(handler_class, f"on_{name}", None)
    if own is not None:
        taken = _second_parameter(own, at)
        if taken is not Any and not issubclass(reader.kind, taken):
            raise _bad(at, f"on_{name} takes {taken.__name__} but {reader.kind.__name__} is declared")
        step: Step = getattr(handler, f"on_{name}")
        return reader, step
    if handler_class.on_signal is Handler.on_signal:
        raise _bad(at, f"it needs a method on_{name}(self, w, payload), or on_signal")

    def run(w: Workflow[Any], payload: Any) -> None:
        handler.on_signal(w, Signal(name, payload))

    return reader, run


def _update(handler_class: type[Handler[Any]], handler: Handler[Any], name: Any, where: str) -> Update:
    at = f"{where}, update {name}"
    reader, run = _answering(handler_class, handler, "update", name, handler_class.updates[name], at)
    check = getattr(handler_class, f"validate_{name}", None)
    if check is not None:
        _check_taken(check, reader, f"validate_{name}", at)
    return Update(reader, None if check is None else getattr(handler, f"validate_{name}"), run)


def _query(handler_class: type[Handler[Any]], handler: Handler[Any], name: Any, where: str) -> Query:
    at = f"{where}, query {name}"
    return Query(*_answering(handler_class, handler, "query", name, handler_class.queries[name], at))


def _answering(
    handler_class: type[Handler[Any]], handler: Handler[Any], verb: str, name: Any, kind: Any, at: str
) -> tuple[PayloadReader, Answer]:
    """The method that answers ``name``, and what reads the payload it is given."""
    check_name(_text(name, at), at)
    method = f"{verb}_{name}"
    own = getattr(handler_class, method, None)
    if own is None:
        raise _bad(at, f"it needs a method {method}(self, w, payload)")
    if inspect.iscoroutinefunction(own):
        raise _bad(at, f"{method} is async; it answers at once, so it cannot wait")
    reader = PayloadReader(NoPayload if kind is None else kind, f"{verb} {name} of {handler_class.name}")
    _check_taken(own, reader, method, at)
    answer: Answer = getattr(handler, method)
    return reader, answer


def _check_taken(method: Any, reader: PayloadReader, called: str, at: str) -> None:
    taken = _second_parameter(method, at)
    if taken is not Any and not (isinstance(taken, type) and issubclass(reader.kind, taken)):
        raise _bad(at, f"{called} takes {taken!r} but {reader.kind.__name__} is declared")
