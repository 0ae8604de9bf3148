"""What one shared query sees of one commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactor.live.query import LiveQuery


class Delta:
    """The change of one query's result by one commit. A key stands in one of the three lists, once.

    ``inserts`` are rows that were not in the result, ``updates`` are ``(key before, row)`` of rows that were in it
    with other content, ``deletes`` are the keys of rows that are no longer in it.
    """

    __slots__ = ("deletes", "inserts", "query", "updates")

    def __init__(self, query: ActiveQuery) -> None:
        self.query = query
        self.inserts: list[Any] = []
        self.updates: list[tuple[Any, Any]] = []
        self.deletes: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self.inserts or self.updates or self.deletes)

    def __repr__(self) -> str:
        return f"Delta({self.query.number}, +{self.inserts}, ~{self.updates}, -{self.deletes})"

    def note(self, key: Any, old: Any | None, new: Any | None) -> None:
        """Enter a row that was ``old`` in the result and is ``new``; None: not in it."""
        if old is None:
            if new is not None:
                self.inserts.append(new)
        elif new is None:
            self.deletes.append(key)
        else:
            self.updates.append((key, new))


class ActiveQuery:
    """A query that at least one subscriber holds; those who ask the same share it.

    ``number`` is unique in its ``Subscriptions`` and never used again. ``holders`` counts who opened it.
    """

    __slots__ = ("_touch", "delta", "holders", "number", "query")

    def __init__(self, number: int, query: LiveQuery, touch: Callable[[ActiveQuery], None]) -> None:
        self.number = number
        self.query = query
        self.holders = 0
        self.delta: Delta | None = None
        self._touch = touch

    def __repr__(self) -> str:
        return f"ActiveQuery({self.number}, {self.query.canonical!r}, holders={self.holders})"

    def note(self, key: Any, old: Any | None, new: Any | None) -> None:
        """Enter a row into this commit's delta; the listener of a query without semi-join."""
        delta = self.delta
        if delta is None:
            delta = self.delta = Delta(self)
            self._touch(self)
        delta.note(key, old, new)
