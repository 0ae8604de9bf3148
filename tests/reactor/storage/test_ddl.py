"""``reactor.storage.ddl``."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from typing import Any

import pytest

from reactor.columns import TYPES, Column
from reactor.schema import Index, TableSchema
from reactor.storage.connection import SqliteConnection
from reactor.storage.ddl import alter_statements, create_statements, default_since, row_upgrade, wanted_indexes
from reactor.storage.log import StoredSchema
from tests.reactor.storage.support import EVERYTHING, ITEM, TICKET


def database(schema: TableSchema) -> SqliteConnection:
    """A database with the schema's table."""
    connection = SqliteConnection(sqlite3.connect(":memory:", isolation_level=None))
    for statement in create_statements(schema):
        connection.execute(statement)
    return connection


def test_affinities() -> None:
    """Each column type gets its affinity; wide integers get none, so that text and integers stay apart."""
    columns = {row[1]: row[2] for row in database(EVERYTHING).execute("PRAGMA table_info(everything)")}
    assert columns == {
        "key": "TEXT",
        "small": "INTEGER",
        "big": "BLOB",
        "huge": "BLOB",
        "ratio": "REAL",
        "half": "REAL",
        "text": "TEXT",
        "raw": "BLOB",
        "flag": "INTEGER",
        "at": "INTEGER",
        "took": "INTEGER",
        "mood": "TEXT",
        "tree": "TEXT",
        "maybe": "INTEGER",
        "maybe_flag": "INTEGER",
        "maybe_mood": "TEXT",
    }


@pytest.mark.parametrize(("schema", "own_key"), [(ITEM, False), (TICKET, False), (EVERYTHING, True)])
def test_integer_and_automatic_keys_are_the_row_id(schema: TableSchema, own_key: bool) -> None:
    """Only other keys need a tree of their own, and then the table has no row id."""
    create = create_statements(schema)[0]
    assert create.endswith("WITHOUT ROWID") is own_key
    assert ("INTEGER PRIMARY KEY" in create) is not own_key


def test_wide_declared_key_is_not_the_row_id() -> None:
    """A u64 key that is not automatic may be past 2^63."""
    schema = replace(TICKET, auto=False)
    connection = database(schema)
    connection.execute("INSERT INTO ticket (id) VALUES (?)", (f"{(1 << 64) - 1:078d}",))
    assert "WITHOUT ROWID" in create_statements(schema)[0]


def test_indexes_are_plain_and_named_by_what_they_cover() -> None:
    """Unique ones too: the projection may pass through states that memory never showed."""
    connection = database(TICKET)
    connection.executemany("INSERT INTO ticket VALUES (?, 1, 'same')", [(1,), (2,)])
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name")
    assert [name for name, _ in found] == ["ticket(code)", "ticket(zone)", "ticket(zone,code)"]
    assert all("UNIQUE" not in sql for _, sql in found)
    plan = connection.execute("EXPLAIN QUERY PLAN SELECT * FROM ticket WHERE zone = 1 AND code > 'a'")
    assert "ticket(zone,code)" in plan[0][3]


def test_indexes_that_would_be_the_same_are_made_once() -> None:
    """Ordered and hash index over the same columns are one in SQL; the key needs none."""
    twice = replace(TICKET, indexes=(Index(("zone",)), Index(("zone",), ordered=True), Index(("id",))))
    assert wanted_indexes(twice) == {"ticket(zone)": ("zone",)}


TRICKY: list[tuple[str, Any, Any]] = [
    ("text", "it's 'quoted'", "it's 'quoted'"),
    ("text", "now()", "now()"),
    ("text", "'x'", "'x'"),
    ("text", "TRUE", "TRUE"),
    ("text", "CURRENT_TIMESTAMP", "CURRENT_TIMESTAMP"),
    ("i64", -(1 << 63), -(1 << 63)),
    ("u256", 1 << 200, f"{1 << 200:078d}"),
    ("f64", 0.1, 0.1),
    ("f64", 1e300, 1e300),
    ("bytes", b"\x00'\xff", b"\x00'\xff"),
    ("bool", True, 1),
    ("json", {"a": ["b)", None]}, '{"a":["b)",null]}'),
]


@pytest.mark.parametrize(("kind", "default", "stored"), TRICKY)
def test_defaults_reach_the_rows_that_exist(kind: str, default: Any, stored: Any) -> None:
    """A new column's default is its value in old rows, whatever it looks like as SQL."""
    connection = database(ITEM)
    connection.execute("INSERT INTO item VALUES (1, 2, 'old')")
    later = replace(ITEM, columns=(Column("extra", TYPES[kind], default=default), *ITEM.columns))
    history = {1: StoredSchema(1, {1: ITEM}), 2: StoredSchema(2, {1: later})}
    for statement in alter_statements(connection, later, lambda c: default_since(history, 1, 1, c.name)):
        connection.execute(statement)
    assert connection.execute("SELECT extra, id, value, name FROM item") == [(stored, 1, 2, "old")]
    assert alter_statements(connection, later, lambda c: None) == []


def test_indexes_follow_the_declaration() -> None:
    """New ones are built over the rows that exist, those no longer declared go."""
    connection = database(TICKET)
    later = replace(TICKET, indexes=(Index(("code", "zone")), Index(("zone",))))
    for statement in alter_statements(connection, later, lambda c: None):
        connection.execute(statement)
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY name")
    assert [name for (name,) in found] == ["ticket(code,zone)", "ticket(zone)"]


def test_rows_of_older_versions_are_brought_up() -> None:
    """Columns are matched by name, and a new one has the default it was introduced with, not a later one."""
    two = replace(ITEM, columns=(Column("rank", TYPES["i64"], default=5), *ITEM.columns))
    three = replace(two, columns=(*two.columns[1:], replace(two.columns[0], default=9)))
    history = {n: StoredSchema(n, {1: s}) for n, s in ((1, ITEM), (2, two), (3, three))}
    upgrade = row_upgrade(history, 1, 3, 1)
    assert upgrade is not None
    assert upgrade([1, 2, "a"]) == [1, 2, "a", 5]
    upgrade = row_upgrade(history, 2, 3, 1)
    assert upgrade is not None
    assert upgrade([7, 1, 2, "a"]) == [1, 2, "a", 7]
    assert row_upgrade(history, 3, 3, 1) is None
    with pytest.raises(KeyError):
        default_since(history, 3, 1, "nowhere")
