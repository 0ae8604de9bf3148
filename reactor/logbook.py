"""The server's log: the newest lines in memory, for `reactor logs`, and a copy on standard error."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from reactor.errors import invariant

LEVELS = ("debug", "info", "warning", "error")

Line = dict[str, Any]


class Logbook:
    """Keeps the last ``lines_max`` lines and tells followers of new ones."""

    def __init__(self, lines_max: int, stream: TextIO | None = None) -> None:
        self._lines: deque[Line] = deque(maxlen=lines_max)
        self._followers: dict[Callable[[Line], None], None] = {}
        self._stream = stream

    def write(self, at_us: int, level: str, logger: str, message: str) -> None:
        """Add a line; ``at_us`` is µs since 1970 UTC."""
        invariant(level in LEVELS, f"log level {level!r} is one of {', '.join(LEVELS)}")
        line = {"at": at_us, "level": level, "logger": logger, "message": message}
        self._lines.append(line)
        if self._stream is not None:
            try:
                print(shown(line), file=self._stream, flush=True)
            except (OSError, ValueError):
                # Whoever read it has gone. A turn must not fail over that.
                self._stream = None
        for follower in list(self._followers):
            follower(line)

    def tail(self, count: int) -> list[Line]:
        """The newest ``count`` lines, oldest first."""
        return list(self._lines)[-count:] if count > 0 else []

    def follow(self, follower: Callable[[Line], None]) -> Callable[[], None]:
        """Call ``follower`` with each new line; returns a function that ends it."""
        self._followers[follower] = None
        return lambda: self._followers.pop(follower, None)


def shown(line: Line) -> str:
    """A line as people read it."""
    at = datetime.fromtimestamp(line["at"] / 1e6, UTC).strftime("%H:%M:%S.%f")[:-3]
    return f"{at} {line['level']:<7} {line['logger']}: {line['message']}"


def standard_error() -> TextIO:
    """Where a server's log goes besides."""
    return sys.stderr
