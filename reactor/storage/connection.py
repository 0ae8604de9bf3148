"""SQLite as the storage sees it: a small connection, errors sorted by what can be done about them.

The rest of the package works on ``Connection`` and ``Disk`` only, so that the simulation can put real SQLite
on a simulated disk. Connections are in autocommit mode: ``transaction`` writes BEGIN and COMMIT.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from reactor.errors import Fault

ErrorKind = Literal["full", "io", "damaged", "other"]
Rows = list[tuple[Any, ...]]

# Primary SQLite result codes, the low byte of an extended code.
_READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _NOTADB = 8, 10, 11, 13, 14, 26
_KINDS: dict[int, ErrorKind] = {
    _FULL: "full",
    _IOERR: "io",
    _READONLY: "io",
    _CANTOPEN: "io",
    _CORRUPT: "damaged",
    _NOTADB: "damaged",
}

ASIDE = ".aside"
"""What is added to the name of a database that cannot be used."""

_COPY_BYTES = 1 << 20

FETCH_ROWS = 2_000
"""Rows taken from SQLite at once while streaming: large enough that the loop around it costs nothing."""


class DiskError(Fault):
    """SQLite refused. ``kind``: ``full`` (no space; may pass), ``io`` (the device or the permissions),
    ``damaged`` (the file is not what was written), ``other``. ``result`` is the extended result code."""

    def __init__(self, message: str, result: int) -> None:
        self.result = result
        self.kind: ErrorKind = _KINDS.get(result & 0xFF, "other")
        super().__init__("read_only", message)


class Connection(Protocol):
    """What the storage needs of a SQLite connection. Every method may raise ``DiskError``."""

    @property
    def raw(self) -> Any:
        """The library's own connection."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """Run one statement and return all its rows."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement for each of ``rows``."""

    def stream(self, sql: str) -> Iterator[Rows]:
        """Run one statement and yield its rows in batches of ``FETCH_ROWS``."""

    def close(self) -> None:
        """Release the files."""


class Disk(Protocol):
    """Where databases lie. ``path`` may be ``":memory:"`` where the disk says so."""

    def connect(self, path: str, *, read_only: bool = False) -> Connection:
        """Open a database, creating it unless ``read_only``; raises ``DiskError``."""

    def exists(self, path: str) -> bool:
        """Whether there is a database at ``path``."""

    def set_aside(self, path: str) -> None:
        """Rename the database at ``path``, if there is one, to ``path + ASIDE``, over what was there."""

    def write_anew(self, path: str) -> None:
        """Write the WAL beside ``path``, if there is one, once more as it is, and sync it.

        A sync that failed may have left pages in the system's cache that look stored and are not; neither
        reading nor another sync shows it. Only what is written again is certain. ``DiskError`` if that fails.
        """


class SqliteConnection:
    """A ``Connection`` on the standard library's ``sqlite3``."""

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    @property
    def raw(self) -> sqlite3.Connection:
        """The ``sqlite3`` connection."""
        return self._raw

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """See ``Connection``."""
        try:
            return self._raw.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise _disk_error(error) from error

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """See ``Connection``."""
        try:
            self._raw.executemany(sql, rows)
        except sqlite3.Error as error:
            raise _disk_error(error) from error

    def stream(self, sql: str) -> Iterator[Rows]:
        """See ``Connection``."""
        try:
            cursor = self._raw.execute(sql)
            while rows := cursor.fetchmany(FETCH_ROWS):
                yield rows
        except sqlite3.Error as error:
            raise _disk_error(error) from error

    def close(self) -> None:
        """See ``Connection``."""
        self._raw.close()


def _disk_error(error: sqlite3.Error) -> DiskError:
    return DiskError(str(error), getattr(error, "sqlite_errorcode", 0))


def _connected(path: str) -> sqlite3.Connection:
    # A connection may be opened on one thread and used on another; never on two at a time.
    return sqlite3.connect(path, uri=path.startswith("file:"), isolation_level=None, check_same_thread=False)


class OsDisk:
    """The file system. ``":memory:"`` is a database of its own that ends with its connection."""

    def connect(self, path: str, *, read_only: bool = False) -> SqliteConnection:
        """See ``Disk``."""
        try:
            if read_only:
                uri = f"{Path(path).absolute().as_uri()}?mode=ro"
                return SqliteConnection(_connected(uri))
            return SqliteConnection(_connected(path))
        except sqlite3.Error as error:
            raise _disk_error(error) from error

    def exists(self, path: str) -> bool:
        """See ``Disk``."""
        file = Path(path)
        return file.exists() and file.stat().st_size > 0

    def set_aside(self, path: str) -> None:
        """See ``Disk``."""
        for suffix in ("-shm", "-wal", ""):
            file = Path(path + suffix)
            if file.exists():
                file.replace(path + ASIDE + suffix)

    def write_anew(self, path: str) -> None:
        """See ``Disk``."""
        wal = Path(path + "-wal")
        try:
            if wal.exists():
                with wal.open("r+b", buffering=0) as file:
                    while data := file.read(_COPY_BYTES):
                        file.seek(-len(data), os.SEEK_CUR)
                        file.write(data)
                    os.fsync(file.fileno())
        except OSError as error:
            raise DiskError(str(error), _FULL if error.errno == errno.ENOSPC else _IOERR) from error


OS_DISK = OsDisk()


@contextlib.contextmanager
def transaction(connection: Connection) -> Iterator[None]:
    """Everything inside is one transaction; an exception undoes it and goes on to the caller."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # SQLite has already rolled back by itself after some errors; then there is nothing to undo.
        with contextlib.suppress(DiskError):
            connection.execute("ROLLBACK")
        raise


def configure(connection: Connection, synchronous: Literal["FULL", "NORMAL"], cache_kib: int) -> None:
    """Set a writing connection up: WAL, checkpoints by hand, and the cache in KiB."""
    # A new file switches to WAL by way of a rollback journal. Only EXTRA makes sure that a power cut cannot
    # bring the deleted journal back, to be played over everything stored since.
    connection.execute("PRAGMA synchronous=EXTRA")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute(f"PRAGMA cache_size=-{cache_kib}")
    connection.execute("PRAGMA temp_store=MEMORY")
    # Some builds overwrite deleted content with zeros; trimming the log would write everything twice.
    connection.execute("PRAGMA secure_delete=OFF")
    connection.execute("PRAGMA busy_timeout=5000")


def checkpoint(connection: Connection) -> bool:
    """Move the WAL into the database and sync it; whether all of it could be moved.

    A reader that still looks at an older state keeps the rest in the WAL: not an error, try again later.
    """
    busy, in_wal, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)")[0]
    # A database in memory answers -1, -1: there is nothing to move.
    return not busy and in_wal == moved
