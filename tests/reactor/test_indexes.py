"""``reactor.indexes``: unique, hash and ordered indexes against a list of rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import InvariantError
from reactor.indexes import LARGE, BitSet, HashIndex, OrderedIndex, UniqueIndex, build


class Row(NamedTuple):
    """A row as an index sees it."""

    key: int
    zone: int | None
    hp: int | None


_small = st.none() | st.integers(0, 4)
_rows = st.builds(Row, st.integers(0, 8), _small, _small)


@given(st.lists(st.tuples(st.booleans(), _rows), max_size=60), st.lists(st.booleans(), max_size=60))
def test_hash_and_ordered_indexes_are_the_rows(steps: list[tuple[bool, Row]], reads: list[bool]) -> None:
    """After any adding, replacing and removing, interleaved with reads, both find what a scan finds."""
    hashed, ordered = HashIndex(("zone",)), OrderedIndex(("zone", "hp"))
    held: dict[int, Row] = {}
    for i, (adds, row) in enumerate(steps):
        if row.key in held:
            old = held.pop(row.key)
            hashed.remove(old, old.key)
            ordered.remove(old, old.key)
        if adds:
            held[row.key] = row
            hashed.add(row, row.key)
            ordered.add(row, row.key)
        if i < len(reads) and reads[i]:
            list(ordered.items())
    for zone in range(5):
        expected = sorted(k for k, r in held.items() if r.zone == zone)
        assert sorted(hashed.find(zone)) == expected
        assert hashed.count(zone) == len(expected)
    assert sorted(hashed.items()) == sorted((r.zone, k) for k, r in held.items() if r.zone is not None)
    entries = sorted((r.zone, r.hp, k) for k, r in held.items() if r.zone is not None and r.hp is not None)
    assert [(*values, key) for values, key in ordered.items()] == entries


_bound = st.none() | st.integers(0, 5)


@given(st.lists(_rows, max_size=40, unique_by=lambda r: r.key), _bound, _bound, st.tuples(st.booleans(), st.booleans()))
def test_ranges(rows: list[Row], low: int | None, high: int | None, include: tuple[bool, bool]) -> None:
    """A range over the second column under a fixed first one, both ways, open and closed."""
    index = OrderedIndex(("zone", "hp"))
    for row in rows:
        index.add(row, row.key)

    def inside(hp: int) -> bool:
        above = low is None or hp > low or (include[0] and hp == low)
        return above and (high is None or hp < high or (include[1] and hp == high))

    expected = [k for hp, k in sorted((r.hp, r.key) for r in rows if r.zone == 1 and r.hp is not None) if inside(hp)]
    assert list(index.range((1,), low, high, include, False)) == expected
    assert list(index.range((1,), low, high, include, True)) == expected[::-1]


def test_unique_index() -> None:
    """One row per value; NULLs do not count; a value that was taken over is not lost to the row that left it."""
    index = UniqueIndex(("zone",))
    a, b = Row(1, 5, None), Row(2, 5, None)
    index.add(a, 1)
    index.add(Row(3, None, None), 3)
    assert list(index.items()) == [(5, 1)]
    index.add(b, 2)
    index.remove(a, 1)
    assert index.find(5) == (2,)
    index.remove(b, 2)
    assert index.find(5) == ()


def test_undo_may_meet_pieces() -> None:
    """A change that broke off half-way is undone as a whole: removing what is not there, adding what is."""
    hashed, ordered = HashIndex(("zone",)), OrderedIndex(("zone",))
    a, b = Row(1, 5, None), Row(2, 5, None)
    for index in (hashed, ordered):
        index.remove(a, 1)
        assert list(index.items()) == []
        index.add(b, 2)
        assert len(list(index.items())) == 1
        index.remove(a, 1)
        index.add(b, 2)
        assert len(list(index.items())) == 1
    assert list(hashed.find(5)) == [2]
    assert list(ordered.range((), None, None, (True, True), False)) == [2]


def test_what_is_built() -> None:
    """The kind that the declaration asks for."""
    kinds: list[tuple[Any, Any]] = [
        (build(("a",), ordered=True, unique=False), OrderedIndex),
        (build(("a",), ordered=False, unique=True), UniqueIndex),
        (build(("a",), ordered=False, unique=False), HashIndex),
    ]
    for made, kind in kinds:
        assert type(made) is kind
    with pytest.raises(InvariantError):
        build(("a",), ordered=True, unique=True)


@given(st.lists(st.tuples(st.booleans(), st.integers(-600, 1_200)), max_size=300))
def test_a_set_of_bits_is_a_set(steps: list[tuple[bool, int]]) -> None:
    """Numbers entered twice, taken out twice, negative, and whole words of them."""
    bits, plain = BitSet(range(256, 512)), set(range(256, 512))
    for adds, key in steps:
        (bits.add if adds else bits.discard)(key)
        (plain.add if adds else plain.discard)(key)
    assert len(bits) == len(plain)
    assert sorted(bits) == sorted(plain)


def test_a_crowded_value_costs_bits() -> None:
    """REQ-21: what a million rows share is not a million entries; all is found as before, and it empties again."""
    index = HashIndex(("zone",))
    rows = [Row(key, 7, 1) for key in range(1, 2 * LARGE)]
    for row in rows:
        index.add(row, row.key)
    assert isinstance(index.many[7], BitSet)
    assert sorted(index.find(7)) == [row.key for row in rows]
    assert index.count(7) == len(rows)
    assert len(list(index.items())) == len(rows)
    for row in rows[1:]:
        index.remove(row, row.key)
    assert list(index.find(7)) == [1]
    assert not index.many
    words = HashIndex(("zone",))
    for key in range(2 * LARGE):
        words.add(Row(str(key), 7, 1), str(key))  # type: ignore[arg-type]
    assert words.count(7) == 2 * LARGE
