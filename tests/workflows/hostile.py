"""Arguments that nobody means: made from the parameter types of a reducer, by chance with a seed."""

from __future__ import annotations

import enum
import inspect
import json
import types
import typing
from collections.abc import Iterator
from random import Random
from typing import Annotated, Any, Literal

import msgspec

from reactor.testing import Rig, RigClient

TEXTS = (
    "", " ", "x", "a|b|c", "$x", "'; DROP TABLE workflow; --", '"', "\0", "\u2028", "🦆", "e\u0301", "\ud800",
    "x" * 300,
    "y" * 20_000, "%s {} \\", "-1", "0", "9" * 5_000, "P" + "9" * 5_000 + "D", "9" * 5_000 + " * * * *", "* * * * *",
    "*/2 * * * *", "0 0 31 2 *", "@daily", "PT1H", "../../etc", "Europe/Berlin", "e0", "W1s=", "eyL/IjoxfQ==",
    "eyJhIjogMX0=", "{", "[", "[" * 900 + "]" * 900, '{"a":' * 300 + "1" + "}" * 300, "null", "WzEsMSwxLCJ4Il0",
    "Failed",
    "buffer_all", "start_new", "cancel", "delete", "tag",
)  # fmt: skip
INTS = (
    0, 1, -1, 2, 7, 100, 1_000, 1_001, 10**6, 10**10, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1,
    2**64, 10**30, -(10**30), 10**100, 1_700_000_000_000_000, 1_700_000_001_000_000,
)  # fmt: skip
FLOATS = (0.0, -0.0, 0.5, 1.0, -1.5, 5e-324, 1e300, 1.7e308, 1e16, float("inf"), float("-inf"), float("nan"))
NAMES = (
    "add", "finish", "crash", "reject", "say", "stack", "dispel", "poke", "rain", "mail", "respawn", "every", "once",
    "counter-1", "burn-1", "counter", "nobody", "spoken",
)  # fmt: skip


VALUES: tuple[Any, ...] = (
    -1, 0, 1, 10**16, 2**63 - 1, 2**63, -(2**63) - 1, 10**30, -(10**17), 5e-324, -1.5, 1e16, 1.7e308,
    *TEXTS, None, True, [], {}, [[1]], {"a": 10**30},
)  # fmt: skip
"""One of each kind; NaN and infinity are no JSON."""


class Hostile:
    """Makes arguments. ``known`` are values by parameter name that mean something in the rig as it is."""

    def __init__(self, random: Random, known: dict[str, list[Any]]) -> None:
        self._random = random
        self._known = known

    def arguments(self, function: Any) -> list[Any]:
        """One value for each parameter of a reducer, or a few less or more."""
        hints = typing.get_type_hints(function, include_extras=True)
        parameters = list(inspect.signature(function).parameters.values())[0 if inspect.ismethod(function) else 1 :]
        parameters = [each for each in parameters if each.name != "ctx"]
        made = [self._argument(each, hints[each.name]) for each in parameters]
        cut = self._random.random()
        return made[:-1] if cut < 0.05 else [*made, 1] if cut > 0.97 else made

    def _argument(self, parameter: inspect.Parameter, hint: Any) -> Any:
        known = self._known.get(parameter.name)
        chance = self._random.random()
        if known and chance < 0.7:
            return self._random.choice(known)
        if parameter.default is not inspect.Parameter.empty and chance < 0.85:
            return msgspec.to_builtins(parameter.default)
        return self.value(hint)

    def value(self, hint: Any, depth: int = 0) -> Any:
        """A value of about that type."""
        random = self._random
        if random.random() < 0.06:
            return self.anything(depth)
        origin, arms = typing.get_origin(hint), typing.get_args(hint)
        if origin is Annotated:
            return self.value(arms[0], depth)
        if origin in (typing.Union, types.UnionType):
            return self.value(random.choice(arms), depth)
        if origin is Literal:
            return random.choice(arms)
        if origin is list:
            return [self.value(arms[0], depth + 1) for _ in range(random.choice((0, 1, 2, 3, 40)))]
        if origin is dict:
            return {random.choice((*NAMES, *TEXTS)): self.value(arms[1], depth + 1) for _ in range(random.randrange(4))}
        return self._plain(hint, depth)

    def _plain(self, hint: Any, depth: int) -> Any:
        random = self._random
        if isinstance(hint, type) and issubclass(hint, enum.Enum):
            return random.choice(list(hint)).value
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            return self._struct(hint, depth)
        if hint is bool:
            return random.random() < 0.5
        if hint is int:
            return random.choice((*INTS, *self._known["id"]))
        if hint is float:
            return random.choice((*FLOATS, *INTS))
        if hint is str:
            return random.choice((*TEXTS, *NAMES, *NAMES))
        return None if hint in (type(None), msgspec.UnsetType) else self.anything(depth)

    def _struct(self, kind: type[msgspec.Struct], depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        hints = typing.get_type_hints(kind, include_extras=True)
        for field in msgspec.structs.fields(kind):
            if field.required or self._random.random() < 0.25:
                known = self._known.get(field.name)
                use = known is not None and self._random.random() < 0.6
                made[field.name] = (
                    self._random.choice(known or [0]) if use else self.value(hints[field.name], depth + 1)
                )
        return made

    def anything(self, depth: int = 0) -> Any:
        """A JSON value of any kind, perhaps a deep one."""
        random = self._random
        kind = random.randrange(9)
        if kind < 4 or depth > 3:
            return random.choice((*INTS, *FLOATS, *TEXTS, *NAMES, None, True, False))
        if kind == 4:
            return _nested(random.choice((5, 250, 256, 950, 985)))
        if kind == 5:
            return {random.choice(NAMES): self.anything(depth + 1) for _ in range(random.randrange(4))}
        if kind == 6:
            return random.choice(self._known["payload"])
        return [self.anything(depth + 1) for _ in range(random.randrange(4))]


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def variants(function: Any, right: list[Any], *, fields: bool = True) -> Iterator[list[Any]]:
    """The arguments ``right`` with a hostile value in place of one of them, or of one field of a struct."""
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = [each for each in inspect.signature(function).parameters.values() if each.name != "ctx"]
    full = [*right, *(msgspec.to_builtins(each.default) for each in parameters[len(right) :])]
    for at, parameter in enumerate(parameters):
        for value in VALUES:
            yield [*full[:at], value, *full[at + 1 :]]
        for kind in _structs(hints[parameter.name]) if fields else ():
            known = full[at] if isinstance(full[at], dict) else {}
            for field in msgspec.structs.fields(kind):
                for value in (*VALUES, *([each] for each in VALUES[:40])):
                    yield [*full[:at], {**known, field.name: value}, *full[at + 1 :]]


def _structs(hint: Any) -> list[Any]:
    """The structs that a type may be."""
    arms = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return [arm for arm in arms if isinstance(arm, type) and issubclass(arm, msgspec.Struct)]


def call(client: RigClient, reducer: str, args: Any) -> dict[str, Any]:
    """Call a reducer with whatever it is and return the answer; what is no JSON is answered without an id."""
    return _ask(client, {"call": reducer, "args": args})


def tried(client: RigClient, reducer: str, args: Any) -> dict[str, Any]:
    """As ``call``, but undone: a second call in the same commit is refused."""
    refused = {"call": "workflow_find", "args": [-1]}
    return _ask(client, {"batch": [{"call": reducer, "args": args}, refused]})


def _ask(client: RigClient, message: dict[str, Any]) -> dict[str, Any]:
    before = len(client.received)
    client.send(json.dumps({"id": before, **message}).encode())
    client.rig.settle()
    answers = [each for each in client.received[before:] if "deltas" not in each]
    if len(answers) != 1:
        raise LookupError(f"{len(answers)} answers to {message}: {answers}")
    answer: dict[str, Any] = answers[0]
    return answer


def code(answer: dict[str, Any]) -> str:
    """The code of an error, or nothing."""
    return str(answer["error"]["code"]) if "error" in answer else ""


def stored(rig: Rig, *without: str) -> dict[str, list[Any]]:
    """Every row of every table, but for those named and the reactor's own."""
    tables = rig.engine.store.tables
    return {
        name: list(rows) for name, rows in tables.items() if name not in without and not name.startswith("reactor_")
    }


def tracebacks(rig: Rig) -> list[str]:
    """The errors in the log that came out of the engine; those that the types of the tests raise are theirs."""
    return [text for level, _, text in rig.logs if level == "error" and "Traceback" in text and "/tests/" not in text]
