"""The record of a run, in the order in which it happened."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from workflows.scripts.errors import DivergenceError
from workflows.scripts.tables import PointerStatus


class Event(NamedTuple):
    """One event of a record. ``what`` is ``asked``, ``at once`` (asked for and over in one) or ``over``."""

    what: str
    pointer: Any

    def __str__(self) -> str:
        pointer = self.pointer
        end = "the end of " if self.what == "over" else ""
        return f"{end}{pointer.kind} {pointer.step_name!r}"


class History:
    """The events of one run by number, from 1. ``pointers`` are the rows of that run.

    ``open`` are those that wait at its end, by id, ``let_go`` those that were not waited for any more.
    """

    def __init__(self, pointers: Iterable[Any]) -> None:
        self._events: dict[int, Event] = {}
        self.last = 0
        self.let_go: dict[int, Any] = {}
        self.open: dict[int, Any] = {}
        self.newest: Any = None
        for row in pointers:
            self._add(row)

    def _add(self, row: Any) -> None:
        self.newest = row
        if row.done_no is None:
            # It waits, or did when the workflow ended.
            self.open[row.id] = row
            self._put(row.created_no, Event("asked", row))
        elif row.status is PointerStatus.CANCELLED:
            # Let go of, perhaps before anything else happened: then its two numbers are equal, and it never was over.
            self.let_go[row.id] = row
            self._put(row.created_no, Event("asked", row))
        elif row.created_no == row.done_no:
            self._put(row.created_no, Event("at once", row))
        else:
            self._put(row.created_no, Event("asked", row))
            self._put(row.done_no, Event("over", row))

    def _put(self, number: int, event: Event) -> None:
        if number in self._events:
            raise DivergenceError(number, f"{self._events[number]} and {event}, both", "has one thing happen at a time")
        self._events[number] = event
        self.last = max(self.last, number)

    def at(self, number: int) -> Event | None:
        """The event of that number, None behind the end."""
        return self._events.get(number)

    def describe(self, number: int) -> str:
        """The event of that number, for people."""
        event = self._events.get(number)
        return "nothing more" if event is None else str(event)
