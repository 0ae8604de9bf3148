"""The log: every group of commits, in order, the truth from which all else can be rebuilt.

One SQLite file in WAL mode. ``append`` returns after the sync (unless the database is relaxed, see
``opening``). Each record carries a checksum over its payload and its header, so a damaged record is seen
when it is read and never taken for something else. The schema versions that records were written under lie
beside them: a record's rows have the columns of the version it names.

Trimming removes whole records from the old end, a few with each append, so that it costs no sync of its
own. ``trimmed_to`` tells up to where; the newest record always stays.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from reactor.errors import Refusal, invariant
from reactor.schema import TableSchema
from reactor.storage.api import FORMAT_VERSION, Durability, Group
from reactor.storage.connection import Connection, DiskError, checkpoint, configure, transaction
from reactor.storage.records import Record, checksum, records_backwards, records_between

CHECKPOINT_BYTES = 8 << 20
"""The WAL is moved into the log when it has grown by this much, even when there is no idle moment. It bounds the
pause of that checkpoint and the time a start needs to read the WAL."""

TIDY_BYTES = 1 << 20
"""So much is moved in an idle moment; less can stay."""

_CACHE_KIB = 4_096
# One append dirties about this many pages beyond its payload: leaf, interior node, meta.
_PAGES_PER_APPEND = 3
_PAGE_BYTES = 4_096
_TRIM_RECORDS = 256

_DDL = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE schema_version (schema_no INTEGER PRIMARY KEY, at_us INTEGER, tables TEXT)",
    "CREATE TABLE record (first_seq INTEGER PRIMARY KEY, last_seq INTEGER, at_us INTEGER,"
    " schema_no INTEGER, crc INTEGER, payload BLOB)",
)


class StoredSchema(NamedTuple):
    """One version of the declared tables, each with its number."""

    schema_no: int
    tables: dict[int, TableSchema]

    def to_json(self) -> str:
        """The version as it is stored."""
        tables = [{"number": number, **schema.to_json()} for number, schema in sorted(self.tables.items())]
        return orjson.dumps(tables, default=_bytes_as_json).decode()

    @classmethod
    def from_json(cls, schema_no: int, stored: str) -> StoredSchema:
        """The inverse of ``to_json``."""
        tables = orjson.loads(stored)
        for column in (column for table in tables for column in table["columns"]):
            if column["type"] == "bytes" and isinstance(column.get("default"), dict):
                column["default"] = bytes.fromhex(column["default"][_HEX])
        return cls(schema_no, {t["number"]: TableSchema.from_json(t) for t in tables})


_HEX = "hex"


def _bytes_as_json(value: Any) -> Any:
    """A default of a bytes column; JSON has no bytes."""
    if isinstance(value, bytes):
        return {_HEX: value.hex()}
    raise TypeError(f"{type(value).__name__} in a declaration")


class _Head(msgspec.Struct, array_like=True):
    """The part of a commit that the log looks at."""

    seq: int
    at_us: int


_heads = msgspec.msgpack.Decoder(list[_Head])


class Log:
    """The log on one connection, the only one that writes the file.

    ``last_seq`` and ``last_at_us`` belong to the newest record (0 when there is none).
    """

    def __init__(self, connection: Connection, durability: Durability = "full") -> None:
        self.connection = connection
        self._synchronous = "FULL" if durability == "full" else "NORMAL"
        configure(connection, "FULL", _CACHE_KIB)
        self._wal_bytes = 0
        self.last_seq = 0
        self.last_at_us = 0
        self._trim_to = 0
        self._load_meta()

    def _load_meta(self) -> None:
        if not self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
            with transaction(self.connection):
                for statement in _DDL:
                    self.connection.execute(statement)
                for name, value in (("format", FORMAT_VERSION), ("trimmed_to", 0)):
                    self.connection.execute("INSERT INTO meta VALUES (?, ?)", (name, value))
        self.meta: dict[str, Any] = dict(self.connection.execute("SELECT name, value FROM meta"))
        _check_format(self.meta.get("format"))
        self.trimmed_to: int = self.meta["trimmed_to"]
        schemas = self.connection.execute("SELECT schema_no, tables FROM schema_version ORDER BY schema_no")
        self.schemas = {number: StoredSchema.from_json(number, tables) for number, tables in schemas}
        newest = self.connection.execute("SELECT last_seq, at_us FROM record ORDER BY first_seq DESC LIMIT 1")
        self.last_seq, self.last_at_us = newest[0] if newest else (self.trimmed_to, 0)
        self.connection.execute(f"PRAGMA synchronous={self._synchronous}")

    @contextlib.contextmanager
    def _durable_transaction(self) -> Iterator[None]:
        """A transaction that is synced also when the durability of calls is relaxed: what a start relies on
        to know what happened must not be lost with them."""
        self.connection.execute("PRAGMA synchronous=FULL")
        try:
            with transaction(self.connection):
                yield
        finally:
            self.connection.execute(f"PRAGMA synchronous={self._synchronous}")

    @property
    def schema_no(self) -> int:
        """The schema version that new records are written under; 0 before there is one."""
        return max(self.schemas, default=0)

    @property
    def schema(self) -> StoredSchema:
        """The newest schema version."""
        return self.schemas.get(self.schema_no, StoredSchema(0, {}))

    def set_meta(self, **values: Any) -> None:
        """Store named values, durably."""
        with self._durable_transaction():
            self._write_meta(values)
        self.meta.update(values)

    def _write_meta(self, values: dict[str, Any]) -> None:
        self.connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def add_schema(self, schema: StoredSchema, at_us: int) -> None:
        """Store a new schema version, durably; records are written under it from now on."""
        invariant(schema.schema_no == self.schema_no + 1, "schema versions follow one another")
        row = (schema.schema_no, at_us, schema.to_json())
        with self._durable_transaction():
            self.connection.execute("INSERT INTO schema_version VALUES (?, ?, ?)", row)
        self.schemas[schema.schema_no] = schema

    def drop_schema(self) -> None:
        """Forget the newest schema version, under which nothing was written yet."""
        with self._durable_transaction():
            self.connection.execute("DELETE FROM schema_version WHERE schema_no = ?", (self.schema_no,))
        del self.schemas[self.schema_no]

    # -- writing -----------------------------------------------------------------------------

    def append(self, groups: Sequence[Group]) -> None:
        """Store groups in one transaction; when it returns they are durable. ``DiskError``: none of them is.

        After an ``io`` error that is not certain: a failed sync may still have written.
        """
        rows = self._rows(groups)
        trimmed_to = self.trimmed_to
        with transaction(self.connection):
            self.connection.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?, ?)", rows)
            if self._trim_to > trimmed_to:
                # Twice what came in: the trimming catches up whatever the rate.
                trimmed_to = self._delete_oldest(2 * len(rows) + 2)
        self.trimmed_to = trimmed_to
        self.last_seq, self.last_at_us = rows[-1][1], rows[-1][2]
        self._wal_bytes += sum(len(g.payload) for g in groups) + _PAGES_PER_APPEND * _PAGE_BYTES

    def _rows(self, groups: Sequence[Group]) -> list[tuple[Any, ...]]:
        schema_no, expected, rows = self.schema_no, self.last_seq + 1, []
        for group in groups:
            heads = _heads.decode(group.payload)
            whole = heads[0].seq == group.first_seq and heads[-1].seq == group.last_seq
            invariant(whole and group.first_seq == expected, f"group {group.first_seq} follows {expected - 1}")
            at_us = heads[-1].at_us
            crc = checksum(group.first_seq, group.last_seq, at_us, schema_no, group.payload)
            rows.append((group.first_seq, group.last_seq, at_us, schema_no, crc, group.payload))
            expected = group.last_seq + 1
        return rows

    def prepare(self) -> None:
        """Give the WAL its full size now: a sync of a file that grows takes twice as long as one that does not.
        Costs some ten milliseconds. A disk that is nearly full is no error here."""
        with contextlib.suppress(DiskError), transaction(self.connection):
            self.connection.execute("CREATE TABLE room (bytes BLOB)")
            self.connection.execute(f"INSERT INTO room VALUES (zeroblob({CHECKPOINT_BYTES}))")
        with contextlib.suppress(DiskError):
            self.connection.execute("DROP TABLE IF EXISTS room")
            self.checkpoint()

    def probe(self) -> None:
        """One tiny durable write; ``DiskError`` if the disk still refuses."""
        self.set_meta(probes=self.meta.get("probes", 0) + 1)

    @property
    def wants_checkpoint(self) -> bool:
        """Whether the WAL has grown to where it must be moved."""
        return self._wal_bytes >= CHECKPOINT_BYTES

    @property
    def wants_tidying(self) -> bool:
        """Whether an idle moment should be used for a checkpoint."""
        return self._wal_bytes >= TIDY_BYTES

    def checkpoint(self) -> None:
        """Move the WAL into the file. Commits wait meanwhile: call it when idle, or when it is wanted.

        A reader or a full disk can keep it from its end. The records are as durable in the WAL, so this is
        tried again when as much again was written.
        """
        self._wal_bytes = 0
        try:
            checkpoint(self.connection)
        except DiskError as error:
            if error.kind != "full":
                raise

    # -- trimming ----------------------------------------------------------------------------

    def trim(self, keep_after_us: int, bytes_max: int | None, durable_seq: int) -> None:
        """Let go of what is older than ``keep_after_us`` or exceeds ``bytes_max``, up to ``durable_seq``.

        Only marks how far; the records go with later appends and ``trim_some``.
        """
        target = self._seq_before(keep_after_us)
        if bytes_max is not None:
            target = max(target, self._seq_of_excess(bytes_max))
        self._trim_to = max(self._trim_to, min(target, durable_seq, self.last_seq - 1))

    def _seq_before(self, at_us: int) -> int:
        """The last seq of the records written before ``at_us``, by bisection: commit times only grow."""
        low, high, found = self.trimmed_to + 1, self.last_seq, self.trimmed_to
        while low <= high:
            middle = (low + high) // 2
            row = self.connection.execute(
                "SELECT last_seq, at_us FROM record WHERE first_seq <= ? ORDER BY first_seq DESC LIMIT 1",
                (middle,),
            )
            if not row or row[0][1] < at_us:
                found = row[0][0] if row else found
                low = max(middle, found) + 1
            else:
                high = middle - 1
        return found

    def _seq_of_excess(self, bytes_max: int) -> int:
        excess, seq = self.bytes_used - bytes_max, self.trimmed_to
        while excess > 0:
            rows = self.connection.execute(
                "SELECT last_seq, length(payload) FROM record WHERE first_seq > ? ORDER BY first_seq LIMIT ?",
                (seq, _TRIM_RECORDS),
            )
            if not rows:
                break
            for last_seq, size in rows:
                if excess > 0:
                    seq, excess = last_seq, excess - size
        return seq

    @property
    def bytes_used(self) -> int:
        """Bytes of the file that hold something."""
        pages = self.connection.execute("PRAGMA page_count")[0][0]
        free = self.connection.execute("PRAGMA freelist_count")[0][0]
        return int((pages - free) * self.connection.execute("PRAGMA page_size")[0][0])

    def trim_some(self, records_max: int = 64) -> bool:
        """Drop a few of the records let go; whether there are more."""
        if self._trim_to <= self.trimmed_to:
            return False
        with transaction(self.connection):
            trimmed_to = self._delete_oldest(records_max)
        self._wal_bytes += _PAGES_PER_APPEND * _PAGE_BYTES
        more = trimmed_to > self.trimmed_to
        self.trimmed_to = trimmed_to
        return more and self._trim_to > trimmed_to

    def _delete_oldest(self, records_max: int) -> int:
        rows = self.connection.execute(
            "SELECT last_seq FROM record WHERE first_seq <= ? AND last_seq <= ? ORDER BY first_seq LIMIT ?",
            (self._trim_to, self._trim_to, records_max),
        )
        if not rows:
            self._trim_to = self.trimmed_to
            return self.trimmed_to
        trimmed_to: int = rows[-1][0]
        self.connection.execute("DELETE FROM record WHERE first_seq <= ?", (trimmed_to,))
        self._write_meta({"trimmed_to": trimmed_to})
        return trimmed_to

    def clear(self, trimmed_to: int, **meta: Any) -> None:
        """Drop every record and count on from ``trimmed_to``, with ``meta``, in one durable transaction."""
        with self._durable_transaction():
            self.connection.execute("DELETE FROM record")
            self._write_meta({"trimmed_to": trimmed_to, **meta})
        self.meta.update(meta)
        self.trimmed_to = self.last_seq = trimmed_to

    # -- reading -----------------------------------------------------------------------------

    def records_after(self, seq: int) -> Iterator[Record]:
        """The records with the commits after ``seq``, see ``records_between``."""
        return records_between(self.connection, seq, self.last_seq)

    def records_backwards(self) -> Iterator[Record]:
        """The records from the newest on, see ``reactor.storage.records``."""
        return records_backwards(self.connection, self.last_seq)


def _check_format(found: Any) -> None:
    if found != FORMAT_VERSION:
        raise Refusal(
            "data_version",
            f"the log is of format {found!r}; this program reads format {FORMAT_VERSION}. Start it with the"
            " version that wrote it, or export its tables there and begin a new data directory.",
            found=found,
            expected=FORMAT_VERSION,
        )
