"""Filling a derived index for rows that are older than its triggers, and finding out whether it is what it should be.

A backfill walks the table by key. Each row is one commit of its own: its index row and manifest are written only if the
row is, byte for byte, what was read (else it is a *conflict*), and the cursor moves in the same commit. So it can be
broken off anywhere and goes on from there.

**The mark is never a matter of trust.** The commit that writes it first looks at every row: all of them must have the
manifest and the index row that live writes would have given them. A cursor that was planted, came from another copy of
the data or is simply wrong can therefore cost a second walk, never a mark that hides rows.

The commits before are not synced one by one. The last one is, and with it all before it, since a WAL is read up to its
first gap: a power cut may take back the newest of them and their cursor with them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from reactor.derived import DerivedIndex
from reactor.schema import TableSchema
from reactor.storage.connection import Connection, DiskError, checkpoint, transaction
from reactor.storage.ddl import quoted
from reactor.storage.indexing import (
    CURSOR_TABLE,
    MARK_TABLE,
    Mark,
    entry_columns,
    keys_expression,
    read_mark,
    write_mark,
)

MANIFEST_CHARS_MAX = 4_096
"""A manifest is some hundred characters. A longer one was not written by us: it is left alone and blocks the mark."""
SAMPLES_MAX = 20
_PAGE_ROWS = 500
# The first with INSERT ... ON CONFLICT DO UPDATE and window functions.
_SQLITE_MIN = (3, 25, 0)
# The WAL then holds some 60 MB.
_CHECKPOINT_COMMITS = 2_000
_SET_CURSOR = f"INSERT OR REPLACE INTO {CURSOR_TABLE} VALUES (?, ?, ?, ?, ?, ?, ?)"


class Cursor(NamedTuple):
    """How far a run has come. ``history`` is the history of commits it walks in, ``run`` its own identity."""

    run: str
    history: str
    version: int
    last_id: int
    processed: int
    conflicts: int


class Walked(NamedTuple):
    """What a run came to. ``processed`` rows in all its attempts, ``here`` in this one; ``resumed_after``: the key it
    went on from, None if it began at the first row. ``restarts``: walks from the beginning because the cursor claimed
    rows that were not there. ``conflicts``: rows that were not as read, with the first of their keys. ``mark``: the
    mark it wrote, None if it did not."""

    processed: int
    here: int
    resumed_after: int | None
    restarts: int
    conflicts: int
    samples: tuple[int, ...]
    mark: Mark | None
    refused: bool = False


class Verified(NamedTuple):
    """What a look at the whole index found. ``gaps``: reason -> how many; ``samples``: the first of them, by key."""

    rows: int
    entries: int
    gaps: dict[str, int]
    samples: tuple[tuple[int, str], ...]
    mark: Mark | None
    is_trusted: bool

    @property
    def overstates(self) -> bool:
        """Whether queries trust an index that has gaps."""
        return self.is_trusted and bool(self.gaps)


def read_cursor(connection: Connection, name: str) -> Cursor | None:
    """The cursor of a run that was broken off or met conflicts."""
    columns = ", ".join(Cursor._fields)
    found = connection.execute(f"SELECT {columns} FROM {CURSOR_TABLE} WHERE name = ?", (name,))
    return Cursor(*found[0]) if found else None


class Backfill:
    """One run over one index of an opened store that nobody else writes.

    ``new_run`` names the run if it is a new one. ``between(id)`` is called between reading a row and its commit,
    ``each(processed)`` after each commit: for progress, and for tests that break in. ``resuming(after, processed)`` is
    called if it goes on where another run ended.
    """

    def __init__(
        self,
        connection: Connection,
        index: DerivedIndex,
        schema: TableSchema,
        *,
        history: str,
        new_run: str,
        now_us: int,
        each: Callable[[int], None] = lambda processed: None,
        between: Callable[[int], None] = lambda id: None,
        resuming: Callable[[int, int], None] = lambda after, processed: None,
    ) -> None:
        self._connection, self._index, self._schema = connection, index, schema
        self._now_us, self._each, self._between, self._resuming = now_us, each, between, resuming
        self._cursor = Cursor(new_run, history, index.version, 0, 0, 0)
        self._samples: list[int] = []
        self._here = 0
        self._key_position = schema.key_position
        self._conditional = _Conditional(index, schema)

    def run(self) -> Walked:
        """Go on where the last run was broken off, or begin; ``DiskError`` when the file cannot be written.

        A run that met conflicts is refused to go on: a conflicted row may lie before its cursor. Drop the index, and
        begin again.
        """
        with _alone(self._connection):
            return self._run()

    def _run(self) -> Walked:
        resumed_after = self._resume()
        if self._met_conflicts():
            return self._walked(resumed_after, 0, None, refused=True)
        for restarts in (0, 1):
            self._walk()
            if self._met_conflicts():
                return self._walked(resumed_after, restarts, None)
            mark = self._finish()
            if mark is not None:
                return self._walked(resumed_after, restarts, mark)
            self._begin_again()
        # Twice the whole table, and still not what it should be: somebody else writes.
        self._cursor = self._cursor._replace(conflicts=1)
        self._store_cursor()
        return self._walked(resumed_after, 1, None)

    def _met_conflicts(self) -> bool:
        return self._cursor.conflicts > 0

    def _walked(self, after: int | None, restarts: int, mark: Mark | None, *, refused: bool = False) -> Walked:
        cursor = self._cursor
        return Walked(
            cursor.processed, self._here, after, restarts, cursor.conflicts, tuple(self._samples), mark, refused
        )

    def _resume(self) -> int | None:
        found = read_cursor(self._connection, self._index.name)
        mine = self._cursor
        if found is not None and (found.history, found.version) == (mine.history, mine.version):
            self._cursor = found
            self._resuming(found.last_id, found.processed)
            return found.last_id
        self._begin_again()
        return None

    def _begin_again(self) -> None:
        self._cursor = self._cursor._replace(last_id=0, processed=0, conflicts=0)
        self._store_cursor()

    def _store_cursor(self) -> None:
        with transaction(self._connection):
            self._connection.execute(_SET_CURSOR, (self._index.name, *self._cursor))

    # -- walking -----------------------------------------------------------------------------

    def _walk(self) -> None:
        since_checkpoint = 0
        while page := self._connection.execute(self._conditional.page, (self._cursor.last_id,)):
            for row in page:
                self._take(row)
                self._each(self._cursor.processed)
                since_checkpoint += 1
            if since_checkpoint >= _CHECKPOINT_COMMITS:
                checkpoint(self._connection)
                since_checkpoint = 0

    def _take(self, row: tuple[Any, ...]) -> None:
        *values, manifest_chars = row
        id = values[self._key_position]
        self._between(id)
        after = self._cursor._replace(last_id=id, processed=self._cursor.processed + 1)
        run = self._connection.execute
        with transaction(self._connection):
            is_written = (manifest_chars or 0) <= MANIFEST_CHARS_MAX and self._conditional.write(run, values)
            if not is_written:
                after = after._replace(conflicts=after.conflicts + 1)
            run(_SET_CURSOR, (self._index.name, *after))
        self._cursor = after
        self._here += 1
        if not is_written and len(self._samples) < SAMPLES_MAX:
            self._samples.append(id)

    def _finish(self) -> Mark | None:
        """The mark, if every row is covered; whoever finds that not all are takes an older mark away."""
        name, connection = self._index.name, self._connection
        mark = Mark(self._index.version, self._now_us, self._cursor.processed)
        with _synced(connection), transaction(connection):
            for table in (name, self._index.manifest):
                connection.execute(f"DELETE FROM {quoted(table)} WHERE id NOT IN (SELECT {self._conditional.ids})")
            if connection.execute(f"{_gaps(self._index, self._schema)} LIMIT 1"):
                connection.execute(f"DELETE FROM {MARK_TABLE} WHERE name = ?", (name,))
                return None
            write_mark(connection, name, mark)
            connection.execute(f"DELETE FROM {CURSOR_TABLE} WHERE name = ?", (name,))
        return mark


class _Conditional:
    """The statements of one row's commit."""

    def __init__(self, index: DerivedIndex, schema: TableSchema) -> None:
        key, table = quoted(schema.primary_key), quoted(schema.name)
        names = [quoted(name) for name in schema.column_names]
        manifest, entries = quoted(index.manifest), quoted(index.name)
        chars = f"(SELECT length(keys) FROM {manifest} m WHERE m.id = t.{key})"
        columns = entry_columns(index, "")
        changes = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in index.columns)
        same = " AND ".join(f"{name} IS ?" for name in names)
        self.ids = f"{key} FROM {table}"
        self.page = (
            f"SELECT {', '.join(f't.{name}' for name in names)}, {chars} FROM {table} t WHERE {key} > ?"
            f" ORDER BY {key} LIMIT {_PAGE_ROWS}"
        )
        self._key_position = schema.key_position
        self._entry = (
            f"INSERT INTO {entries} (id, {columns}) SELECT {key}, {columns} FROM {table}"
            f" WHERE {same} ON CONFLICT (id) DO UPDATE SET {changes}"
        )
        self._manifest = (
            f"INSERT INTO {manifest} (id, version, keys) SELECT {key}, {index.version}, {keys_expression(index, '')}"
            f" FROM {table} WHERE {key} = ?"
            " ON CONFLICT (id) DO UPDATE SET version = excluded.version, keys = excluded.keys"
        )

    def write(self, run: Callable[..., list[Any]], values: list[Any]) -> bool:
        """Write index row and manifest if the row is as read; inside a transaction."""
        run(self._entry, values)
        if run("SELECT changes()") != [(1,)]:
            return False
        run(self._manifest, (values[self._key_position],))
        return True


@contextlib.contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Let no other process at the file, not even between two commits; that also saves half of what a commit costs."""
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("PRAGMA locking_mode=NORMAL")
        # The lock is let go with the next look at the file.
        connection.execute("SELECT 1 FROM sqlite_master LIMIT 1")


@contextlib.contextmanager
def _synced(connection: Connection) -> Iterator[None]:
    connection.execute("PRAGMA synchronous=FULL")
    try:
        yield
    finally:
        connection.execute("PRAGMA synchronous=NORMAL")


# -- drop ------------------------------------------------------------------------------------------


def lacks_conditional_commits(connection: Connection) -> str | None:
    """Why this store cannot do what a backfill needs: to write a row only if another is unchanged. None if it can."""
    ((version,),) = connection.execute("SELECT sqlite_version()")
    if tuple(map(int, version.split("."))) < _SQLITE_MIN:
        return f"SQLite {version} is too old; {'.'.join(map(str, _SQLITE_MIN))} or newer is needed"
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"DELETE FROM {CURSOR_TABLE} WHERE name = ''")
        connection.execute("ROLLBACK")
    except DiskError as error:
        return f"projection.db cannot be written: {error.message}"
    return None


def drop_index(connection: Connection, index: DerivedIndex, between: Callable[[str], None] = lambda step: None) -> int:
    """Take an index away: its mark, then its rows, then the cursor, each in a commit of its own; returns how many rows.

    Wherever it is broken off, no query trusts what is left. The table itself is not touched, and what is written from
    now on is indexed. ``between(step)`` is called before each step.
    """
    removed: int = connection.execute(f"SELECT COUNT(*) FROM {quoted(index.name)}")[0][0]
    own = f"WHERE name = '{index.name}'"
    for step, statements in (
        ("mark", [f"DELETE FROM {MARK_TABLE} {own}"]),
        ("rows", [f"DELETE FROM {quoted(index.name)}", f"DELETE FROM {quoted(index.manifest)}"]),
        ("cursor", [f"DELETE FROM {CURSOR_TABLE} {own}"]),
    ):
        between(step)
        with _synced(connection), transaction(connection):
            for statement in statements:
                connection.execute(statement)
    return removed


# -- verify ----------------------------------------------------------------------------------------


def verify_index(connection: Connection, index: DerivedIndex, schema: TableSchema, *, deep: bool = False) -> Verified:
    """Compare the index with the table; changes nothing. ``deep`` looks at every index row and every SQL index, too."""
    sql = _gaps(index, schema, deep=deep)
    gaps = dict(connection.execute(f"SELECT reason, COUNT(*) FROM ({sql}) GROUP BY reason ORDER BY reason"))
    samples = connection.execute(f"{sql} ORDER BY id LIMIT {SAMPLES_MAX}")
    if deep:
        damage = connection.execute(f"PRAGMA integrity_check({quoted(index.name)})")
        if damage != [("ok",)]:
            gaps["damaged_index"] = len(damage)
    rows = connection.execute(f"SELECT COUNT(*) FROM {quoted(schema.name)}")[0][0]
    entries = connection.execute(f"SELECT COUNT(*) FROM {quoted(index.name)}")[0][0]
    mark = read_mark(connection, index.name)
    is_trusted = mark is not None and mark.version == index.version
    return Verified(rows, entries, gaps, tuple((id, reason) for id, reason in samples), mark, is_trusted)


def _gaps(index: DerivedIndex, schema: TableSchema, *, deep: bool = True) -> str:
    """SQL for ``id, reason`` of every row that is not covered, and of every index row that belongs to none."""
    key, table = quoted(schema.primary_key), quoted(schema.name)
    name, manifest = quoted(index.name), quoted(index.manifest)
    differs = " OR ".join(f"e.{quoted(column)} IS NOT t.{quoted(column)}" for column in index.columns)
    wrong_row = f" WHEN {differs} THEN 'wrong_row'" if deep else ""
    reasons = (
        "CASE WHEN m.id IS NULL OR m.keys IS NULL THEN 'no_manifest'"
        f" WHEN length(m.keys) > {MANIFEST_CHARS_MAX} THEN 'oversized_manifest'"
        f" WHEN m.version IS NOT {index.version} THEN 'old_manifest_version'"
        f" WHEN m.keys IS NOT {keys_expression(index, 't.')} THEN 'key_drift'"
        f" WHEN e.id IS NULL THEN 'missing_row'{wrong_row} END"
    )
    return (
        f"SELECT id, reason FROM (SELECT t.{key} AS id, {reasons} AS reason FROM {table} t"
        f" LEFT JOIN {manifest} m ON m.id = t.{key} LEFT JOIN {name} e ON e.id = t.{key}) WHERE reason IS NOT NULL"
        f" UNION ALL SELECT id, 'orphan' FROM {name} WHERE id NOT IN (SELECT {key} FROM {table})"
    )
