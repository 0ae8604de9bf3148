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
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from reactor.errors import Refusal, invariant
from reactor.schema import TableSchema
from reactor.storage.api import FORMAT_VERSION, Durability, Group
from reactor.storage.connection import Connection, DiskError, Rows, checkpoint, configure, transaction

CHECKPOINT_BYTES = 8 << 20
"""The WAL is moved into the log when it has grown by this much, even when there is no idle moment. It bounds the
pause of that checkpoint and the time a start needs to read the WAL."""

TIDY_BYTES = 1 << 20
"""So much is moved in an idle moment; less can stay."""

_CACHE_KIB = 4_096
# One append dirties about this many pages beyond its payload: leaf, interior node, meta.
_PAGES_PER_APPEND = 3
_PAGE_BYTES = 4_096
_HEADER = struct.Struct("<QQqI")
_READ_RECORDS = 256

_DDL = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE schema_version (schema_no INTEGER PRIMARY KEY, at_us INTEGER, tables TEXT)",
    "CREATE TABLE record (first_seq INTEGER PRIMARY KEY, last_seq INTEGER, at_us INTEGER,"
    " schema_no INTEGER, crc INTEGER, payload BLOB)",
)
_COLUMNS = "first_seq, last_seq, at_us, schema_no, crc, payload"


class Record(NamedTuple):
    """One group as stored. ``damaged`` says what is wrong with it, if something is."""

    first_seq: int
    last_seq: int
    at_us: int
    schema_no: int
    payload: bytes
    damaged: str | None = None


class StoredSchema(NamedTuple):
    """One version of the declared tables, each with its number."""

    schema_no: int
    tables: dict[int, TableSchema]

    def to_json(self) -> str:
        """The version as it is stored."""
        tables = [{"number": number, **schema.to_json()} for number, schema in sorted(self.tables.items())]
        return orjson.dumps(tables).decode()

    @classmethod
    def from_json(cls, schema_no: int, stored: str) -> StoredSchema:
        """The inverse of ``to_json``."""
        return cls(schema_no, {t["number"]: TableSchema.from_json(t) for t in orjson.loads(stored)})

    def number(self, name: str) -> int:
        """The number of the table ``name``; ``KeyError`` if it has none."""
        for number, schema in self.tables.items():
            if schema.name == name:
                return number
        raise KeyError(name)


class _Head(msgspec.Struct, array_like=True):
    """The part of a commit that the log looks at."""

    seq: int
    at_us: int


_heads = msgspec.msgpack.Decoder(list[_Head])


def _crc(first_seq: int, last_seq: int, at_us: int, schema_no: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(_HEADER.pack(first_seq, last_seq, at_us, schema_no)))


class Log:
    """The log on one connection, the only one that writes the file.

    ``last_seq`` and ``last_at_us`` belong to the newest record (0 when there is none).
    """

    def __init__(self, connection: Connection, durability: Durability = "full") -> None:
        self.connection = connection
        configure(connection, "FULL" if durability == "full" else "NORMAL", _CACHE_KIB)
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
        with transaction(self.connection):
            self._write_meta(values)
        self.meta.update(values)

    def _write_meta(self, values: dict[str, Any]) -> None:
        self.connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def add_schema(self, schema: StoredSchema, at_us: int) -> None:
        """Store a new schema version, durably; records are written under it from now on."""
        invariant(schema.schema_no == self.schema_no + 1, "schema versions follow one another")
        self.connection.execute(
            "INSERT INTO schema_version VALUES (?, ?, ?)", (schema.schema_no, at_us, schema.to_json())
        )
        self.schemas[schema.schema_no] = schema

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
            crc = _crc(group.first_seq, group.last_seq, at_us, schema_no, group.payload)
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
                (seq, _READ_RECORDS),
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
        with transaction(self.connection):
            self.connection.execute("DELETE FROM record")
            self._write_meta({"trimmed_to": trimmed_to, **meta})
        self.meta.update(meta)
        self.trimmed_to = self.last_seq = trimmed_to

    # -- reading -----------------------------------------------------------------------------

    def records_after(self, seq: int) -> Iterator[Record]:
        """The records with commits after ``seq``, see ``records_between``."""
        return records_between(self.connection, seq, self.last_seq)

    def records_backwards(self) -> Iterator[Record]:
        """The records from the newest to the oldest; damaged ones say so instead of stopping the walk."""
        before = self.last_seq + 1
        while True:
            try:
                wanted = (self.trimmed_to + 1, before - 1)
                rows = _read(self.connection, "first_seq < ? ORDER BY first_seq DESC", before, wanted)
            except Refusal as refusal:
                yield Record(*wanted, 0, 0, b"", refusal.details["reason"])
                return
            if not rows:
                return
            for row in rows:
                yield _checked(row)
            before = rows[-1][0]


def records_between(connection: Connection, after_seq: int, last_seq: int) -> Iterator[Record]:
    """The records with the commits after ``after_seq`` and up to ``last_seq``, oldest first, checked.

    ``after_seq`` ends a record: what is projected always does. Raises ``Refusal data_damaged`` if a record
    cannot be read or is missing.
    """
    expected = after_seq + 1
    while expected <= last_seq:
        rows = _read(connection, "first_seq >= ? ORDER BY first_seq", expected, (expected, last_seq))
        if not rows:
            raise _damaged(expected, last_seq, "it is missing")
        for row in rows:
            if row[0] != expected:
                raise _damaged(expected, row[0] - 1, "it is missing")
            record = _checked(row)
            if record.damaged:
                raise _damaged(record.first_seq, record.last_seq, record.damaged)
            yield record
            expected = record.last_seq + 1


def _read(connection: Connection, where: str, seq: int, wanted: tuple[int, int]) -> Rows:
    sql = f"SELECT {_COLUMNS} FROM record WHERE {where} LIMIT {_READ_RECORDS}"
    try:
        return connection.execute(sql, (seq,))
    except DiskError as error:
        if error.kind != "damaged":
            raise
        raise _damaged(*wanted, error.message) from error


def _check_format(found: Any) -> None:
    if found != FORMAT_VERSION:
        raise Refusal(
            "data_version",
            f"the log is of format {found!r}; this program reads format {FORMAT_VERSION}. Start it with the"
            " version that wrote it, or export its tables there and begin a new data directory.",
            found=found,
            expected=FORMAT_VERSION,
        )


def _checked(row: tuple[Any, ...]) -> Record:
    first_seq, last_seq, at_us, schema_no, crc, payload = row
    try:
        whole = crc == _crc(first_seq, last_seq, at_us, schema_no, payload)
    except (TypeError, struct.error):
        # Damage can change a value's type, too.
        return Record(first_seq, max(first_seq, _number(last_seq)), 0, 0, b"", "its header is damaged")
    return Record(first_seq, last_seq, at_us, schema_no, payload, None if whole else "its checksum does not match")


def _number(value: Any) -> int:
    return value if type(value) is int else 0


def _damaged(first_seq: int, last_seq: int, reason: str) -> Refusal:
    return Refusal(
        "data_damaged",
        f"log record {first_seq} to {last_seq} in log.db cannot be used: {reason}. The tables still need it."
        " Put back log.db and projection.db from the same backup; a copy of the directory as it is helps to"
        " find out more.",
        first_seq=first_seq,
        last_seq=last_seq,
        reason=reason,
    )
