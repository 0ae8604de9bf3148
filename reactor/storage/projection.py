"""The projection: one ordinary SQL table for each declared table, and the seq it has reached.

Both change in one transaction, so whoever reads the file sees the tables as they were after exactly that
commit. Many commits are applied at once and only the latest version of a row is written.

**What is durable.** The file is in WAL mode with ``synchronous=NORMAL``: a power cut may take back the
newest transactions, never part of one. That is safe as long as the log still holds them. So the log may be
trimmed only up to ``durable_seq``: the seq that was reached when a checkpoint began that then moved the whole
WAL into the file, because only a checkpoint syncs, first the WAL and then the file. Neither a commit here
nor a checkpoint cut short by a reader moves ``durable_seq``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from reactor.columns import Check, log_value, memory_converter, sql_converter
from reactor.errors import Refusal
from reactor.schema import Fill, TableSchema, fill, fills_needed
from reactor.storage.api import Alive
from reactor.storage.connection import Connection, DiskError, Rows, checkpoint, configure, transaction
from reactor.storage.ddl import (
    Upgrade,
    alter_statements,
    create_statements,
    default_since,
    quoted,
    row_upgrade,
)
from reactor.storage.log import StoredSchema

_CACHE_KIB = 65_536
_FILL_ROWS = 10_000
_META = "CREATE TABLE IF NOT EXISTS reactor_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID"
_SET_META = "INSERT INTO reactor_meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

decode_commits = msgspec.msgpack.Decoder().decode
"""From a group's payload to its commits, each a list as described in ``reactor.storage.api``."""

Latest = dict[Any, list[Any] | None]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is done with rows of one table, compiled once."""

    upsert: str
    delete: str
    convert: tuple[tuple[int, Check], ...]
    convert_key: Check | None


def _plan(schema: TableSchema) -> _Plan:
    names = [quoted(name) for name in schema.column_names]
    key = quoted(schema.primary_key)
    changes = ", ".join(f"{name} = excluded.{name}" for name in names if name != key)
    table = quoted(schema.name)
    converters = ((i, sql_converter(c.type)) for i, c in enumerate(schema.columns))
    return _Plan(
        upsert=f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        f" ON CONFLICT ({key}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}",
        delete=f"DELETE FROM {table} WHERE {key} = ?",
        convert=tuple((i, convert) for i, convert in converters if convert is not None),
        convert_key=sql_converter(schema.column(schema.primary_key).type),
    )


class Projection:
    """The projection on one connection, the only one that writes the file.

    ``reached_seq`` and ``reached_at_us`` belong to the newest commit it holds, ``durable_seq`` to the newest
    that a completed checkpoint made safe since this object exists.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        configure(connection, "NORMAL", _CACHE_KIB)
        connection.execute(_META)
        self.meta: dict[str, Any] = dict(connection.execute("SELECT name, value FROM reactor_meta"))
        self.reached_seq: int = self.meta.get("reached_seq", 0)
        self.reached_at_us: int = self.meta.get("reached_at_us", 0)
        self.durable_seq = 0
        self.schema = StoredSchema(0, {})
        self._history: Mapping[int, StoredSchema] = {}
        self._plans: dict[int, _Plan] = {}
        self._shapes: dict[tuple[int, int], tuple[int, Upgrade | None]] = {}
        self._filled: Mapping[str, Mapping[str, Fill]] = {}
        self._wal_rows = 0

    @property
    def alive(self) -> Alive | None:
        """The last heartbeat, if there was one."""
        if "alive_wall_us" not in self.meta:
            return None
        return Alive(self.meta["alive_wall_us"], self.meta["alive_world_us"])

    def mark_alive(self, wall_us: int, world_us: int) -> None:
        """Store a heartbeat; it is not synced."""
        values = {"alive_wall_us": wall_us, "alive_world_us": world_us}
        with transaction(self.connection):
            self.connection.executemany(_SET_META, values.items())
        self.meta.update(values)
        self._wal_rows += 1

    # -- declarations ------------------------------------------------------------------------

    def adopt(
        self,
        history: Mapping[int, StoredSchema],
        schema_no: int,
        filled: Mapping[str, Mapping[str, Fill]] | None = None,
        **meta: Any,
    ) -> None:
        """Bring the SQL tables to version ``schema_no`` of ``history``, with ``meta``, in one transaction.

        ``filled``: table name -> the columns whose values for older rows are computed.
        """
        before: int = self.meta.get("schema_no", 0)
        self.schema, self._history = history[schema_no], history
        self._plans = {number: _plan(schema) for number, schema in self.schema.tables.items()}
        self._shapes.clear()
        self._filled = filled or {}
        values = {"schema_no": schema_no, "schema": self.schema.to_json(), **meta}
        if all(self.meta.get(name) == value for name, value in values.items()):
            return
        with transaction(self.connection):
            for number, schema in self.schema.tables.items():
                for statement in self._statements(number, schema, before):
                    self.connection.execute(statement)
                stored = history[before].tables.get(number) if before in history else None
                if stored is not None:
                    self._fill(schema, fills_needed(stored, schema, self._filled.get(schema.name, {})))
            self.connection.executemany(_SET_META, values.items())
        self.meta.update(values)
        self._wal_rows += 1

    def _statements(self, number: int, schema: TableSchema, before: int) -> list[str]:
        found = self.connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (schema.name,))
        if not found:
            return create_statements(schema)
        return alter_statements(
            self.connection, schema, lambda column: default_since(self._history, before, number, column.name)
        )

    def _fill(self, schema: TableSchema, fills: Mapping[str, Fill]) -> None:
        """Compute columns of the rows that are there, a page at a time."""
        if not fills:
            return
        key, table = quoted(schema.primary_key), quoted(schema.name)
        select = f"SELECT {', '.join(map(quoted, schema.column_names))} FROM {table}"
        convert = {name: sql_converter(schema.column(name).type) or _same for name in fills}
        converters = [memory_converter(c.type) for c in schema.columns]
        page = self.connection.execute(f"{select} ORDER BY {key} LIMIT {_FILL_ROWS}")
        while page:
            for raw, values in zip(page, _converted(page, converters), strict=True):
                found = fill(schema, values, fills)
                if found:
                    changes = ", ".join(f"{quoted(name)} = ?" for name, _ in found)
                    new = [convert[name](log_value(schema.column(name).type, value)) for name, value in found]
                    self.connection.execute(
                        f"UPDATE {table} SET {changes} WHERE {key} = ?", (*new, raw[schema.key_position])
                    )
            last = page[-1][schema.key_position]
            page = self.connection.execute(f"{select} WHERE {key} > ? ORDER BY {key} LIMIT {_FILL_ROWS}", (last,))

    # -- writing -----------------------------------------------------------------------------

    def apply(self, records: Iterable[tuple[int, bytes]]) -> int:
        """Apply ``(schema_no, payload)`` groups in order, in one transaction; how many rows were written."""
        latest: defaultdict[int, Latest] = defaultdict(dict)
        commit: list[Any] | None = None
        for schema_no, payload in records:
            shape = self._shapes_of(schema_no)
            for commit in decode_commits(payload):
                self._coalesce(commit[5], shape, latest)
        if commit is None:
            return 0
        reached = {"reached_seq": commit[0], "reached_at_us": commit[1]}
        with transaction(self.connection):
            for number, rows in latest.items():
                self._write(self._plans[number], rows)
            self.connection.executemany(_SET_META, reached.items())
        self.reached_seq, self.reached_at_us = commit[0], commit[1]
        written = sum(map(len, latest.values()))
        self._wal_rows += written + 1
        return written

    def _shapes_of(self, schema_no: int) -> Callable[[int], tuple[int, Upgrade | None]]:
        def shape(number: int) -> tuple[int, Upgrade | None]:
            found = self._shapes.get((schema_no, number))
            if found is None:
                position = self._history[schema_no].tables[number].key_position
                filled = self._filled.get(self.schema.tables[number].name)
                upgrade = row_upgrade(self._history, schema_no, self.schema.schema_no, number, filled)
                found = self._shapes[schema_no, number] = (position, upgrade)
            return found

        return shape

    @staticmethod
    def _coalesce(
        changes: list[Any],
        shape: Callable[[int], tuple[int, Upgrade | None]],
        latest: defaultdict[int, Latest],
    ) -> None:
        values = iter(changes)
        for number, value in zip(values, values, strict=True):
            if number > 0:
                position, upgrade = shape(number)
                latest[number][value[position]] = upgrade(value) if upgrade else value
            else:
                latest[-number][value] = None

    def _write(self, plan: _Plan, latest: Latest) -> None:
        rows = [row for row in latest.values() if row is not None]
        if len(rows) < len(latest):
            convert = plan.convert_key
            gone = [(convert(k) if convert else k,) for k, row in latest.items() if row is None]
            self.connection.executemany(plan.delete, gone)
        for place, change in plan.convert:
            for row in rows:
                row[place] = change(row[place])
        if rows:
            self.connection.executemany(plan.upsert, rows)

    @property
    def wal_rows(self) -> int:
        """Row writes since the last completed checkpoint: how much there is to move."""
        return self._wal_rows

    def checkpoint(self) -> bool:
        """Make everything reached so far durable; False if a reader kept some of it in the WAL."""
        reached, rows = self.reached_seq, self._wal_rows
        if not checkpoint(self.connection):
            return False
        self.durable_seq = reached
        self._wal_rows -= rows
        return True

    # -- reading -----------------------------------------------------------------------------

    def rows(self, schema: TableSchema) -> Iterator[tuple[Any, ...]]:
        """The rows of ``schema``'s table in memory form and declared order, by ascending key."""
        names = ", ".join(quoted(name) for name in schema.column_names)
        sql = f"SELECT {names} FROM {quoted(schema.name)} ORDER BY {quoted(schema.primary_key)}"
        converters = [memory_converter(c.type) for c in schema.columns]
        try:
            for batch in self.connection.stream(sql):
                yield from _converted(batch, converters) if any(converters) else batch
        except DiskError as error:
            if error.kind != "damaged":
                raise
            raise damaged_projection(f"table {schema.name}: {error.message}") from error


def _same(value: Any) -> Any:
    return value


def _converted(batch: Rows, converters: list[Check | None]) -> Iterator[tuple[Any, ...]]:
    """Column by column: the columns that need no conversion, most of them, are not touched."""
    columns: list[Iterable[Any]] = list(zip(*batch, strict=True))
    for place, convert in enumerate(converters):
        if convert is not None:
            columns[place] = map(convert, columns[place])
    return zip(*columns, strict=True)


def damaged_projection(reason: str) -> Refusal:
    """The refusal for a projection that cannot be read."""
    return Refusal(
        "data_damaged",
        f"projection.db cannot be read: {reason}. Move projection.db away and start again: it is built anew if"
        " the log reaches back to the first commit; otherwise put back log.db and projection.db from the same"
        " backup.",
        reason=reason,
    )
