"""Derived indexes in the projection: kept by every write, trusted only when they cover everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reactor.columns import Json
from reactor.derived import DerivedIndex, SqlIndex
from reactor.errors import Refusal
from reactor.schema import declare_table, primary_key
from reactor.storage import Opened
from reactor.storage.connection import OsDisk
from reactor.storage.indexing import index_tables, keys_expression, read_mark
from tests.reactor.storage.support import group, opened


class Monster:
    id: int = primary_key(auto=True)
    zone: int
    mood: str | None = None
    seen: int = 0
    note: str = ""


class Odd:
    key: str = primary_key()
    tree: Json


MONSTER = declare_table(Monster)
INDEX = DerivedIndex(
    "monster_list", "monster", 1, ("zone", "mood", "seen"), (SqlIndex(("zone", "mood DESC")), SqlIndex(("mood",), True))
)


def _open(path: Path, *indexes: DerivedIndex, **options: Any) -> Opened:
    return opened(path, [MONSTER], indexes=indexes, **options)


def _put(store: Opened, *rows: list[Any]) -> None:
    seq = store.log.last_seq + 1
    made = group(seq, [[change for row in rows for change in (1, row)]])
    store.log.append([made])
    store.projection.apply([(store.log.schema_no, made.payload)])


def _delete(store: Opened, key: int) -> None:
    made = group(store.log.last_seq + 1, [[-1, key]])
    store.log.append([made])
    store.projection.apply([(store.log.schema_no, made.payload)])


def _entries(store: Opened) -> list[Any]:
    return store.projection.connection.execute("SELECT * FROM monster_list ORDER BY id")


def _is_exact(store: Opened) -> bool:
    """Whether index and manifest are what the rows say, and nothing else."""
    run = store.projection.connection.execute
    derived = run('SELECT id, zone, mood, seen FROM "monster" ORDER BY id')
    keys = run(f"SELECT id, 1, {keys_expression(INDEX, '')} FROM monster ORDER BY id")
    return _entries(store) == derived and run("SELECT * FROM monster_list_manifest ORDER BY id") == keys


def test_b01_every_write_writes_its_index_row_and_manifest(tmp_path: Path) -> None:
    """B01, F4: inserts, updates of any column, nulls and deletes."""
    store = _open(tmp_path, INDEX)
    _put(store, [1, 4, "calm", 0, ""], [2, 4, None, 0, ""])
    assert _is_exact(store)
    for row in ([1, 4, "calm", 7, ""], [1, 4, None, 7, ""], [2, 5, "it's\nodd", 8, "x"], [1, 4, None, 7, "only this"]):
        _put(store, row)
        assert _is_exact(store)
    keys = store.projection.connection.execute("SELECT keys FROM monster_list_manifest WHERE id = 1")
    assert keys == [("\nzone=4\nseen=7",)]
    _delete(store, 1)
    assert _is_exact(store)
    assert len(_entries(store)) == 1
    store.release()


def test_b04_a_new_database_is_trusted_at_once(tmp_path: Path) -> None:
    """B04: empty, so covered; it stays trusted with what was written since, also when the projection was lost."""
    store = _open(tmp_path, INDEX, now_us=77)
    assert store.trusted == {INDEX}
    mark = read_mark(store.projection.connection, INDEX.name)
    assert mark == (1, 77, 0)
    _put(store, [1, 4, "calm", 0, ""])
    store.release()
    for name in ("projection.db", "projection.db-wal", "projection.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    again = _open(tmp_path, INDEX)
    assert again.trusted == {INDEX}
    assert _is_exact(again)
    again.release()


def test_b03_rows_that_were_there_before_are_not_covered(tmp_path: Path) -> None:
    """B03, B09: live writes are indexed from now on, but there is no mark."""
    store = _open(tmp_path)
    _put(store, [1, 4, "calm", 0, ""], [2, 4, "calm", 0, ""])
    store.release()
    later = _open(tmp_path, INDEX)
    assert later.trusted == frozenset()
    _put(later, [2, 5, "calm", 0, ""], [3, 4, "calm", 0, ""])
    assert [row[0] for row in _entries(later)] == [2, 3]
    assert read_mark(later.projection.connection, INDEX.name) is None
    later.release()
    assert _open(tmp_path, INDEX).trusted == frozenset()


def test_b03_another_version_is_not_trusted_and_neither_is_the_one_before(tmp_path: Path) -> None:
    """B03: going up and down again must not bring an old mark back to life."""
    store = _open(tmp_path, INDEX)
    _put(store, [1, 4, "calm", 0, ""])
    store.release()
    newer = DerivedIndex(INDEX.name, INDEX.table, 2, INDEX.columns, INDEX.indexes)
    up = _open(tmp_path, newer)
    assert up.trusted == frozenset()
    _put(up, [2, 4, "calm", 0, ""])
    versions = up.projection.connection.execute("SELECT id, version FROM monster_list_manifest")
    assert versions == [(1, 1), (2, 2)]
    up.release()
    down = _open(tmp_path, INDEX)
    assert down.trusted == frozenset()
    down.release()


def test_other_columns_make_the_table_anew(tmp_path: Path) -> None:
    """What was derived by another declaration is not kept under this one."""
    store = _open(tmp_path, INDEX)
    _put(store, [1, 4, "calm", 0, ""])
    store.release()
    narrow = _open(tmp_path, DerivedIndex(INDEX.name, INDEX.table, 2, ("zone",), ()))
    _put(narrow, [2, 5, "calm", 3, ""])
    assert _entries(narrow) == [(2, 5)]
    narrow.release()


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TRIGGER monster_list_touch",
        "DROP TABLE monster_list",
        'DROP INDEX "monster_list(mood)"',
        "DROP TABLE reactor_index_mark",
    ],
)
def test_b09_whoever_tampers_with_it_loses_the_mark(tmp_path: Path, damage: str) -> None:
    """B09: a trigger that was missing for a while has missed writes."""
    store = _open(tmp_path, INDEX)
    _put(store, [1, 4, "calm", 0, ""])
    store.release()
    raw = OsDisk().connect(str(tmp_path / "projection.db"))
    raw.execute(damage)
    raw.close()
    again = _open(tmp_path, INDEX)
    assert again.trusted == frozenset()
    _put(again, [1, 4, "calm", 9, ""], [2, 1, None, 0, ""])
    assert _is_exact(again)
    again.release()


def test_the_file_needs_no_program_to_keep_it(tmp_path: Path) -> None:
    """A statement that nobody of ours wrote, through another connection, is indexed too."""
    store = _open(tmp_path, INDEX)
    _put(store, [1, 4, "calm", 0, ""])
    store.release()
    raw = OsDisk().connect(str(tmp_path / "projection.db"))
    raw.execute("UPDATE monster SET zone = 9")
    raw.execute("INSERT INTO monster (id, zone, seen, note) VALUES (5, 1, 0, '')")
    raw.close()
    again = _open(tmp_path, INDEX)
    assert again.trusted == {INDEX}
    assert _is_exact(again)
    again.release()


def test_what_cannot_be_declared() -> None:
    """The reason is named when it is declared."""
    odd = declare_table(Odd)
    for index, schema in (
        (DerivedIndex("x", "odd", 1, ("tree",)), odd),
        (DerivedIndex("x", "monster", 1, ("id",)), MONSTER),
        (DerivedIndex("x", "monster", 1, ("gone",)), MONSTER),
        (DerivedIndex("x", "monster", 1, ("zone",), (SqlIndex(("seen",)),)), MONSTER),
        (DerivedIndex("X y", "monster", 1, ("zone",)), MONSTER),
    ):
        with pytest.raises(Refusal) as caught:
            index.check(schema)
        assert caught.value.code == "bad_declaration"
    assert list(index_tables([])) == []
    assert "monster_list_manifest" in list(index_tables([INDEX]))
