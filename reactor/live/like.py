"""SQLite's LIKE as a regular expression that cannot be made to run away.

``%`` is any run of characters, ``_`` any one, letters A-Z match both cases, other letters only themselves.
A text ends at its first NUL for LIKE (and for nothing else), as it does in SQLite.

A naive translation of ``%a%a%a…`` lets the engine try every way to place the parts: exponential or high
polynomial work chosen by a stranger. It is enough to place each part at its leftmost fit, because whatever
follows a part may then begin at the earliest; so each part is an atomic group, never reconsidered, and
the cost is bounded by length of text times length of pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

PATTERN_CHARS_MAX = 1_000
"""Longest LIKE pattern: a match may cost text length times pattern length, on the reactor's thread."""

_ANY = "%"
_ONE = "_"


def like_parts(pattern: str, escape: str | None) -> list[str] | None:
    """The regular expressions between the ``%`` signs; None when the pattern can match nothing at all."""
    parts = [""]
    characters = iter(pattern)
    for character in characters:
        # An escape character that is itself % or _ loses its other meaning: SQLite asks for it first.
        if character == escape:
            escaped = next(characters, None)
            if escaped is None:
                return None
            parts[-1] += re.escape(escaped)
        elif character == _ANY:
            parts.append("")
        elif character == _ONE:
            parts[-1] += r"[^\0]"
        else:
            parts[-1] += re.escape(character)
    return parts


def like_matcher(pattern: str, escape: str | None) -> Callable[[str], Any]:
    """A function that is truthy for the texts that are LIKE the pattern; None is not handed to it."""
    parts = like_parts(pattern, escape)
    if parts is None:
        return _never
    first, *rest = parts
    source = first
    if rest:
        *middle, last = rest
        source += "".join(f"(?>[^\\0]*?{part})" for part in middle if part)
        source += rf"[^\0]*{last}"
    return re.compile(rf"{source}(?:\0|\Z)", re.ASCII | re.IGNORECASE).match


def _never(text: str) -> None:
    return None
