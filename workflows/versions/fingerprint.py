"""What a type declares, as JSON, and a short text that stands for it: to see that a deploy has changed something."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from workflows.definition import Definition

DIFFERENCES_MAX = 20
_WORDS_ONLY = ("title", "description")


def declared_by(kind: Definition) -> dict[str, Any]:
    """The shapes of its state, of its payload and of what it is told and asked, and the names of its timers.

    Docstrings and the names of classes are no part of it.
    """
    return {
        "state": _shape(kind.state_type),
        "payload": _shape(kind.payload.kind),
        "signals": {name: _shape(reader.kind) for name, (reader, _) in sorted(kind.signals.items())},
        "updates": {name: _shape(update.reader.kind) for name, update in sorted(kind.updates.items())},
        "queries": {name: _shape(query.reader.kind) for name, query in sorted(kind.queries.items())},
        "timers": None if kind.timers is None else sorted(kind.timers),
    }


def fingerprint_of(declared: dict[str, Any]) -> str:
    """16 hex digits that are the same for equal declarations, in every process."""
    return hashlib.blake2b(orjson.dumps(declared, option=orjson.OPT_SORT_KEYS), digest_size=8).hexdigest()


def differences(before: Any, after: Any) -> list[str]:
    """What differs, such as ``state.hp is new``; at most ``DIFFERENCES_MAX`` of them."""
    found: list[str] = []
    for told in _differences(before, after, ""):
        if told not in found:
            found.append(told)
        if len(found) == DIFFERENCES_MAX:
            break
    return found


def _shape(kind: Any) -> Any:
    if kind is None:
        return None
    try:
        (schema,), definitions = msgspec.json.schema_components([kind])
    except (TypeError, ValueError):
        # A type of the author's own, which msgspec can store but not describe.
        return {"type": repr(kind)}
    return _plain({"shape": _resolved(schema, definitions), "parts": definitions})


def _resolved(schema: Any, definitions: dict[str, Any]) -> Any:
    """The struct itself instead of a reference to it by its class's name: a renamed class stores the same."""
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return definitions.pop(name, schema) if name in definitions else schema


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if k not in _WORDS_ONLY or not isinstance(v, str)}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def _differences(before: Any, after: Any, path: str) -> Iterator[str]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            at = path if name in ("shape", "properties") else f"{path}.{name}".lstrip(".")
            if name not in after:
                yield f"{at} is gone"
            elif name not in before:
                yield f"{at} is new"
            else:
                yield from _differences(before[name], after[name], at)
    else:
        yield f"{path or 'it'} was {_short(before)} and is {_short(after)}"


def _short(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else text[:57] + "..."
