"""``reactor.table``: rows, keys, lookups, and what a rule refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor.columns import I128, U32, Json
from reactor.errors import ConstraintError, InvariantError, SenderError
from reactor.limits import DEFAULT_LIMITS
from reactor.schema import declare_table, index, primary_key
from reactor.store import SEQUENCE_SCHEMA, Store
from reactor.table import Table


class Monster:
    """Rows to try everything on."""

    id: int = primary_key(auto=True)
    zone: int = 0
    hp: int | None = 10
    name: str | None = None
    state: Json = 0


class Small:
    """A narrow automatic id."""

    id: U32 = primary_key(auto=True)


class Wide:
    """A key that the log writes as text."""

    id: I128 = primary_key()
    amount: I128 = 0


def _store() -> Store:
    schemas = [
        SEQUENCE_SCHEMA,
        declare_table(
            Monster,
            indexes=["zone", index("zone", "hp"), index("hp", ordered=True), index("zone", "hp", ordered=True)],
            unique=["name"],
        ),
        declare_table(Small),
        declare_table(Wide),
    ]
    return Store(schemas, {s.name: i + 1 for i, s in enumerate(schemas)}, DEFAULT_LIMITS)


@pytest.fixture
def store() -> Iterator[Store]:
    """A store with a call open."""
    made = _store()
    made.begin()
    yield made


@pytest.fixture
def monsters(store: Store) -> Table[Any]:
    """The table most tests use."""
    return store.tables["monster"]


def test_insert_get_update_delete(monsters: Table[Any]) -> None:
    """The four things one does with rows."""
    row: Any = monsters.insert(zone=3)
    assert (row.id, row.zone, row.hp, row.name) == (1, 3, 10, None)
    assert monsters.get(1) == row
    assert 1 in monsters
    assert len(monsters) == 1
    newer: Any = monsters.update(row, hp=5)
    assert (newer.hp, row.hp) == (5, 10)
    again: Any = monsters.update(row, zone=4)
    assert again.hp == 5, "changes apply to the row as it stands, not to the old copy"
    assert monsters.update(1, zone=4) is monsters.get(1), "nothing changed, so nothing is new"
    assert monsters.delete(1)
    assert not monsters.delete(newer)
    assert monsters.get(1) is None


def _error(act: Callable[[], Any]) -> Any:
    with pytest.raises(SenderError) as caught:
        act()
    return caught.value


def test_breaches_name_table_column_and_value(monsters: Table[Any]) -> None:
    """Whoever reads the error can mend the request."""
    monsters.insert(name="ann")
    taken = _error(lambda: monsters.insert(name="ann"))
    assert (taken.code, taken.details) == (
        "unique_violation",
        {"table": "monster", "column": "name", "value": "ann"},
    )
    key = _error(lambda: monsters.insert(id=1))
    assert (key.code, key.details["column"], key.details["value"]) == ("unique_violation", "id", 1)
    value = _error(lambda: monsters.insert(hp="many"))
    assert (value.code, value.details) == ("bad_value", {"table": "monster", "column": "hp", "value": "many"})
    other = _error(lambda: monsters.update(1, hp=1 << 63))
    assert (other.code, other.details["column"]) == ("bad_value", "hp")
    unknown = _error(lambda: monsters.update(1, hitpoints=1))
    assert (unknown.code, unknown.details["column"]) == ("unknown_column", "hitpoints")
    assert "id, zone, hp, name, state" in unknown.message
    assert _error(lambda: monsters.insert(hitpoints=1)).code == "unknown_column"
    assert _error(lambda: monsters.where(hitpoints=1)).code == "unknown_column"
    missing = _error(lambda: monsters.update(99, hp=1))
    assert (missing.code, missing.details) == ("not_found", {"table": "monster"})
    assert _error(lambda: monsters.require(99)).code == "not_found"


def test_long_values_are_cut_in_messages(monsters: Table[Any]) -> None:
    """An error does not carry a megabyte back."""
    monsters.insert(name="x" * 100_000)
    taken = _error(lambda: monsters.insert(name="x" * 100_000))
    assert len(taken.message) < 300
    assert len(_error(lambda: monsters.insert(hp="x" * 100_000)).message) < 300


def test_required_columns() -> None:
    """A column without a default has to be given."""

    class Plain:
        id: int = primary_key(auto=True)
        hp: int

    schemas = [SEQUENCE_SCHEMA, declare_table(Plain)]
    store = Store(schemas, {s.name: i + 1 for i, s in enumerate(schemas)}, DEFAULT_LIMITS)
    store.begin()
    error = _error(store.tables["plain"].insert)
    assert (error.code, error.details["column"]) == ("bad_value", "hp")


def test_rows_come_in_key_order(monsters: Table[Any]) -> None:
    """A reducer's behaviour depends on the data, not on the history of a dict."""
    for key in (5, 2, 9, 1):
        monsters.insert(id=key, zone=1, hp=key % 2)
    monsters.delete(2)
    monsters.insert(id=2, zone=1, hp=0)
    assert [r.id for r in monsters] == [1, 2, 5, 9]
    assert [r.id for r in monsters.where(zone=1)] == [1, 2, 5, 9]
    assert [r.id for r in monsters.where(zone=1, hp=1)] == [1, 5, 9]
    first = monsters.first(hp=1)
    assert first is not None
    assert first.id == 1
    assert monsters.first(hp=77) is None


def test_a_table_may_change_while_it_is_gone_through(monsters: Table[Any]) -> None:
    """Rows deleted meanwhile are left out; new ones are not met."""
    for _ in range(4):
        monsters.insert()
    seen = []
    for row in monsters:
        seen.append(row.id)
        monsters.delete(row.id + 1)
        monsters.insert()
    assert seen == [1, 3]


def test_where_and_count_agree_whatever_index_there_is(monsters: Table[Any]) -> None:
    """By primary key, hash index, composite index, part of an index, no index, and for NULL."""
    for i in range(30):
        monsters.insert(zone=i % 3, hp=None if i % 5 == 0 else i % 4, name=f"n{i}", state=i % 2)
    rows = list(monsters)
    wanted: list[dict[str, Any]] = [
        {"id": 7},
        {"zone": 1},
        {"zone": 1, "hp": 2},
        {"hp": 2, "zone": 1},
        {"zone": 1, "state": 0},
        {"id": 7, "zone": 1},
        {"id": 7, "zone": 9},
        {"state": 1},
        {"hp": None},
        {"zone": 1, "hp": None},
        {"name": "n3"},
        {"name": None},
        {"zone": 77},
    ]
    for values in wanted:
        expected = [r for r in rows if all(getattr(r, k) == v for k, v in values.items())]
        assert monsters.where(**values) == expected, values
        assert monsters.count(**values) == len(expected), values
        assert monsters.lookup(tuple(values), tuple(values.values())) == expected
    assert monsters.count() == 30


def test_ranges(monsters: Table[Any]) -> None:
    """By an ordered index, with and without a prefix; a range nobody declared says what to declare."""
    for hp in (5, None, 3, 9, 3):
        monsters.insert(zone=1, hp=hp)
    assert [r.hp for r in monsters.range("hp", 3, 5)] == [3, 3, 5]
    assert [r.id for r in monsters.range("hp", 3, 5, include=(False, True), reverse=True)] == [1]
    assert [r.hp for r in monsters.range("hp", zone=1, low=4)] == [5, 9]
    assert [r.hp for r in monsters.range("zone", 1, 1)] == [3, 3, 5, 9], "an index also serves its first column alone"
    error = _error(lambda: monsters.range("name"))
    assert "index('name', ordered=True)" in error.message


def test_ensure_hash_index(monsters: Table[Any]) -> None:
    """A derived index finds what was there before and what came after."""
    monsters.insert(name="a", hp=1)
    monsters.ensure_hash_index(("name", "hp"))
    monsters.ensure_hash_index(("name", "hp"))
    monsters.ensure_hash_index(("id",))
    count = len(monsters.index_list)
    monsters.insert(name="b", hp=1)
    assert [r.id for r in monsters.where(name="b", hp=1)] == [2]
    assert monsters.count(name="a", hp=1) == 1
    monsters.ensure_hash_index(("zone",))
    assert len(monsters.index_list) == count, "there is one already"


def test_a_key_may_change(monsters: Table[Any]) -> None:
    """The row moves; a taken key or a refused row leaves everything as it was, also if the error is caught."""
    monsters.insert(id=1, name="a")
    monsters.insert(id=2, name="b")
    assert monsters.update(1, id=7, hp=3).id == 7
    assert monsters.get(1) is None
    assert [r.id for r in monsters.where(name="a")] == [7]
    for change in ({"id": 2}, {"id": 8, "name": "b"}):
        assert _error(lambda change=change: monsters.update(7, **change)).code == "unique_violation"  # type: ignore[misc]
        assert [r.id for r in monsters] == [2, 7]
        assert [r.id for r in monsters.where(name="a")] == [7]


def test_json_true_is_not_one(store: Store, monsters: Table[Any]) -> None:
    """1, 1.0 and true are equal to Python and three things to everybody else."""
    monsters.insert(id=1, state={"on": 1})
    store.commit()
    for value in (True, 1.0, 1):
        store.begin()
        monsters.update(1, state={"on": value})
        changes = store.commit()
        assert len(changes) == 1
        assert type(changes[0][3].state["on"]) is type(value)
    store.begin()
    monsters.delete(1)
    monsters.insert(id=1, state={"on": True})
    assert len(store.commit()) == 1


def test_nothing_changes_outside_a_call(store: Store, monsters: Table[Any]) -> None:
    """Nothing can get past the log, and a call inside a call is a defect."""
    monsters.insert()
    store.commit()
    for change in (monsters.insert, lambda: monsters.update(1, hp=1), lambda: monsters.delete(1)):
        with pytest.raises(InvariantError, match="outside"):
            change()
    assert [r.hp for r in monsters] == [10]
    store.begin()
    with pytest.raises(InvariantError, match="already"):
        store.begin()


def test_ids_end_where_the_column_ends(store: Store) -> None:
    """No id past the column's range is ever stored, and the table that is full says so."""
    small = store.tables["small"]
    small.insert(id=(1 << 32) - 1)
    error = _error(small.insert)
    assert error.code == "bad_value"
    assert "no automatic ids left" in error.message
    assert len(small) == 1
    monsters = store.tables["monster"]
    monsters.insert(id=(1 << 63) - 1)
    assert "no automatic ids left" in _error(monsters.insert).message


def test_wide_keys_in_the_log(store: Store) -> None:
    """Wide integers are text in the log and come back as they were."""
    wide = store.tables["wide"]
    row = wide.insert(id=-(1 << 100), amount=1 << 120)
    assert wide.log_key(row.id) == str(-(1 << 100))
    assert wide.log_row(row) == [str(-(1 << 100)), str(1 << 120)]
    assert wide.row_from_log(wide.log_row(row)) == row
    monsters = store.tables["monster"]
    one = monsters.insert()
    assert monsters.log_row(one) is one
    assert monsters.log_key(5) == 5


def test_loading_checks_uniqueness() -> None:
    """Rows that break a unique index are found when they are loaded."""
    table = _store().tables["monster"]
    table.load([(1, 0, 1, "a", None), (2, 0, 1, None, None), (3, 0, 1, None, None)])
    assert [r.id for r in table.where(zone=0)] == [1, 2, 3]
    with pytest.raises(InvariantError, match="once"):
        table.load([])
    with pytest.raises(ConstraintError, match="name = 'a'"):
        _store().tables["monster"].load([(1, 0, 1, "a", None), (2, 0, 1, "a", None)])
