"""Timers: an index over the scheduled tables, ordered by when their rows are due.

A *scheduled table* is a table whose rows cause calls. Every one has ``scheduled_id`` (automatic primary key) and
``scheduled_at`` (due value, µs, in the row's own clock). It may also have

=============== ================== ====================================================================
column          without it         meaning
=============== ================== ====================================================================
``clock``       ``wall``           the clock of ``scheduled_at`` (``reactor.scopes``)
``interval``    once               µs between occurrences; next due = previous due + interval, exactly
``catch_up``    ``fire_all``       what happens to occurrences that were missed, see ``CatchUp``
``drop_after``  never              µs of lateness past which ``drop_if_late`` drops an occurrence
``generation``  -                  counts re-schedulings, for whoever holds an old copy of the row
``cancelled``   false              a cancelled row never fires and stays until someone deletes it
``missed``      -                  occurrences skipped and not yet reported to a handler
``priority``    0                  class of timers due at the same instant; lower first
=============== ================== ====================================================================

Order is (due on the wall, priority, scheduled_id): of two timers due together the older fires first.

The rows are the truth. This module only remembers where to look next, and checks the row again before it lets
it fire: an entry whose row is gone, cancelled or due at another time is skipped and counted as stale. Timers far
ahead sit in coarse slots of about a second, where cancelling one is a dict removal; only the slot that is next is
sorted into a heap. So a million parked timers that are started and cancelled all day leave no garbage behind
and never cause a pause to clean up.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple

from reactor.scopes import WALL, Scopes
from reactor.table import Table

_SLOT_BITS = 20  # 2^20 µs, about a second
_ID_BITS = 64
_ID_MASK = (1 << _ID_BITS) - 1
_CLASS_BITS = 8


class CatchUp(enum.StrEnum):
    """What happens to occurrences that are overdue by at least one more occurrence, or too late."""

    FIRE_ALL = "fire_all"
    """Each missed occurrence fires, in order, with its own due time."""
    COALESCE = "coalesce"
    """One call for all of them; it is told how many it stands for besides itself."""
    SKIP = "skip"
    """None of the missed fire; the next one in phase does, and is told how many were missed."""
    DROP_IF_LATE = "drop_if_late"
    """An occurrence later than ``drop_after`` is dropped; others fire."""


@dataclass(frozen=True, slots=True)
class TimerInfo:
    """What a scheduled reducer may know about the occurrence it runs for (``ctx.timer``).

    ``due_at`` and ``fired_at`` are wall instants (µs); ``lateness_us`` is their difference; ``missed`` counts
    occurrences that were left out before this one by the catch-up policy.
    """

    table: str
    scheduled_id: int
    clock: str
    due_value: int
    due_at: int
    fired_at: int
    lateness_us: int
    missed: int


class DueTimer(NamedTuple):
    """A row that is due: its table, key, due value in its own clock, and when that was on the wall."""

    table: Table[Any]
    key: int
    due_value: int
    due_at: int


class _Queue:
    """The pending timers of one table on one clock, by due value."""

    __slots__ = ("clock", "crowds", "far", "heap", "near_slot", "slots", "table")

    def __init__(self, table: Table[Any], clock: str) -> None:
        self.table = table
        self.clock = clock
        self.heap: list[int] = []
        self.near_slot = -1
        # By slot: the key of the one timer in it, or of all of them; when they are due their rows say. Apart, so that
        # the garbage collector does not walk the first.
        self.far: dict[int, int] = {}
        self.crowds: dict[int, dict[int, None]] = {}
        self.slots: list[int] = []

    def add(self, due: int, priority: int, key: int) -> None:
        slot = due >> _SLOT_BITS
        if slot <= self.near_slot:
            heappush(self.heap, _entry(due, priority, key))
            return
        crowd = self.crowds.get(slot)
        if crowd is not None:
            crowd[key] = None
            return
        alone = self.far.get(slot)
        if alone is None:
            self.far[slot] = key
            heappush(self.slots, slot)
        elif alone != key:
            del self.far[slot]
            self.crowds[slot] = {alone: None, key: None}

    def discard(self, due: int, key: int) -> None:
        """Forget a timer if that is cheap; one in the heap is left to be found stale."""
        slot = due >> _SLOT_BITS
        if slot <= self.near_slot:
            return
        crowd = self.crowds.get(slot)
        if crowd is not None:
            crowd.pop(key, None)
        elif self.far.get(slot) == key:
            # The slot's number stays among the slots; what is empty is skipped when its turn comes.
            del self.far[slot]
            self.crowds[slot] = {}

    def bound(self) -> int | None:
        """A value before which nothing is due; None when nothing is pending."""
        if self.heap:
            return self.heap[0] >> _ID_BITS + _CLASS_BITS
        return self.slots[0] << _SLOT_BITS if self.slots else None

    def first(self, now_value: int) -> int | None:
        """The earliest entry of the slots that have begun, still in the queue; None when there is none.

        A slot is sorted when its time comes and not before: what is cancelled until then is simply gone.
        """
        while not self.heap:
            if not self.slots or self.slots[0] << _SLOT_BITS > now_value:
                return None
            self.near_slot = heappop(self.slots)
            crowd = self.crowds.pop(self.near_slot, None)
            keys: Iterable[int] = (self.far.pop(self.near_slot),) if crowd is None else crowd
            self.heap = list(self._entries(keys))
            heapify(self.heap)
        return self.heap[0]

    def entries(self) -> Iterator[int]:
        yield from self.heap
        yield from self._entries(self.far.values())
        for crowd in self.crowds.values():
            yield from self._entries(crowd)

    def _entries(self, keys: Iterable[int]) -> Iterator[int]:
        rows = self.table.rows
        for key in keys:
            row = rows.get(key)
            if row is not None:
                yield _entry(max(row.scheduled_at, 0), _priority_of(row), key)


def _entry(due: int, priority: int, key: int) -> int:
    return (due << _CLASS_BITS | priority) << _ID_BITS | key


def _priority_of(row: Any) -> int:
    return min(max(getattr(row, "priority", 0) or 0, 0), (1 << _CLASS_BITS) - 1)


def _place(row: Any) -> tuple[str, int, int]:
    """Where a row stands in the index."""
    return clock_of(row), row.scheduled_at, _priority_of(row)


def is_pending(row: Any) -> bool:
    """Whether the row may still fire."""
    return not getattr(row, "cancelled", False)


def clock_of(row: Any) -> str:
    """The clock a timer row's due value is in."""
    clock: str = getattr(row, "clock", WALL)
    return clock


class Timers:
    """The timers of all scheduled tables, by due time. ``stale`` counts entries found void when their time came."""

    def __init__(self, scopes: Scopes) -> None:
        self._scopes = scopes
        self._queues: dict[tuple[str, str], _Queue] = {}
        self.stale = 0

    def load(self, tables: Iterable[Table[Any]]) -> None:
        """Build the index anew from the tables."""
        self._queues.clear()
        for table in tables:
            if table.schema.scheduled is not None:
                for key, row in table.rows.items():
                    if is_pending(row):
                        self._add(table, key, row)

    def changed(self, table: Table[Any], key: int, old: Any, new: Any) -> None:
        """Follow one change of a scheduled table."""
        old_pending = old is not None and is_pending(old)
        new_pending = new is not None and is_pending(new)
        if old_pending and new_pending and _place(old) == _place(new):
            return
        if old_pending:
            queue = self._queues.get((table.name, clock_of(old)))
            if queue is not None:
                queue.discard(max(old.scheduled_at, 0), key)
        if new_pending:
            self._add(table, key, new)

    def _add(self, table: Table[Any], key: int, row: Any) -> None:
        clock = clock_of(row)
        queue = self._queues.get((table.name, clock))
        if queue is None:
            queue = self._queues[table.name, clock] = _Queue(table, clock)
        queue.add(max(row.scheduled_at, 0), _priority_of(row), key)

    def next_due(self) -> int | None:
        """The wall instant (µs) at which the next timer is due; None when none will be as things stand.

        May be early, by a second or when the first entry has become void; it is never late.
        """
        earliest: int | None = None
        for queue in self._queues.values():
            bound = queue.bound()
            wall = None if bound is None else self._wall_of(queue.clock, bound)
            if wall is not None and (earliest is None or wall < earliest):
                earliest = wall
        return earliest

    def pop_due(self, now: int) -> DueTimer | None:
        """Take the first timer due at or before ``now``, if there is one. The caller fires it or puts it back."""
        while True:
            found = self._earliest(now)
            if found is None or found[0] > now:
                return None
            due_at, entry, queue = found
            heappop(queue.heap)
            key = entry & _ID_MASK
            due = entry >> _ID_BITS + _CLASS_BITS
            if _fires(queue, key, due):
                return DueTimer(queue.table, key, due, due_at)
            self.stale += 1

    def put_back(self, due: DueTimer) -> None:
        """Return a timer that was taken but could not fire now."""
        row = due.table.rows.get(due.key)
        if row is not None and is_pending(row):
            self._add(due.table, due.key, row)

    def _wall_of(self, clock: str, value: int) -> int | None:
        """When a clock shows a value. One that does not exist stands still: its timers wait until it does."""
        if clock == WALL:
            return value
        return self._scopes.wall_of(clock, value) if self._scopes.exists(clock) else None

    def _value_at(self, clock: str, now: int) -> int:
        if clock == WALL:
            return now
        return self._scopes.value_at(clock, now) if self._scopes.exists(clock) else -1

    def _earliest(self, now: int) -> tuple[int, int, _Queue] | None:
        best: tuple[int, int, _Queue] | None = None
        for queue in self._queues.values():
            entry = queue.heap[0] if queue.heap else queue.first(self._value_at(queue.clock, now))
            if entry is None:
                continue
            wall = self._wall_of(queue.clock, entry >> _ID_BITS + _CLASS_BITS)
            if wall is None:
                continue
            if best is None or (wall, entry & _ORDER_MASK) < (best[0], best[1] & _ORDER_MASK):
                best = (wall, entry, queue)
        return best

    def pending(self) -> dict[tuple[str, int], int]:
        """``(table, scheduled_id) -> due value`` of every entry that would fire; for checks."""
        found: dict[tuple[str, int], int] = {}
        for queue in self._queues.values():
            for entry in queue.entries():
                key, due = entry & _ID_MASK, entry >> _ID_BITS + _CLASS_BITS
                if _fires(queue, key, due):
                    found[queue.table.name, key] = due
        return found


def _fires(queue: _Queue, key: int, due: int) -> bool:
    """Whether the row behind an entry still says what the entry says."""
    row = queue.table.rows.get(key)
    return row is not None and is_pending(row) and max(row.scheduled_at, 0) == due and clock_of(row) == queue.clock


_ORDER_MASK = (1 << _ID_BITS + _CLASS_BITS) - 1


# -- what one firing does to its row -------------------------------------------------------------


class Firing(NamedTuple):
    """How a due occurrence is handled: run it or not, how many it leaves out, and the next due value (or None)."""

    run: bool
    due_value: int
    missed: int
    next_due: int | None


def plan_firing(row: Any, due: int, now_value: int) -> Firing:
    """Apply the row's interval and catch-up policy to an occurrence due at ``due`` when its clock shows ``now_value``.

    Occurrences skipped before and not yet reported (the row's ``missed``) are carried into this one.
    """
    carried = getattr(row, "missed", None) or 0
    interval = max(getattr(row, "interval", None) or 0, 0)
    policy = getattr(row, "catch_up", None) or CatchUp.FIRE_ALL
    late = now_value - due
    if policy == CatchUp.DROP_IF_LATE:
        limit = getattr(row, "drop_after", None)
        if limit is not None and late > limit:
            if not interval:
                return Firing(False, due, carried + 1, None)
            # All that are too late at once, not a commit for each.
            dropped = -((limit - late) // interval)
            due += dropped * interval
            return Firing(False, due - interval, carried + dropped, due)
    if not interval:
        return Firing(True, due, carried, None)
    behind = late // interval
    # Under `skip` the last one fires as well if it is due at this very instant: that one is not missed.
    last_fires = policy == CatchUp.COALESCE or (policy == CatchUp.SKIP and late % interval == 0)
    if behind > 0 and last_fires:
        due += behind * interval
        return Firing(True, due, carried + behind, due + interval)
    if behind > 0 and policy == CatchUp.SKIP:
        due += (behind + 1) * interval
        return Firing(False, due, carried + behind + 1, due)
    return Firing(True, due, carried, due + interval)
