"""The arguments of a reducer: decoded, checked against its signature, and explained when they do not fit."""

from __future__ import annotations

import functools
import inspect
import operator
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec.structs import astuple

from reactor.columns import INT64_MAX, INT64_MIN, ColumnType, type_of_annotation
from reactor.errors import Refusal, SenderError

_AT_INDEX = re.compile(r"`\$\[(\d+)\](.*?)`")
_DECIMAL = re.compile(r"-?\d{1,78}\Z")
_PLACE = re.compile(r" - at `\$.*?`$")


class Arguments:
    """Decodes the arguments of one function: from JSON bytes, or from Python values already in hand.

    Positional (array) and named (object) forms are accepted. All errors are ``SenderError`` ``bad_arguments`` and
    name the parameter.
    """

    def __init__(self, function: Callable[..., Any], where: str, scope: Mapping[str, Any] | None = None) -> None:
        """``scope`` are the local names where ``function`` was written, for types that are declared there."""
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters or parameters[0].kind not in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            raise Refusal("bad_declaration", f"{where}: its first parameter is the context")
        hints = _hints(function, where, scope or {})
        fields: list[Any] = []
        self._checks: list[tuple[int, str, ColumnType]] = []
        for i, parameter in enumerate(parameters[1:]):
            fields.append(self._field(i, parameter, hints, where))
        self.names = tuple(f[0] for f in fields)
        self.required = sum(1 for f in fields if len(f) == 2)
        self._types = {f[0]: f[1] for f in fields}
        try:
            self._positional = msgspec.defstruct(
                "Arguments", fields, array_like=True, forbid_unknown_fields=True, gc=False
            )
            self._named = msgspec.defstruct("NamedArguments", fields, forbid_unknown_fields=True, gc=False)
            self._decode_positional = msgspec.json.Decoder(self._positional).decode
            self._decode_named = msgspec.json.Decoder(self._named).decode
        except TypeError as error:
            raise Refusal("bad_declaration", f"{where}: a parameter's type is not supported: {error}") from None

    def _field(self, at: int, parameter: inspect.Parameter, hints: dict[str, Any], where: str) -> Any:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            raise Refusal("bad_declaration", f"{where}: *{parameter.name} has no fixed type; name each parameter")
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            raise Refusal("bad_declaration", f"{where}: arguments have an order, so {parameter.name} needs no bare *")
        if parameter.name not in hints:
            raise Refusal("bad_declaration", f"{where}: parameter {parameter.name} needs a type")
        hint, checked = _plain(hints[parameter.name])
        if checked is not None:
            self._checks.append((at, parameter.name, checked))
        if parameter.default is inspect.Parameter.empty:
            return (parameter.name, hint)
        return (parameter.name, hint, msgspec.field(default_factory=lambda: parameter.default))

    def decode(self, raw: bytes) -> tuple[Any, ...]:
        """The arguments from a JSON array or object; an empty text means no arguments."""
        try:
            if raw[:1] == b"[":
                values = astuple(self._decode_positional(raw))
            elif raw.lstrip()[:1] == b"{":
                values = astuple(self._decode_named(raw))
            else:
                values = astuple(self._decode_positional(raw or b"[]"))
        except msgspec.ValidationError as error:
            raise self._explained(str(error), raw) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SenderError("bad_arguments", f"the arguments are not valid JSON: {error}") from None
        return self._checked(values) if self._checks else values

    def convert(self, given: Sequence[Any]) -> tuple[Any, ...]:
        """The same from Python values, by position."""
        try:
            values = astuple(msgspec.convert(list(given), self._positional))
        except msgspec.ValidationError as error:
            raise self._explained(str(error), None, len(given)) from None
        return self._checked(values) if self._checks else values

    def _checked(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        checked = list(values)
        for at, name, kind in self._checks:
            value = checked[at]
            if value is not None:
                try:
                    if kind.is_wide and type(value) is str and _DECIMAL.match(value):
                        value = int(value)
                    checked[at] = kind.check(value)
                except ValueError as reason:
                    raise SenderError("bad_arguments", f"parameter {name}: {reason}", parameter=name) from None
        return tuple(checked)

    def _explained(self, reason: str, raw: bytes | None, count: int | None = None) -> SenderError:
        if count is None and raw is not None:
            try:
                given = msgspec.json.decode(raw or b"[]")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                return SenderError("bad_arguments", f"the arguments are not valid JSON: {error}")
            if not isinstance(given, list | dict):
                return SenderError("bad_arguments", "arguments are a JSON array, or an object by parameter name")
            count = len(given) if isinstance(given, list) else None
        takes = f"it takes ({', '.join(self._shown())})"
        if count is not None and count < self.required:
            name = self.names[count]
            return SenderError("bad_arguments", f"parameter {name} is missing; {takes}", parameter=name)
        if count is not None and count > len(self.names):
            return SenderError("bad_arguments", f"{count} arguments are too many; {takes}")
        found = _AT_INDEX.search(reason)
        named = re.search(r"`\$\.(\w+)", reason) or re.search(r"missing required field `(\w+)`", reason)
        name = self.names[int(found[1])] if found else (named[1] if named else "")
        short = _PLACE.sub("", reason)
        text = f"parameter {name}: {short}" if name else short
        return SenderError("bad_arguments", f"{text}; {takes}", parameter=name or None)

    def _shown(self) -> list[str]:
        return [name if i < self.required else f"{name}=…" for i, name in enumerate(self.names)]

    def to_json(self) -> list[dict[str, Any]]:
        """The parameters as `describe` shows them."""
        return [
            {"name": name, "type": _type_name(self._types[name]), "required": i < self.required}
            for i, name in enumerate(self.names)
        ]


def _hints(function: Callable[..., Any], where: str, scope: Mapping[str, Any]) -> dict[str, Any]:
    module = sys.modules.get(function.__module__)
    try:
        return typing.get_type_hints(function, vars(module) if module else {}, dict(scope), include_extras=True)
    except (NameError, TypeError) as error:
        raise Refusal("bad_declaration", f"{where}: a parameter's type cannot be resolved: {error}") from None


def _plain(hint: Any) -> tuple[Any, ColumnType | None]:
    """A hint msgspec understands, and the column type whose range is to be checked besides."""
    arms = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else ()
    for arm in (hint, *arms):
        if typing.get_origin(arm) is Annotated and any(isinstance(m, ColumnType) for m in arm.__metadata__):
            kind, optional = type_of_annotation(hint, "parameter")
            # Integers that JSON libraries cannot hold come as decimal text.
            plain: Any = Any if kind.name == "json" else int | str if kind.is_wide else kind.python
            return (plain | None if optional and plain is not Any else plain), kind
    return _bounded(hint), None


def _bounded(hint: Any) -> Any:
    """The hint with the ranges of column types inside lists and dicts in msgspec's own words."""
    origin, arms = typing.get_origin(hint), typing.get_args(hint)
    if arms and origin in (list, dict, typing.Union, types.UnionType):
        inner = tuple(_bounded(arm) for arm in arms)
        return functools.reduce(operator.or_, inner) if origin not in (list, dict) else origin[inner]
    kind = next((m for m in arms[1:] if isinstance(m, ColumnType)), None) if origin is Annotated else None
    if kind is None:
        return hint
    if kind.name == "json" or kind.low is None or kind.high is None:
        return Any if kind.name == "json" else kind.python
    low = kind.low if kind.low >= INT64_MIN else None
    return Annotated[int, msgspec.Meta(ge=low, le=kind.high if kind.high <= INT64_MAX else None)]


def _type_name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
