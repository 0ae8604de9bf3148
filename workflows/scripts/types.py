"""Making a handler type of a script, so that the engine sees no difference."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from reactor.errors import Refusal
from workflows.handler import Handler
from workflows.payload import NoPayload
from workflows.scripts.runner import ScriptRunner
from workflows.scripts.script import Script


def as_handler(script_class: type[Script]) -> type[Handler[Any]]:
    """A class derived from ``ScriptRunner`` for one script type; ``Refusal`` ``bad_declaration`` with the reason."""
    where = f"workflow type {script_class.__name__}"
    payload_kind = _payload_kind(script_class, where)
    _check_members(script_class, where)
    signals = {name: NoPayload if kind is None else kind for name, kind in script_class.signals.items()}
    updates = {name: NoPayload if kind is None else kind for name, kind in script_class.updates.items()}
    queries = {name: NoPayload if kind is None else kind for name, kind in script_class.queries.items()}
    members: dict[str, Any] = {
        "__doc__": script_class.__doc__,
        "__module__": script_class.__module__,
        "name": script_class.name,
        "clock": script_class.clock,
        "signals": signals,
        "queries": queries,
        "updates": updates,
        "on_error": script_class.on_error,
        "exclusive": script_class.exclusive,
        "concurrency": script_class.concurrency,
        "stores_signals": True,
        "script_class": script_class,
        "payload_kind": payload_kind,
        "readers": {name: msgspec.json.Decoder(kind).decode for name, kind in signals.items()},
        "update_kinds": {f"update_{name}": kind for name, kind in updates.items()},
        "on_start": _annotated(ScriptRunner.begin, payload_kind),
        "on_signal": lambda self, w, signal: None,
    }
    for name, kind in queries.items():
        members[f"query_{name}"] = _annotated(_asking("query", f"query_{name}"), kind)
    for name, kind in updates.items():
        members[f"update_{name}"] = _annotated(_asking("update", f"update_{name}"), kind)
        if hasattr(script_class, f"validate_{name}"):
            members[f"validate_{name}"] = _annotated(_asking("query", f"validate_{name}"), kind)
    return type(script_class.__name__, (ScriptRunner,), members)


def _check_members(script_class: type[Script], where: str) -> None:
    try:
        inspect.signature(script_class).bind()
    except TypeError as error:
        raise Refusal("bad_declaration", f"{where}: each run makes one without arguments: {error}") from None
    answers = [f"query_{name}" for name in script_class.queries]
    answers += [f"update_{name}" for name in script_class.updates]
    for name in answers:
        if not hasattr(script_class, name):
            raise Refusal("bad_declaration", f"{where}: it needs a method {name}(self, w, payload)")
    for name in (*answers, *(f"validate_{name}" for name in script_class.updates)):
        if inspect.iscoroutinefunction(getattr(script_class, name, None)):
            raise Refusal("bad_declaration", f"{where}: {name} is async; it answers at once, so it cannot wait")


def _asking(verb: str, method: str) -> Callable[..., Any]:
    def ask(self: ScriptRunner, w: Any, payload: Any) -> Any:
        return getattr(self, verb)(w, method, payload)

    return ask


def _annotated(function: Callable[..., Any], kind: Any) -> Callable[..., Any]:
    def method(self: Any, w: Any, payload: Any) -> Any:
        return function(self, w, payload)

    method.__annotations__ = {"payload": kind}
    return method


def _payload_kind(script_class: type[Script], where: str) -> Any:
    body: Any = script_class.run
    if body is Script.run:
        raise Refusal("bad_declaration", f"{where}: it needs a method async def run(self, w, payload)")
    body = inspect.unwrap(body)
    if not inspect.iscoroutinefunction(body):
        raise Refusal("bad_declaration", f"{where}: its run is no async def, so it could not wait for anything")
    try:
        module = sys.modules.get(body.__module__)
        hints = typing.get_type_hints(body, vars(module) if module else {})
    except (NameError, TypeError) as error:
        raise Refusal("bad_declaration", f"{where}, run: a parameter's type cannot be resolved: {error}") from None
    names = [name for name in body.__code__.co_varnames[: body.__code__.co_argcount] if name != "self"]
    if len(names) != 2 or names[1] not in hints:
        raise Refusal("bad_declaration", f"{where}: run takes (self, w, payload), and payload needs a type")
    return hints[names[1]]
