"""The running state of one semi-join: how many partners each value has, and what a commit changes by that."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from reactor.live.delta import ActiveQuery, Delta
from reactor.live.query import SemiJoin
from reactor.live.routing import Watch
from reactor.live.scan import matching_rows
from reactor.live.view import TableView, has_hash_index

ROUTED_KEYS_MAX = 10_000
"""With at most this many values on the inner side, changes of outer rows are routed by them; a bucket costs some
300 bytes. With more, each outer change is tested instead: one dict lookup."""


_LOOKUP_COST = 8
"""A lookup in an index costs about as much as testing this many rows in a scan."""


class JoinState:
    """The counts of one active semi-join. ``settle`` is to be called once per commit that touched it."""

    def __init__(
        self,
        active: ActiveQuery,
        join: SemiJoin,
        outer: TableView,
        inner: TableView,
        touch: Callable[[JoinState], None],
    ) -> None:
        self.active = active
        self.join = join
        self.outer = outer
        self.inner_side = _InnerSide(self)
        self.outer_side = _OuterSide(self)
        self.outer_value: Callable[[Any], Any] = attrgetter(join.outer_column)
        self.inner_value: Callable[[Any], Any] = attrgetter(join.inner_column)
        self.counts: dict[Any, int] = {}
        self._touch = touch
        self._touched = False
        self._counts_before: dict[Any, int] = {}
        self._outer_changes: dict[Any, Any] = {}
        outer.ensure_hash_index((join.outer_column,))
        for row in matching_rows(inner, join.inner):
            self._count(self.inner_value(row), 1)
        self._counts_before.clear()
        # A constant of the query routes better than the partners' values, and too many values cost memory.
        self.routed = active.query.where.route is None and len(self.counts) <= ROUTED_KEYS_MAX

    def has_partner(self, row: Any) -> bool:
        """Whether the outer row has a partner as the tables stand now."""
        return self.outer_value(row) in self.counts

    def result(self) -> list[Any]:
        """The rows of the result as the tables stand now, in no particular order."""
        where, outer, column = self.active.query.where, self.outer, self.join.outer_column
        by_index = where.route is not None and has_hash_index(outer.schema, where.route.column)
        if by_index or len(self.counts) * _LOOKUP_COST > len(outer.rows):
            return list(filter(self.has_partner, matching_rows(outer, where)))
        found = (row for value in self.counts for row in outer.lookup((column,), (value,)))
        return list(filter(where.matches, found))

    def start(self, outer_watch: Watch, inner_watch: Watch) -> None:
        """Begin to listen."""
        inner_watch.add(self.inner_side, self.join.inner)
        if self.routed:
            self._route(outer_watch, list(self.counts))
        else:
            outer_watch.add(self.outer_side, self.active.query.where)

    def stop(self, outer_watch: Watch, inner_watch: Watch) -> None:
        """Listen no more."""
        inner_watch.remove(self.inner_side, self.join.inner)
        if self.routed:
            outer_watch.remove_values(self.outer_side, self.join.outer_column, list(self.counts))
        else:
            outer_watch.remove(self.outer_side, self.active.query.where)

    def _route(self, watch: Watch, values: list[Any]) -> None:
        watch.add_values(self.outer_side, self.join.outer_column, values, self.active.query.matches)

    # -- collecting ---------------------------------------------------------------------------

    def count_change(self, old: Any | None, new: Any | None) -> None:
        """An inner row that counted was ``old`` and is ``new``."""
        if old is not None:
            self._count(self.inner_value(old), -1)
        if new is not None:
            self._count(self.inner_value(new), 1)
        self._mark()

    def outer_change(self, key: Any, old: Any | None) -> None:
        """An outer row changed that may have been in the result as ``old``, or may be now."""
        self._outer_changes[key] = old
        self._mark()

    def _count(self, value: Any, step: int) -> None:
        if value is None:
            return  # NULL is nobody's partner
        counts = self.counts
        count = counts.get(value, 0)
        self._counts_before.setdefault(value, count)
        if count + step:
            counts[value] = count + step
        else:
            del counts[value]

    def _mark(self) -> None:
        if not self._touched:
            self._touched = True
            self._touch(self)

    # -- the end of a commit ------------------------------------------------------------------

    def settle(self, outer_watch: Watch) -> Delta | None:
        """What the commit changed in the result; None if nothing."""
        delta = Delta(self.active)
        self._settle_changes(delta)
        came, went = self._flipped()
        self._settle_partners(delta, came, went)
        if self.routed:
            self._route(outer_watch, came)
            outer_watch.remove_values(self.outer_side, self.join.outer_column, went)
        self._counts_before.clear()
        self._outer_changes.clear()
        self._touched = False
        return delta if delta else None

    def _had_partner(self, row: Any) -> bool:
        value = self.outer_value(row)
        before = self._counts_before.get(value)
        return value in self.counts if before is None else before > 0

    def _settle_changes(self, delta: Delta) -> None:
        """Outer rows that changed: membership before and after, each by its own counts."""
        rows, matches = self.outer.rows, self.active.query.matches
        for key, old in self._outer_changes.items():
            was = old is not None and self._had_partner(old)
            # Not as routed: its value may have got a partner in this commit, when no bucket knew of it yet.
            new = rows.get(key)
            now = new is not None and self.has_partner(new) and matches(new)
            delta.note(key, old if was else None, new if now else None)

    def _flipped(self) -> tuple[list[Any], list[Any]]:
        """The values that got their first partner, and those that lost their last."""
        before = self._counts_before
        came = [v for v, n in before.items() if not n and v in self.counts]
        went = [v for v, n in before.items() if n and v not in self.counts]
        return came, went

    def _settle_partners(self, delta: Delta, came: list[Any], went: list[Any]) -> None:
        """Outer rows that stand as they did, but whose value got or lost its partners."""
        matches, key_of, columns = self.active.query.matches, self.outer.key_of, (self.join.outer_column,)
        done = self._outer_changes
        for values, arrived in ((came, True), (went, False)):
            for value in values:
                for row in self.outer.lookup(columns, (value,)):
                    key = key_of(row)
                    if key not in done and matches(row):
                        delta.note(key, None if arrived else row, row if arrived else None)


class _InnerSide:
    """Listens to the inner table."""

    __slots__ = ("_state",)

    def __init__(self, state: JoinState) -> None:
        self._state = state

    def note(self, key: Any, old: Any | None, new: Any | None) -> None:
        """Count the row in or out."""
        self._state.count_change(old, new)


class _OuterSide:
    """Listens to the outer table."""

    __slots__ = ("_state",)

    def __init__(self, state: JoinState) -> None:
        self._state = state

    def note(self, key: Any, old: Any | None, new: Any | None) -> None:
        """Keep the change until the commit's counts are known."""
        self._state.outer_change(key, old)
