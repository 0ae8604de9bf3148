"""Who is told of a change: the listeners of one table, found by hash where their condition allows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Protocol

from reactor.live.query import Filter
from reactor.live.view import Predicate


class Listener(Protocol):
    """Someone with a condition on one table."""

    def note(self, key: Any, old: Any | None, new: Any | None) -> None:
        """Of the row ``key`` the condition held before the commit for ``old`` and holds after it for ``new``;
        None where it does not hold. Not both are None, and equal rows are not noted."""


Listeners = dict[Listener, Predicate | None]
"""Listeners and what each has still to test; None: nothing. A dict because its order is the same in every run."""

_NOBODY: Mapping[Listener, Predicate | None] = {}


class Watch:
    """The listeners of one table.

    ``routes`` holds per column a dict from value to listeners: a change looks up the value before and
    the value after. Listeners without a route are tested one by one. ``users`` counts, for the owner of the
    watch, who needs it; a listener may be in no bucket at the moment and still need it.
    """

    __slots__ = ("_columns", "_routes", "_unrouted", "users")

    def __init__(self) -> None:
        self.users = 0
        self._columns: dict[str, dict[Any, Listeners]] = {}
        self._routes: list[tuple[Callable[[Any], Any], dict[Any, Listeners]]] = []
        self._unrouted: Listeners = {}

    def add(self, listener: Listener, where: Filter) -> None:
        """Tell ``listener`` of changes of the rows that pass ``where``."""
        if where.route is None:
            self._unrouted[listener] = where.matches
        else:
            self.add_values(listener, where.route.column, where.route.values, where.residual)

    def remove(self, listener: Listener, where: Filter) -> None:
        """Undo ``add``."""
        if where.route is None:
            del self._unrouted[listener]
        else:
            self.remove_values(listener, where.route.column, where.route.values)

    def add_values(self, listener: Listener, column: str, values: Iterable[Any], residual: Predicate | None) -> None:
        """Route rows that have one of ``values`` in ``column`` and pass ``residual`` to ``listener``."""
        for value in values:
            buckets = self._columns.get(column)
            if buckets is None:
                buckets = self._columns[column] = {}
                self._routes.append((attrgetter(column), buckets))
            buckets.setdefault(value, {})[listener] = residual

    def remove_values(self, listener: Listener, column: str, values: Iterable[Any]) -> None:
        """Undo ``add_values`` for these values."""
        for value in values:
            buckets = self._columns[column]
            bucket = buckets[value]
            del bucket[listener]
            if not bucket:
                del buckets[value]
            if not buckets:
                del self._columns[column]
                self._routes = [r for r in self._routes if r[1] is not buckets]

    def feed(self, key: Any, old: Any | None, new: Any | None) -> None:
        """Tell everyone whose condition held before or holds now."""
        for read, buckets in self._routes:
            left = None if old is None else buckets.get(read(old))
            came = None if new is None else buckets.get(read(new))
            if left is not came:
                _moved(left or _NOBODY, came or _NOBODY, key, old, new)
            elif came is not None:
                _stayed(came, key, old, new)
        if self._unrouted:
            _stayed(self._unrouted, key, old, new)


def _stayed(listeners: Listeners, key: Any, old: Any | None, new: Any | None) -> None:
    """The same listeners may care for the row before and after."""
    if old is None:
        for listener, test in listeners.items():
            if test is None or test(new):
                listener.note(key, None, new)
    elif new is None:
        for listener, test in listeners.items():
            if test is None or test(old):
                listener.note(key, old, None)
    elif old != new:
        for listener, test in listeners.items():
            if test is None:
                listener.note(key, old, new)
                continue
            was, now = test(old), test(new)
            if was or now:
                listener.note(key, old if was else None, new if now else None)


def _moved(
    left: Mapping[Listener, Predicate | None],
    came: Mapping[Listener, Predicate | None],
    key: Any,
    old: Any | None,
    new: Any | None,
) -> None:
    """The row left one bucket and came to another; a listener with an IN may stand in both."""
    for listener, test in left.items():
        was = old if test is None or test(old) else None
        now = new if listener in came and (test is None or test(new)) else None
        if was is not None or now is not None:
            listener.note(key, was, now)
    for listener, test in came.items():
        if listener not in left and (test is None or test(new)):
            listener.note(key, None, new)
