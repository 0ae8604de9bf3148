"""Lists and aggregates as a URL asks for them: ``?status=Failed&attribute.zone=3&created.gte=1767225600000000``.

A parameter given twice means either value; tags all have to be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from reactor.errors import SenderError
from workflows.attributes.values import Declared, Kind

_TEXTS = ("status", "type", "name", "correlation_id", "schedule", "failure_category", "tag")
_NUMBERS = ("id", "entity_id", "parent_id", "root_id")
_SPANS = ("created", "updated", "deadline")
_ATTRIBUTE = "attribute."
_BOOLEANS = {"true": True, "false": False}


def read_list(pairs: Sequence[tuple[str, str]], declared: Declared) -> dict[str, Any]:
    """The arguments of ``workflow_list``; ``SenderError`` ``bad_arguments`` for a parameter that is none."""
    return _arguments(pairs, declared, {"limit": _number, "offset": _number, "cursor": _text, "total": _boolean})


def read_aggregate(pairs: Sequence[tuple[str, str]], declared: Declared) -> dict[str, Any]:
    """The arguments of ``workflow_aggregate``."""
    return _arguments(pairs, declared, {"by": _text, "limit": _number})


def _arguments(pairs: Sequence[tuple[str, str]], declared: Declared, own: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    for name, text in pairs:
        if name in own:
            if name in arguments:
                raise _bad(name, "it is given twice")
            arguments[name] = own[name](name, text)
        else:
            _add(wanted, name, text, declared)
    if wanted:
        arguments["filter"] = wanted
    return arguments


def _add(wanted: dict[str, Any], name: str, text: str, declared: Declared) -> None:
    span, dot, operator = name.partition(".")
    if name in _TEXTS:
        wanted.setdefault(name, []).append(text)
    elif name in _NUMBERS:
        wanted.setdefault(name, []).append(_number(name, text))
    elif name == "name_prefix" and name not in wanted:
        wanted[name] = text
    elif span in _SPANS and dot and operator not in wanted.get(span, {}):
        wanted.setdefault(span, {})[operator] = _number(name, text)
    elif name.startswith(_ATTRIBUTE):
        attribute = name.removeprefix(_ATTRIBUTE)
        values = wanted.setdefault("attributes", {}).setdefault(attribute, [])
        values.append(_value(text, declared.get(attribute)))
    else:
        raise _bad(name, "there is no such parameter, or it is given twice")


def _value(text: str, kind: Kind | None) -> Any:
    """What a JSON scalar stands for, else the text itself; for an attribute declared as text always that."""
    if kind is Kind.TEXT:
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if isinstance(value, str | int | float | bool) else text


def _text(name: str, text: str) -> str:
    return text


def _number(name: str, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
        raise _bad(name, f"{text!r:.80} is no whole number")
    return int(text)


def _boolean(name: str, text: str) -> bool:
    if text not in _BOOLEANS:
        raise _bad(name, "true or false")
    return _BOOLEANS[text]


def _bad(name: str, reason: str) -> SenderError:
    return SenderError("bad_arguments", f"parameter {name}: {reason}", parameter=name)
