"""``reactor.store``: a call changes all of what it changes or nothing; ids are handed out once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reactor.errors import ConstraintError, Refusal, SenderError
from reactor.indexes import HashIndex, OrderedIndex
from reactor.limits import Limits
from reactor.schema import declare_table, index, primary_key
from reactor.store import SEQUENCE_SCHEMA, SEQUENCE_TABLE, Store, schema_of
from reactor.table import Change


class Thing:
    """One of each index."""

    id: int = primary_key(auto=True)
    a: int | None = None
    b: int = 0
    u: int | None = None
    v: int | None = None


class Named:
    """A key that the caller chooses."""

    name: str = primary_key()
    a: int = 0


SCHEMAS = [
    SEQUENCE_SCHEMA,
    declare_table(
        Thing,
        indexes=["a", index("a", "b"), index("a", ordered=True), index("b", "a", ordered=True)],
        unique=["u", ("a", "v")],
    ),
    declare_table(Named, indexes=[index("a", ordered=True, unique=True)]),
]
NUMBERS = {schema.name: i + 1 for i, schema in enumerate(SCHEMAS)}
LIMITS = Limits(id_block=8)


def _new() -> Store:
    return Store(SCHEMAS, NUMBERS, LIMITS)


def _as_rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    return {
        table.name: [tuple(getattr(row, name) for name in table.schema.column_names) for row in table]
        for table in store
    }


def test_net_changes() -> None:
    """A row touched often is one change; what ended as it began is none."""
    store = _new()
    store.begin()
    things = store.tables["named"]
    things.insert(name="x", a=1)
    things.insert(name="kept", a=5)
    store.commit()
    store.begin()
    things.update("x", a=2)
    things.update("x", a=3)
    things.insert(name="y", a=9)
    things.delete("y")
    things.update("kept", a=6)
    things.update("kept", a=5)
    changes = store.commit()
    assert [(c[0].name, c[1], c[2].a, c[3].a) for c in changes] == [("named", "x", 1, 3)]
    store.begin()
    things.delete("x")
    things.insert(name="x", a=3)
    assert store.commit() == []
    store.begin()
    assert store.commit() == []


def test_a47_rollback_puts_everything_back() -> None:
    """A47: rows, indexes and reservations are as before."""
    store = _new()
    store.begin()
    things = store.tables["thing"]
    things.insert(a=1, u=1)
    store.commit()
    before = _as_rows(store)
    store.begin()
    things.update(1, a=2, u=2)
    things.insert(u=1)
    things.delete(1)
    things.insert(id=100)
    store.rollback()
    assert _as_rows(store) == before
    assert [r.id for r in things.where(a=1)] == [1]
    assert things.where(a=2) == []
    assert not store.is_running


def test_savepoints() -> None:
    """A part is undone alone; what was before and comes after stays; they nest."""
    store = _new()
    named = store.tables["named"]
    store.begin()
    named.insert(name="before", a=1)
    with pytest.raises(ZeroDivisionError), store.savepoint():
        named.update("before", a=2)
        with pytest.raises(KeyError), store.savepoint():
            named.delete("before")
            raise KeyError
        assert named.require("before").a == 2
        with store.savepoint():
            named.insert(name="inner", a=7)
        raise ZeroDivisionError
    named.insert(name="after", a=2)
    assert sorted((c[1], c[3].a) for c in store.commit()) == [("after", 2), ("before", 1)]


def test_ids_come_in_blocks_and_are_never_handed_out_twice() -> None:
    """The reservation is in the commit of the id that needed it, so a crash can only leave a gap."""
    store = _new()
    things = store.tables["thing"]
    reservations = 0
    given = []
    for _ in range(20):
        store.begin()
        given.append(things.insert().id)
        reservations += any(c[0].name == SEQUENCE_TABLE for c in store.commit())
    assert given == list(range(1, 21))
    assert reservations == 3
    after = _new()
    after.load(_as_rows(store))
    after.begin()
    assert after.tables["thing"].insert().id == 25, "the rest of the block is left out after a crash"


def test_a_reservation_is_undone_with_its_call() -> None:
    """A rolled-back call leaves no reservation behind it, and the next call makes its own."""
    store = _new()
    things = store.tables["thing"]
    store.begin()
    things.insert()
    store.rollback()
    assert len(store.tables[SEQUENCE_TABLE]) == 0
    store.begin()
    first = things.insert().id
    changes = store.commit()
    assert any(c[0].name == SEQUENCE_TABLE and c[3].reserved >= first for c in changes)
    with pytest.raises(ZeroDivisionError):
        store.begin()
        with store.savepoint():
            for _ in range(20):
                things.insert()
            raise ZeroDivisionError
    last = things.insert().id
    assert last > first
    assert any(c[0].name == SEQUENCE_TABLE and c[3].reserved >= last for c in store.commit())


def test_undoing_stored_commits_takes_the_reservations_back() -> None:
    """P6: commits that could not be written are taken back, newest first, with their reservations."""
    store = _new()
    things = store.tables["thing"]
    done: list[list[Change]] = []
    for _ in range(20):
        store.begin()
        things.insert()
        done.append(store.commit())
    for changes in reversed(done[3:]):
        store.undo(changes)
    assert [r.id for r in things] == [1, 2, 3]
    assert store.tables[SEQUENCE_TABLE].require("thing").reserved == 8
    store.begin()
    given = things.insert().id
    changes = store.commit()
    reserved = store.tables[SEQUENCE_TABLE].require("thing").reserved
    assert reserved >= given
    assert any(c[0].name == SEQUENCE_TABLE for c in changes)


def test_chosen_ids_are_respected() -> None:
    """An id that a caller chose is not handed out later, also after a crash."""
    store = _new()
    things = store.tables["thing"]
    store.begin()
    things.insert(id=30)
    assert things.insert().id == 31
    things.insert(id=2)
    assert things.insert().id == 32
    store.commit()
    after = _new()
    after.load(_as_rows(store))
    after.begin()
    assert after.tables["thing"].insert().id > 32


def test_a_unique_index_that_stored_rows_break_refuses_the_start() -> None:
    """The operator is told which rows, not shown a stack."""
    store = _new()
    with pytest.raises(Refusal) as caught:
        store.load({"named": [("a", 1), ("b", 1)]})
    assert caught.value.code == "schema_conflict"
    assert "named already has a row with a = 1" in caught.value.message


def test_declarations_of_a_store() -> None:
    """By table name."""
    assert set(schema_of(_new())) == {"thing", "named", SEQUENCE_TABLE}


_small = st.integers(0, 3)
_maybe = st.none() | _small
_key = st.integers(1, 12)


class StoreMachine(RuleBasedStateMachine):
    """The store with all kinds of index, undo and savepoints, against dicts of tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.store = _new()
        self.model: dict[int, tuple[Any, ...]] = {}
        self.committed: dict[int, tuple[Any, ...]] = {}
        self.marks: list[tuple[Any, dict[int, tuple[Any, ...]]]] = []
        self.stored: list[list[Change]] = []
        self.states: list[dict[int, tuple[Any, ...]]] = [{}]
        self.given: set[int] = set()
        self.reserved_in_log = 0

    @initialize()
    def start(self) -> None:
        """Begin a call."""
        self.store.begin()

    @property
    def things(self) -> Any:
        """The table under test."""
        return self.store.tables["thing"]

    def _breaks(self, key: int, row: tuple[Any, ...]) -> bool:
        a, _, u, v = row[1:]
        others = [r for k, r in self.model.items() if k != key]
        taken = u is not None and any(r[3] == u for r in others)
        pair = a is not None and v is not None and any((r[1], r[4]) == (a, v) for r in others)
        return taken or pair

    @rule(a=_maybe, b=_small, u=_maybe, v=_maybe)
    def insert(self, a: int | None, b: int, u: int | None, v: int | None) -> None:
        """Insert under an automatic id."""
        try:
            key = self.things.insert(a=a, b=b, u=u, v=v).id
        except ConstraintError:
            assert self._breaks(-1, (-1, a, b, u, v))
            return
        assert not self._breaks(-1, (-1, a, b, u, v))
        assert key not in self.given, "an id is handed out once"
        self.given.add(key)
        self.model[key] = (key, a, b, u, v)

    @rule(key=_key, b=_small, u=_maybe)
    def insert_chosen(self, key: int, b: int, u: int | None) -> None:
        """Insert under an id of one's own."""
        try:
            self.things.insert(id=key, b=b, u=u)
        except ConstraintError:
            assert key in self.model or self._breaks(key, (key, None, b, u, None))
            return
        assert key not in self.model
        self.model[key] = (key, None, b, u, None)

    @rule(key=_key, change=st.dictionaries(st.sampled_from("abuv"), _small, max_size=4), rekey=st.none() | _key)
    def update(self, key: int, change: dict[str, int], rekey: int | None) -> None:
        """Change columns, sometimes the key as well."""
        wanted: dict[str, int] = dict(change) if rekey is None else {**change, "id": rekey}
        old = self.model.get(key)
        try:
            row = self.things.update(key, **wanted)
        except SenderError as error:
            if error.code == "not_found":
                assert old is None
                return
            assert old is not None
            new = self._changed(old, wanted)
            assert (new[0] != key and new[0] in self.model) or self._breaks(key, new)
            return
        assert old is not None
        del self.model[key]
        self.model[row.id] = self._changed(old, wanted)

    @staticmethod
    def _changed(old: tuple[Any, ...], wanted: dict[str, int]) -> tuple[Any, ...]:
        names = ("id", "a", "b", "u", "v")
        return tuple(wanted.get(name, value) for name, value in zip(names, old, strict=True))

    @rule(key=_key)
    def delete(self, key: int) -> None:
        """Delete, whether or not it is there."""
        assert self.things.delete(key) == (self.model.pop(key, None) is not None)

    @rule()
    def open_savepoint(self) -> None:
        """Go into a part that may be undone alone."""
        point = self.store.savepoint()
        point.__enter__()
        self.marks.append((point, dict(self.model)))

    @precondition(lambda self: self.marks)
    @rule(fails=st.booleans())
    def leave_savepoint(self, fails: bool) -> None:
        """Come out of it, in order or by an error."""
        point, model = self.marks.pop()
        point.__exit__(*((ValueError, ValueError(), None) if fails else (None, None, None)))
        if fails:
            self.model = model

    @precondition(lambda self: not self.marks)
    @rule()
    def commit(self) -> None:
        """End the call; its net changes lead from the state before to the state after."""
        changes = self.store.commit()
        replayed = dict(self.committed)
        assert len({(c[0].name, c[1]) for c in changes}) == len(changes), "one change per row"
        for table, key, old, new in changes:
            assert old is not None or new is not None
            if table.name != "thing":
                continue
            assert replayed.pop(key, None) == (None if old is None else _tuple(old))
            if new is not None:
                replayed[key] = _tuple(new)
        assert replayed == self.model
        self.committed = dict(self.model)
        self.stored.append(changes)
        self.states.append(self.committed)
        self.store.begin()

    @precondition(lambda self: not self.marks)
    @rule()
    def rollback(self) -> None:
        """The call failed."""
        self.store.rollback()
        self.model = dict(self.committed)
        self.store.begin()

    @precondition(lambda self: not self.marks)
    @rule(count=st.integers(1, 3))
    def undo_stored(self, count: int) -> None:
        """The storage failed: commits are taken back."""
        self.store.rollback()
        for _ in range(min(count, len(self.stored))):
            self.store.undo(self.stored.pop())
            self.states.pop()
        self.committed = dict(self.states[-1])
        self.model = dict(self.committed)
        # Nobody has seen the ids of what was taken back.
        self.given.clear()
        self.store.begin()

    @precondition(lambda self: not self.marks)
    @rule()
    def crash(self) -> None:
        """Only what was committed is left; ids handed out before are not handed out again."""
        self.store.rollback()
        rows = _as_rows(self.store)
        self.store = _new()
        self.store.load(rows)
        self.model = dict(self.committed)
        self.stored, self.states = [], [self.committed]
        self.given = set(self.committed)
        self.store.begin()

    @invariant()
    def rows_are_the_model(self) -> None:
        """Rows, lookups and counts."""
        rows = sorted(self.model.values())
        assert [_tuple(r) for r in self.things] == rows
        for a in (None, 0, 1, 2, 3):
            assert [_tuple(r) for r in self.things.where(a=a)] == [r for r in rows if r[1] == a]
            assert self.things.count(a=a, b=1) == sum(r[1] == a and r[2] == 1 for r in rows)
            assert [_tuple(r) for r in self.things.where(u=a)] == [r for r in rows if r[3] == a]

    @invariant()
    def indexes_are_the_model(self) -> None:
        """Every entry of every index, no more and no fewer."""
        names = ("id", "a", "b", "u", "v")
        for each in self.things.index_list:
            at = [names.index(c) for c in each.columns]
            wanted = {
                (tuple(row[i] for i in at), key)
                for key, row in self.model.items()
                if all(row[i] is not None for i in at)
            }
            found = [
                (value if isinstance(value, tuple) else (value,), key)
                for value, key in ([*each.items()] if not isinstance(each, OrderedIndex) else each.items())
            ]
            assert len(found) == len(wanted)
            assert set(found) == wanted
            if isinstance(each, HashIndex):
                assert all(len(bucket) > 1 for bucket in each.many.values())


def _tuple(row: Any) -> tuple[Any, ...]:
    return row.id, row.a, row.b, row.u, row.v


TestStore = StoreMachine.TestCase
TestStore.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
