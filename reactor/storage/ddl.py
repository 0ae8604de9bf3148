"""The SQL tables that stand for declared tables: their statements, and how rows of other versions fit them.

sqlite-utils writes the statements, on a database of its own in memory, and we run them where they belong:
that connection may sit on a simulated disk that sqlite-utils could not open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sqlite_utils

from reactor.columns import Column, log_value, memory_value, sql_converter
from reactor.schema import Fill, TableSchema, fill, fills_needed, stored_default
from reactor.storage.connection import Connection
from reactor.storage.log import StoredSchema

Upgrade = Callable[[list[Any]], list[Any]]


def quoted(name: str) -> str:
    """A declared name as SQL; declared names hold no quotes."""
    return f'"{name}"'


def sql_type(schema: TableSchema, column: Column) -> type:
    """What sqlite-utils is told about a column. Automatic ids count up from 1, so they fit SQLite's own row id
    whatever width they were declared with."""
    return int if schema.auto and column.name == schema.primary_key else column.type.sql


def index_name(table: str, columns: tuple[str, ...]) -> str:
    """Names an index by what it covers; declared names cannot hold these signs, so none can clash."""
    return f"{table}({','.join(columns)})"


def wanted_indexes(schema: TableSchema) -> dict[str, tuple[str, ...]]:
    """Index name -> columns. Unique ones are plain here: memory enforces them, and the projection may pass
    through states that memory never showed, because it keeps only the latest version of each row."""
    columns = {i.columns for i in schema.indexes if i.columns != (schema.primary_key,)}
    return {index_name(schema.name, c): c for c in sorted(columns)}


def create_statements(schema: TableSchema) -> list[str]:
    """The statements that create the table and its indexes."""
    columns = {c.name: sql_type(schema, c) for c in schema.columns}
    memory = _scratch()
    memory.table(schema.name).create(columns, pk=schema.primary_key)
    table = memory.table(schema.name).schema.rstrip().rstrip(";")
    if columns[schema.primary_key] is not int:
        table += " WITHOUT ROWID"
    return [table, *_index_statements(memory, schema, wanted_indexes(schema))]


def _scratch() -> sqlite_utils.Database:
    return sqlite_utils.Database(memory=True, execute_plugins=False)


def _index_statements(
    memory: sqlite_utils.Database, schema: TableSchema, indexes: Mapping[str, tuple[str, ...]]
) -> list[str]:
    for name, columns in indexes.items():
        memory.table(schema.name).create_index(list(columns), index_name=name)
    return [sql for (sql,) in memory.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")]


def alter_statements(connection: Connection, schema: TableSchema, default_of: Callable[[Column], Any]) -> list[str]:
    """The statements that bring the existing table to ``schema``: new columns at its end, indexes as declared.

    ``default_of`` gives the value, in log form, that a new column has in the rows that exist.
    """
    statements = []
    existing = {row[1] for row in connection.execute(f"PRAGMA table_info({quoted(schema.name)})")}
    memory = _scratch()
    memory.table(schema.name).create(dict.fromkeys(existing, str))
    for column in schema.columns:
        if column.name not in existing:
            add = _add_column(memory, schema, column)
            # sqlite-utils guesses what a default in text form means; SQLite's quote() does not.
            convert = sql_converter(column.type) or (lambda value: value)
            value = connection.execute("SELECT quote(?)", (convert(default_of(column)),))[0][0]
            statements.append(f"{add} DEFAULT {value}")
    wanted = wanted_indexes(schema)
    present = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL",
        (schema.name,),
    )
    names = {name for (name,) in present}
    statements += [f"DROP INDEX {quoted(name)}" for name in sorted(names - wanted.keys())]
    missing = {name: columns for name, columns in wanted.items() if name not in names}
    return statements + _index_statements(memory, schema, missing)


def _add_column(memory: sqlite_utils.Database, schema: TableSchema, column: Column) -> str:
    traced: list[str] = []
    with memory.tracer(lambda sql, _: traced.append(sql)):
        memory.table(schema.name).add_column(column.name, sql_type(schema, column))
    return next(sql for sql in traced if sql.startswith("ALTER")).rstrip().rstrip(";")


def default_since(history: Mapping[int, StoredSchema], schema_no: int, number: int, column: str) -> Any:
    """The value, in log form, that ``column`` has in rows written under ``schema_no``, before it existed.

    It is the default of the version that introduced the column, whatever was declared later: a rebuild from
    the log then gives the very rows that an upgrade in place gave.
    """
    for later in sorted(n for n in history if n > schema_no):
        schema = history[later].tables.get(number)
        if schema is not None and column in schema.column_names:
            return stored_default(schema.column(column))
    raise KeyError(column)


def row_upgrade(
    history: Mapping[int, StoredSchema],
    schema_no: int,
    target_no: int,
    number: int,
    filled: Mapping[str, Fill] | None = None,
) -> Upgrade | None:
    """A function from rows (log form) of version ``schema_no`` to version ``target_no``; None if equal.

    ``filled`` computes the columns that have no default.
    """
    old, new = history[schema_no].tables[number], history[target_no].tables[number]
    before, after = old.column_names, new.column_names
    fills = fills_needed(old, new, filled or {})
    if before == after and not fills:
        return None
    picks = [
        (before.index(name), None) if name in before else (-1, default_since(history, schema_no, number, name))
        for name in after
    ]

    def pick(row: list[Any]) -> list[Any]:
        return [row[place] if place >= 0 else default for place, default in picks]

    return (lambda row: filled_row(new, pick(row), fills)) if fills else pick


def filled_row(schema: TableSchema, row: list[Any], fills: Mapping[str, Fill]) -> list[Any]:
    """The row (log form) with what ``fills`` compute; see ``reactor.schema.fill``."""
    values = [memory_value(c.type, v) for c, v in zip(schema.columns, row, strict=True)]
    for name, value in fill(schema, values, fills):
        row[schema.column_names.index(name)] = log_value(schema.column(name).type, value)
    return row
