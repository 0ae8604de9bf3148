"""What an attribute may hold, and the text that stands for it in its row.

Equal values have equal texts, so that an index over name and text finds them: 3 and 3.0 are one number, as in JSON.
"""

from __future__ import annotations

import enum
import math
import re
import sys
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import orjson

from reactor.columns import INT64_MAX, INT64_MIN, TYPES
from reactor.errors import Refusal, SenderError

ATTRIBUTES_MAX = 32
TAGS_MAX = 32
NAME_CHARS_MAX = 64
TEXT_CHARS_MAX = 256
RESERVED_PREFIX = "$"
"""Names that begin with it are the engine's."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
_EXACT = 1 << 53


class Kind(enum.StrEnum):
    """What an attribute holds."""

    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    BOOL = "bool"
    TIME = "time"
    """A wall instant in µs."""


_KINDS: dict[Any, Kind] = {str: Kind.TEXT, int: Kind.INT, float: Kind.FLOAT, bool: Kind.BOOL}

Declared = Mapping[str, Kind]


class Stored(NamedTuple):
    """An attribute's value as its row holds it."""

    kind: Kind
    value: str


def declared_kinds(types: Mapping[str, Any]) -> Declared:
    """The kinds of attributes declared as ``{"zone": int, "seen_at": Timestamp}``; ``Refusal`` ``bad_declaration``."""
    kinds = {}
    for name, hint in types.items():
        is_time = get_origin(hint) is Annotated and TYPES["timestamp"] in get_args(hint)
        kind = Kind.TIME if is_time else _KINDS.get(hint)
        if kind is None or not _is_name(name):
            raise Refusal(
                "bad_declaration",
                f"attribute {name!r}: {hint!r} with that name cannot be; a name is a word of at most {NAME_CHARS_MAX} "
                "characters, and its type str, int, float, bool or Timestamp",
            )
        kinds[name] = kind
    return kinds


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and len(name) <= NAME_CHARS_MAX and _NAME.match(name) is not None


def bad(reason: str, parameter: str = "attributes") -> SenderError:
    """A wrong attribute or tag."""
    return SenderError("bad_arguments", f"parameter {parameter}: {reason}", parameter=parameter)


def check_name(name: str) -> None:
    """``SenderError`` ``bad_arguments`` unless a caller may give an attribute that name."""
    if name.startswith(RESERVED_PREFIX):
        raise bad(f"{name!r} is reserved: names that begin with {RESERVED_PREFIX} are the engine's")
    if not _is_name(name):
        raise bad(
            f"{name!r} is no attribute's name; use letters, digits, _, - and ., at most {NAME_CHARS_MAX}, beginning "
            "with a letter or _"
        )


def stored(name: str, value: Any, declared: Declared) -> Stored:
    """The value as a row holds it; ``SenderError`` ``bad_arguments`` for what this attribute cannot hold."""
    kind = declared.get(name)
    if kind is None:
        kind = _kind_of(name, value)
    if kind is Kind.TEXT and isinstance(value, str):
        return Stored(kind, _text(name, value))
    if kind is Kind.BOOL and isinstance(value, bool):
        return Stored(kind, "true" if value else "false")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if kind is Kind.FLOAT and abs(value) <= sys.float_info.max:
            return Stored(kind, orjson.dumps(float(value)).decode())
        if kind in (Kind.INT, Kind.TIME) and INT64_MIN <= value <= INT64_MAX and value == int(value):
            return Stored(kind, str(int(value)))
    raise bad(f"attribute {name} holds {_shown(kind)}, not {value!r:.80}")


def _kind_of(name: str, value: Any) -> Kind:
    """The kind of an attribute that nobody declared."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise bad(f"attribute {name} holds a number, not {value}")
        return Kind.INT if value == int(value) and abs(value) < _EXACT else Kind.FLOAT
    kind = _KINDS.get(type(value))
    if kind is None:
        raise bad(f"attribute {name} holds text, a number, true or false, not {type(value).__name__}")
    return kind


def _text(name: str, value: str) -> str:
    if len(value) > TEXT_CHARS_MAX:
        raise bad(f"attribute {name} has {len(value)} characters; {TEXT_CHARS_MAX} are allowed")
    return encodable(value)


def encodable(value: str, parameter: str = "attributes") -> str:
    """The text, unless it is none that can be stored."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise bad("half of a surrogate pair is no text", parameter) from None
    if "\0" in value:
        raise bad("a text holds no NUL", parameter)
    return value


def _shown(kind: Kind) -> str:
    return {
        Kind.TEXT: "text",
        Kind.INT: "a whole number",
        Kind.FLOAT: "a number",
        Kind.BOOL: "true or false",
        Kind.TIME: "an instant in µs",
    }[kind]


def loaded(kind: str, value: str) -> Any:
    """The inverse of ``stored``."""
    if kind == Kind.TEXT:
        return value
    return orjson.loads(value)


def check_tag(tag: str) -> str:
    """The tag; ``SenderError`` ``bad_arguments`` unless a caller may give it."""
    if tag.startswith(RESERVED_PREFIX):
        raise bad(f"{tag!r} is reserved: tags that begin with {RESERVED_PREFIX} are the engine's", "tags")
    if not 0 < len(tag) <= NAME_CHARS_MAX or not tag.isprintable() or tag != tag.strip():
        raise bad(f"{tag!r:.80} is no tag; it has 1 to {NAME_CHARS_MAX} characters that can be seen", "tags")
    return encodable(tag, "tags")
