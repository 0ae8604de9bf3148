"""The three indexes over a table's rows: unique, hash, ordered.

An index maps column values to primary keys; the table owns the rows. Rows in which an indexed column is
NULL are left out: as in SQL, no comparison with NULL is ever true, and a million workflows without a
correlation id then cost nothing.

A hash bucket with one key is that key itself, not a container: most buckets are that small, and an empty
``dict`` would cost more than the row. Larger buckets are dicts used as ordered sets; very large ones of whole numbers
(a million workflows of one type, all waiting) are sets of bits, which cost a few bytes a key instead of forty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

from sortedcontainers import SortedList

from reactor.errors import invariant


class _Top:
    """Sorts after every value; closes a range from above."""

    __slots__ = ()

    def __lt__(self, other: object) -> bool:
        return False

    def __gt__(self, other: object) -> bool:
        return True


TOP = _Top()


def value_getter(columns: tuple[str, ...]) -> Callable[[Any], Any]:
    """A function from row to index value: the column's value, or a tuple of them; None if any is NULL."""
    if len(columns) == 1:
        return attrgetter(columns[0])
    get = attrgetter(*columns)

    def values(row: Any) -> Any:
        found = get(row)
        return None if None in found else found

    return values


class UniqueIndex:
    """At most one row per value."""

    __slots__ = ("columns", "entries", "value_of")

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self.value_of = value_getter(columns)
        self.entries: dict[Any, Any] = {}

    def add(self, row: Any, key: Any) -> None:
        """Enter a row; the table has checked that its value is free."""
        value = self.value_of(row)
        if value is not None:
            self.entries[value] = key

    def remove(self, row: Any, key: Any) -> None:
        """Take a row out."""
        value = self.value_of(row)
        # Undo may meet an entry that already belongs to the row which took the value over.
        if value is not None and self.entries.get(value) == key:
            del self.entries[value]

    def find(self, value: Any) -> tuple[Any, ...]:
        """The primary keys with this value: none or one."""
        key = self.entries.get(value)
        return () if key is None else (key,)

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Every ``(value, primary key)``."""
        return iter(self.entries.items())


_BITS = 6
_LOW = (1 << _BITS) - 1
_BIT = tuple(1 << n for n in range(1 << _BITS))
_FULL = (1 << (1 << _BITS)) - 1
_OFFSETS = tuple(tuple(bit for bit in range(8) if byte >> bit & 1) for byte in range(256))
LARGE = 4_096
"""A bucket of whole numbers that has grown so large becomes a set of bits."""


class BitSet:
    """A set of whole numbers, mostly close together: one whole number of 64 bits for each 64 of them.

    A dict of plain values, so that the garbage collector does not look into it.
    """

    __slots__ = ("_count", "_words")

    def __init__(self, keys: Iterable[int]) -> None:
        self._words: dict[int, int] = {}
        self._count = 0
        for key in keys:
            self.add(key)

    def add(self, key: int) -> None:
        """Enter a number; once if it is there already."""
        place = key >> _BITS
        word = self._words.get(place, 0)
        more = word | _BIT[key & _LOW]
        if more != word:
            self._words[place] = more
            self._count += 1

    def discard(self, key: int) -> None:
        """Take a number out, if it is there."""
        place, bit = key >> _BITS, _BIT[key & _LOW]
        word = self._words.get(place, 0)
        if word & bit:
            self._count -= 1
            word ^= bit
            if word:
                self._words[place] = word
            else:
                del self._words[place]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        for place, word in self._words.items():
            base = place << _BITS
            if word == _FULL:
                yield from range(base, base + (1 << _BITS))
                continue
            for eighth in word.to_bytes(1 << _BITS - 3, "little"):
                for offset in _OFFSETS[eighth]:
                    yield base + offset
                base += 8


KeySet = dict[Any, None] | BitSet


class HashIndex:
    """The rows with a given value.

    Values that one row has stand in ``single``, others in ``many``. Apart, because the garbage collector does not look
    at a dict of plain values, but walks all of one that holds a single container: a million entries at a time.
    """

    __slots__ = ("columns", "many", "single", "value_of")

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self.value_of = value_getter(columns)
        self.single: dict[Any, Any] = {}
        self.many: dict[Any, KeySet] = {}

    def add(self, row: Any, key: Any) -> None:
        """Enter a row."""
        value = self.value_of(row)
        if value is None:
            return
        bucket = self.many.get(value)
        if bucket is not None:
            if isinstance(bucket, BitSet):
                bucket.add(key)
                return
            bucket[key] = None
            if len(bucket) == LARGE and all(type(each) is int for each in bucket):
                self.many[value] = BitSet(bucket)
            return
        held = self.single.setdefault(value, key)
        if held is not key and held != key:
            del self.single[value]
            self.many[value] = {held: None, key: None}

    def remove(self, row: Any, key: Any) -> None:
        """Take a row out; one that never came to be entered is nothing to undo."""
        value = self.value_of(row)
        if value is None:
            return
        bucket = self.many.get(value)
        if bucket is None:
            if self.single.get(value) == key:
                del self.single[value]
            return
        if isinstance(bucket, BitSet):
            bucket.discard(key)
        else:
            bucket.pop(key, None)
        if len(bucket) == 1:
            del self.many[value]
            (self.single[value],) = bucket

    def find(self, value: Any) -> Iterable[Any]:
        """The primary keys with this value, in no promised order."""
        bucket = self.many.get(value)
        if bucket is not None:
            return bucket
        key = self.single.get(value)
        return () if key is None else (key,)

    def count(self, value: Any) -> int:
        """How many rows have this value."""
        bucket = self.many.get(value)
        return len(bucket) if bucket is not None else int(value in self.single)

    def values(self) -> Iterator[Any]:
        """Every value that some row has, once."""
        yield from self.single
        yield from self.many

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Every ``(value, primary key)``."""
        yield from self.single.items()
        for value, bucket in self.many.items():
            for key in bucket:
                yield value, key


class OrderedIndex:
    """The rows in the order of their values; answers ranges.

    Sorted when read, not when written: changes are collected and merged by the next range. A table that is
    written far more often than it is ranged over then pays a dict entry per change instead of a search.
    """

    __slots__ = ("_list", "_pending", "columns", "value_of")

    def __init__(self, columns: tuple[str, ...]) -> None:
        self.columns = columns
        self.value_of = attrgetter(*columns) if len(columns) > 1 else self._single(columns[0])
        self._list: SortedList[Any] = SortedList()
        self._pending: dict[tuple[Any, ...], bool] = {}

    @staticmethod
    def _single(column: str) -> Callable[[Any], tuple[Any, ...]]:
        get = attrgetter(column)
        return lambda row: (get(row),)

    def add(self, row: Any, key: Any) -> None:
        """Enter a row."""
        values = self.value_of(row)
        if None not in values:
            self._note((*values, key), True)

    def remove(self, row: Any, key: Any) -> None:
        """Take a row out."""
        values = self.value_of(row)
        if None not in values:
            self._note((*values, key), False)

    def _note(self, entry: tuple[Any, ...], present: bool) -> None:
        if self._pending.pop(entry, present) == present:
            self._pending[entry] = present

    def _merge(self) -> None:
        pending, self._pending = self._pending, {}
        if len(pending) * 4 > len(self._list):
            kept = [entry for entry in self._list if entry not in pending]
            kept.extend(entry for entry, present in pending.items() if present)
            self._list = SortedList(kept)
            return
        for entry, present in pending.items():
            # Each entry once, whatever pieces of an interrupted change undo has put back.
            self._list.discard(entry)
            if present:
                self._list.add(entry)

    def __len__(self) -> int:
        if self._pending:
            self._merge()
        return len(self._list)

    def range(
        self, prefix: tuple[Any, ...], low: Any, high: Any, include: tuple[bool, bool], reverse: bool
    ) -> Iterator[Any]:
        """Primary keys whose first columns equal ``prefix`` and whose next lies between ``low`` and ``high``.

        ``None`` leaves a side open. Keys come in the order of the values, then of the keys themselves.
        """
        if self._pending:
            self._merge()
        if low is None:
            lower: tuple[Any, ...] = prefix
        else:
            lower = (*prefix, low) if include[0] else (*prefix, low, TOP)
        if high is None:
            upper: tuple[Any, ...] = (*prefix, TOP)
        else:
            upper = (*prefix, high, TOP) if include[1] else (*prefix, high)
        for entry in self._list.irange(lower, upper, reverse=reverse):
            yield entry[-1]

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Every ``(values, primary key)`` in order."""
        if self._pending:
            self._merge()
        for entry in self._list:
            yield entry[:-1], entry[-1]


AnyIndex = UniqueIndex | HashIndex | OrderedIndex


def build(columns: tuple[str, ...], *, ordered: bool, unique: bool) -> AnyIndex:
    """The index that a declaration asks for; a unique ordered one is two indexes, made by the table."""
    invariant(not (ordered and unique), "a table makes two indexes of a unique ordered one")
    if ordered:
        return OrderedIndex(columns)
    return UniqueIndex(columns) if unique else HashIndex(columns)
