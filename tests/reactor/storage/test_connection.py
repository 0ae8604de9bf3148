"""``reactor.storage.connection``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reactor.storage.connection import ASIDE, OS_DISK, DiskError, checkpoint, configure, transaction


def test_full_disk_is_told_apart(tmp_path: Path) -> None:
    """P6: no space left is a kind of its own, because it may pass."""
    connection = OS_DISK.connect(str(tmp_path / "a.db"))
    connection.execute("CREATE TABLE t (x)")
    connection.execute("PRAGMA max_page_count=3")
    with pytest.raises(DiskError) as error:
        connection.executemany("INSERT INTO t VALUES (zeroblob(?))", [(100_000,)])
    assert error.value.kind == "full"


def test_damage_and_permission_are_told_apart(tmp_path: Path) -> None:
    """P6: what is not a database is damage; what may not be written is an I/O error."""
    (tmp_path / "a.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(DiskError) as error:
        OS_DISK.connect(str(tmp_path / "a.db")).execute("SELECT * FROM sqlite_master")
    assert error.value.kind == "damaged"
    OS_DISK.connect(str(tmp_path / "b.db")).execute("CREATE TABLE t (x)")
    with pytest.raises(DiskError) as error:
        OS_DISK.connect(str(tmp_path / "b.db"), read_only=True).execute("INSERT INTO t VALUES (1)")
    assert error.value.kind == "io"
    with pytest.raises(DiskError) as error:
        OS_DISK.connect(str(tmp_path / "missing" / "c.db"))
    assert error.value.kind == "io"
    with pytest.raises(DiskError) as error:
        list(OS_DISK.connect(":memory:").stream("SELECT nonsense"))
    assert error.value.kind == "other"


def test_transaction_is_whole_or_nothing() -> None:
    """P2: an exception inside undoes everything inside."""
    connection = OS_DISK.connect(":memory:")
    connection.execute("CREATE TABLE t (x)")
    with transaction(connection):
        connection.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(ValueError, match="stop"), transaction(connection):
        connection.execute("INSERT INTO t VALUES (2)")
        raise ValueError("stop")
    assert connection.execute("SELECT x FROM t") == [(1,)]


def test_checkpoint_tells_whether_it_was_complete(tmp_path: Path) -> None:
    """A reader of an older state keeps the rest of the WAL from being moved."""
    writer = OS_DISK.connect(str(tmp_path / "a.db"))
    configure(writer, "NORMAL", 1_000)
    writer.execute("CREATE TABLE t (x)")
    assert checkpoint(writer)
    reader = OS_DISK.connect(str(tmp_path / "a.db"), read_only=True)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM t")
    writer.execute("INSERT INTO t VALUES (1)")
    assert not checkpoint(writer)
    reader.execute("COMMIT")
    assert checkpoint(writer)


def test_set_aside_takes_the_wal_along(tmp_path: Path) -> None:
    """Nothing is deleted, and a new database does not meet the old one's WAL."""
    path = str(tmp_path / "a.db")
    connection = OS_DISK.connect(path)
    configure(connection, "NORMAL", 1_000)
    connection.execute("CREATE TABLE t (x)")
    assert Path(path + "-wal").exists()
    OS_DISK.set_aside(path)
    assert not OS_DISK.exists(path)
    assert not Path(path + "-wal").exists()
    assert OS_DISK.connect(path + ASIDE).execute("SELECT count(*) FROM t") == [(0,)]


def test_stream_gives_every_row_once() -> None:
    """Batches join to the whole result."""
    connection = OS_DISK.connect(":memory:")
    connection.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    connection.executemany("INSERT INTO t VALUES (?)", ((i,) for i in range(5_001)))
    batches = list(connection.stream("SELECT x FROM t"))
    assert [x for batch in batches for (x,) in batch] == list(range(5_001))
    assert len(batches) == 3


def test_the_wal_is_written_anew_as_it_is(tmp_path: Path) -> None:
    """P6: every byte again, so that what only looked stored is; nothing to do where there is no WAL."""
    path = str(tmp_path / "a.db")
    OS_DISK.write_anew(path)
    connection = OS_DISK.connect(path)
    configure(connection, "NORMAL", 1_000)
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (zeroblob(3000000))")
    wal = Path(path + "-wal")
    before, written_ns = wal.read_bytes(), wal.stat().st_mtime_ns
    os.utime(wal, ns=(0, 0))
    OS_DISK.write_anew(path)
    assert wal.read_bytes() == before
    assert wal.stat().st_mtime_ns >= written_ns
    (tmp_path / "b.db-wal").mkdir()
    with pytest.raises(DiskError) as error:
        OS_DISK.write_anew(str(tmp_path / "b.db"))
    assert error.value.kind == "io"
