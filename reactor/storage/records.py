"""Records of the log as they are read: checked, and named when they are damaged."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from reactor.errors import Refusal
from reactor.storage.connection import Connection, DiskError, Rows

_HEADER = struct.Struct("<QQqI")
_COLUMNS = "first_seq, last_seq, at_us, schema_no, crc, payload"
_READ_RECORDS = 256


class Record(NamedTuple):
    """One group as stored. ``damaged`` says what is wrong with it, if something is."""

    first_seq: int
    last_seq: int
    at_us: int
    schema_no: int
    payload: bytes
    damaged: str | None = None


def checksum(first_seq: int, last_seq: int, at_us: int, schema_no: int, payload: bytes) -> int:
    """The checksum over a record's header and payload."""
    return zlib.crc32(payload, zlib.crc32(_HEADER.pack(first_seq, last_seq, at_us, schema_no)))


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


def records_backwards(connection: Connection, last_seq: int) -> Iterator[Record]:
    """The records from ``last_seq`` to the oldest; damaged ones say so instead of stopping the walk."""
    before = last_seq + 1
    while True:
        wanted = (1, before - 1)
        try:
            rows = _read(connection, "first_seq < ? ORDER BY first_seq DESC", before, wanted)
        except Refusal as refusal:
            yield Record(*wanted, 0, 0, b"", refusal.details["reason"])
            return
        if not rows:
            return
        yield from map(_checked, rows)
        before = rows[-1][0]


def _checked(row: tuple[Any, ...]) -> Record:
    first_seq, last_seq, at_us, schema_no, crc, payload = row
    try:
        whole = crc == checksum(first_seq, last_seq, at_us, schema_no, payload)
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
