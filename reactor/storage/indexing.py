"""Derived indexes in the projection: their SQL tables, the triggers that keep them, and the mark.

For each declared index the projection has a narrow table, a manifest table and triggers on the table it is derived
from. The triggers are part of the file: whoever writes a row, by whatever statement, writes its index row and its
manifest in the same transaction.

Triggers know nothing of rows that were there before them. So an index is *trusted* only if its mark, a row of
``reactor_index_mark``, names the version of the code. A table that is empty when its triggers are made gets the mark
at once; any other gets it from ``reactor.storage.backfill``. Whenever one of the SQL objects is not exactly what this
code makes, they are made anew and the mark is taken away first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from reactor.derived import DerivedIndex
from reactor.schema import TableSchema
from reactor.storage.connection import Connection, transaction
from reactor.storage.ddl import index_name, quoted

MARK_TABLE = "reactor_index_mark"
CURSOR_TABLE = "reactor_index_cursor"

_META = (
    f"CREATE TABLE IF NOT EXISTS {MARK_TABLE}"
    " (name TEXT PRIMARY KEY, version INTEGER, at INTEGER, processed INTEGER) WITHOUT ROWID",
    f"CREATE TABLE IF NOT EXISTS {CURSOR_TABLE} (name TEXT PRIMARY KEY, run TEXT, history TEXT, version INTEGER,"
    " last_id INTEGER, processed INTEGER, conflicts INTEGER) WITHOUT ROWID",
)


class Mark(NamedTuple):
    """That an index covers every row: as of which version of the code, since when (µs), and how many rows a backfill
    went through for it (0: the table was empty)."""

    version: int
    at: int
    processed: int


# -- what is derived -----------------------------------------------------------------------------


def keys_expression(index: DerivedIndex, row: str) -> str:
    """SQL for the keys of a row as the manifest lists them: ``\\nname=value`` for each that is not NULL.

    ``row`` is what stands before a column's name, such as ``NEW.``. Only operators: see ``reactor.derived``.
    """
    return "||".join(f"coalesce('\n{name}='||{row}{quoted(name)},'')" for name in index.columns)


def entry_columns(index: DerivedIndex, row: str) -> str:
    """SQL for the values of an index row."""
    return ", ".join(f"{row}{quoted(name)}" for name in index.columns)


def _upserts(index: DerivedIndex, key: str, changed: Iterable[str]) -> str:
    names = [quoted(name) for name in index.columns]
    changes = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in changed)
    return (
        f"  INSERT INTO {quoted(index.name)} (id, {', '.join(names)})"
        f" VALUES (NEW.{key}, {entry_columns(index, 'NEW.')}) ON CONFLICT (id) DO UPDATE SET {changes};\n"
        f"  INSERT INTO {quoted(index.manifest)} (id, version, keys)"
        f" VALUES (NEW.{key}, {index.version}, {keys_expression(index, 'NEW.')})"
        " ON CONFLICT (id) DO UPDATE SET version = excluded.version, keys = excluded.keys;\n"
    )


def _differ(columns: Iterable[str]) -> str:
    return " OR ".join(f"NEW.{quoted(name)} IS NOT OLD.{quoted(name)}" for name in columns)


def objects(index: DerivedIndex, schema: TableSchema) -> dict[str, str]:
    """Name -> the statement that makes it, in the order in which they can be made."""
    columns = ", ".join(quoted(column) for column in index.columns)
    name, manifest = quoted(index.name), quoted(index.manifest)
    made = {
        index.name: f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, {columns})",
        index.manifest: f"CREATE TABLE {manifest} (id INTEGER PRIMARY KEY, version INTEGER, keys TEXT)",
    }
    for spec in index.indexes:
        at = index_name(index.name, spec.names)
        where = f" WHERE {quoted(spec.names[0])} IS NOT NULL" if spec.partial else ""
        ordered = ", ".join(_direction(column) for column in spec.columns)
        made[at] = f"CREATE INDEX {quoted(at)} ON {name} ({ordered}){where}"
    return made | dict(_triggers(index, quoted(schema.primary_key)))


def _direction(column: str) -> str:
    bare = column.removesuffix(" DESC")
    return quoted(bare) + column[len(bare) :]


def _triggers(index: DerivedIndex, key: str) -> Iterator[tuple[str, str]]:
    def trigger(kind: str, event: str, body: str, when: str = "") -> tuple[str, str]:
        at = f"{index.name}_{kind}"
        condition = f" WHEN {when}" if when else ""
        return at, f"CREATE TRIGGER {quoted(at)} AFTER {event} ON {quoted(index.table)}{condition} BEGIN\n{body}END"

    changes = f"UPDATE OF {', '.join(quoted(column) for column in index.columns)}"
    ordering, rest = index.ordering, [column for column in index.columns if column not in index.ordering]
    moved = _differ(ordering)
    yield trigger("insert", "INSERT", _upserts(index, key, index.columns))
    if ordering:
        yield trigger("update", changes, _upserts(index, key, index.columns), moved)
    if rest:
        # Most steps change nothing that an SQL index holds: then none of them is touched.
        still = f"NOT ({moved}) AND ({_differ(rest)})" if ordering else _differ(rest)
        yield trigger("touch", changes, _upserts(index, key, rest), still)
    gone = "".join(f"  DELETE FROM {quoted(name)} WHERE id = OLD.{key};\n" for name in (index.name, index.manifest))
    yield trigger("delete", "DELETE", gone)


# -- making it -----------------------------------------------------------------------------------


def adopt_indexes(
    connection: Connection, indexes: Iterable[DerivedIndex], schemas: Iterable[TableSchema], now_us: int
) -> frozenset[DerivedIndex]:
    """Bring the SQL objects of every index to what is declared; returns those that can be trusted.

    ``now_us`` becomes the time of new marks. The tables that they are derived from exist.
    """
    by_name = {schema.name: schema for schema in schemas}
    trusted = set()
    for index in indexes:
        schema = by_name[index.table]
        if not _is_as_declared(connection, index, schema) or _is_new(connection, index):
            _make(connection, index, schema, now_us)
        if is_trusted(connection, index):
            trusted.add(index)
    return frozenset(trusted)


def _existing(connection: Connection, index: DerivedIndex) -> dict[str, str]:
    sql = (
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND (name = ?1 OR name = ?2 OR tbl_name = ?1"
        " OR (type = 'trigger' AND tbl_name = ?3 AND substr(name, 1, length(?1) + 1) = ?1 || '_'))"
    )
    return dict(connection.execute(sql, (index.name, index.manifest, index.table)))


def _is_as_declared(connection: Connection, index: DerivedIndex, schema: TableSchema) -> bool:
    return _has_meta(connection) and _existing(connection, index) == objects(index, schema)


def _has_meta(connection: Connection) -> bool:
    sql = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name IN (?, ?)"
    return connection.execute(sql, (MARK_TABLE, CURSOR_TABLE)) == [(2,)]


def _is_new(connection: Connection, index: DerivedIndex) -> bool:
    """Whether there is nothing to cover, and nothing says so yet."""
    return read_mark(connection, index.name) is None and not _any_row(connection, index.table)


def _any_row(connection: Connection, table: str) -> bool:
    return bool(connection.execute(f"SELECT 1 FROM {quoted(table)} LIMIT 1"))


def _make(connection: Connection, index: DerivedIndex, schema: TableSchema, now_us: int) -> None:
    wanted = objects(index, schema)
    with transaction(connection):
        for statement in _META:
            connection.execute(statement)
        connection.execute(f"DELETE FROM {MARK_TABLE} WHERE name = ?", (index.name,))
        connection.execute(f"DELETE FROM {CURSOR_TABLE} WHERE name = ?", (index.name,))
        _drop_what_differs(connection, index, wanted)
        existing = _existing(connection, index)
        for name, statement in wanted.items():
            if name not in existing:
                connection.execute(statement)
        if not _any_row(connection, index.table):
            connection.execute(f"DELETE FROM {quoted(index.name)}")
            connection.execute(f"DELETE FROM {quoted(index.manifest)}")
            write_mark(connection, index.name, Mark(index.version, now_us, 0))


def _drop_what_differs(connection: Connection, index: DerivedIndex, wanted: dict[str, str]) -> None:
    """Old index rows stay where their table is the same; their manifests say which version derived them."""
    existing = _existing(connection, index)
    for name, statement in existing.items():
        if statement.startswith("CREATE TRIGGER") and wanted.get(name) != statement:
            connection.execute(f"DROP TRIGGER {quoted(name)}")
    for name in (index.name, index.manifest):
        if name in existing and existing[name] != wanted[name]:
            connection.execute(f"DROP TABLE {quoted(name)}")
    for name, statement in _existing(connection, index).items():
        if statement.startswith("CREATE INDEX") and wanted.get(name) != statement:
            connection.execute(f"DROP INDEX {quoted(name)}")


# -- the mark ------------------------------------------------------------------------------------


def read_mark(connection: Connection, name: str) -> Mark | None:
    """The mark of an index, whichever version it is of; None if there is none."""
    if not _has_meta(connection):
        return None
    found = connection.execute(f"SELECT version, at, processed FROM {MARK_TABLE} WHERE name = ?", (name,))
    return Mark(*found[0]) if found else None


def write_mark(connection: Connection, name: str, mark: Mark) -> None:
    """Store a mark; the caller has a transaction open, and knows that it is true."""
    connection.execute(f"INSERT OR REPLACE INTO {MARK_TABLE} VALUES (?, ?, ?, ?)", (name, *mark))


def is_trusted(connection: Connection, index: DerivedIndex) -> bool:
    """Whether the index covers every row, as this version of the code derives it."""
    mark = read_mark(connection, index.name)
    return mark is not None and mark.version == index.version


def index_tables(indexes: Iterable[DerivedIndex]) -> Iterator[str]:
    """The SQL tables that belong to the indexes, for whoever may look at them."""
    found = False
    for index in indexes:
        found = True
        yield from (index.name, index.manifest)
    if found:
        yield from (MARK_TABLE, CURSOR_TABLE)
