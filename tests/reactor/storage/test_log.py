"""``reactor.storage.log``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reactor.columns import TYPES, Column
from reactor.errors import InvariantError, Refusal
from reactor.storage import Durability, Group
from reactor.storage.api import FORMAT_VERSION
from reactor.storage.connection import OS_DISK, DiskError
from reactor.storage.log import CHECKPOINT_BYTES, Log, StoredSchema
from tests.reactor.storage.support import EVERYTHING, ITEM, TICKET, group, item_group
from tests.simulation.disk import SimulatedDisk


def new_log(path: str = ":memory:", durability: Durability = "full") -> Log:
    """A log with one schema version."""
    log = Log(OS_DISK.connect(path), durability)
    if not log.schemas:
        log.add_schema(StoredSchema(1, {1: ITEM}), 0)
    return log


def fill(log: Log, count: int, per_append: int = 1) -> list[Group]:
    """Append ``count`` groups of one commit after what is there."""
    groups = [item_group(log.last_seq + 1 + i, i, i) for i in range(count)]
    for i in range(0, count, per_append):
        log.append(groups[i : i + per_append])
    return groups


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    """Groups come back whole and in order, also from another connection."""
    log = new_log(str(tmp_path / "log.db"))
    groups = fill(log, 700, per_append=7)
    log.connection.close()
    log = new_log(str(tmp_path / "log.db"))
    assert (log.last_seq, log.last_at_us, log.schema_no) == (700, 700_000_000, 1)
    assert [(r.first_seq, r.payload) for r in log.records_after(0)] == [(g.first_seq, g.payload) for g in groups]
    assert [r.first_seq for r in log.records_after(690)] == list(range(691, 701))
    assert [r.first_seq for r in log.records_backwards()] == list(range(700, 0, -1))


def test_append_refuses_a_gap() -> None:
    """A4: commits are numbered without a gap; a defect that makes one must not reach the file."""
    log = new_log()
    fill(log, 2)
    with pytest.raises(InvariantError):
        log.append([item_group(4, 1, 1)])
    with pytest.raises(InvariantError):
        log.append([item_group(3, 1, 1)._replace(last_seq=4)])
    assert log.last_seq == 2
    assert len(list(log.records_after(0))) == 2


def test_a_failed_append_stores_nothing() -> None:
    """P2, P6: after a full disk the log is as before and takes the same group again."""
    log = new_log()
    fill(log, 1)
    pages = log.connection.execute("PRAGMA page_count")[0][0]
    log.connection.execute(f"PRAGMA max_page_count={pages + 2}")
    big = item_group(3, 1, 1)
    with pytest.raises(DiskError) as error:
        log.append([item_group(2, 1, 1), *(item_group(i, 1, 1) for i in range(3, 400))])
    assert error.value.kind == "full"
    log.connection.execute("PRAGMA max_page_count=100000")
    assert log.last_seq == 1
    log.probe()
    log.append([item_group(2, 5, 5), big])
    assert [r.first_seq for r in log.records_after(0)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE record SET payload = zeroblob(9) WHERE first_seq = 3", "checksum"),
        ("UPDATE record SET at_us = at_us + 1 WHERE first_seq = 3", "checksum"),
        ("UPDATE record SET schema_no = 7 WHERE first_seq = 3", "checksum"),
        ("UPDATE record SET last_seq = 'three' WHERE first_seq = 3", "header"),
        ("UPDATE record SET payload = NULL WHERE first_seq = 3", "header"),
        ("DELETE FROM record WHERE first_seq = 3", "missing"),
    ],
)
def test_damage_is_named(change: str, reason: str) -> None:
    """P6: a record that is not what was written is refused by name when it is needed."""
    log = new_log()
    fill(log, 5)
    log.connection.execute(change)
    with pytest.raises(Refusal) as error:
        list(log.records_after(0))
    assert error.value.code == "data_damaged"
    assert error.value.details["first_seq"] == 3
    assert reason in error.value.message
    assert [r.first_seq for r in log.records_after(3)] == [4, 5]
    backwards = {r.first_seq: r.damaged for r in log.records_backwards()}
    assert backwards.pop(3, None) is not None or reason == "missing"
    assert set(backwards.values()) == {None}


def test_a_missing_tail_is_seen() -> None:
    """P6: what ends before ``last_seq`` is not silently short."""
    log = new_log()
    fill(log, 3)
    log.connection.execute("DELETE FROM record WHERE first_seq = 3")
    with pytest.raises(Refusal, match=r"3 to 3.*missing"):
        list(log.records_after(0))


def test_damaged_pages_end_the_walk_backwards(tmp_path: Path) -> None:
    """P7: pages that SQLite itself cannot read become one damaged record."""
    path = tmp_path / "log.db"
    log = new_log(str(path))
    fill(log, 600)
    log.connection.close()
    data = bytearray(path.read_bytes())
    data[8 * 4096 :] = b"\xff" * (len(data) - 8 * 4096)
    path.write_bytes(data)
    log = Log.__new__(Log)
    log.connection, log.last_seq = OS_DISK.connect(str(path)), 600
    records = list(log.records_backwards())
    assert records[-1].damaged
    with pytest.raises(Refusal, match="cannot be used"):
        list(log.records_after(0))


def test_another_format_is_refused(tmp_path: Path) -> None:
    """B69: the message tells both versions."""
    log = new_log(str(tmp_path / "log.db"))
    log.connection.execute("UPDATE meta SET value = 99 WHERE name = 'format'")
    log.connection.close()
    with pytest.raises(Refusal) as error:
        new_log(str(tmp_path / "log.db"))
    assert error.value.code == "data_version"
    assert "99" in error.value.message
    assert str(FORMAT_VERSION) in error.value.message


def test_schema_versions_come_back(tmp_path: Path) -> None:
    """Every version keeps its tables, numbers and defaults, also defaults that JSON cannot write."""
    log = new_log(str(tmp_path / "log.db"))
    secret = Column("secret", TYPES["bytes"], default=b"\x00\xff")
    wide = Column("wide", TYPES["u256"], default=1 << 200)
    second = StoredSchema(2, {1: ITEM, 2: EVERYTHING, 5: replace(TICKET, columns=(*TICKET.columns, secret, wide))})
    log.add_schema(second, 1)
    log.connection.close()
    log = new_log(str(tmp_path / "log.db"))
    assert log.schema_no == 2
    assert log.schemas[1].tables[1].to_json() == ITEM.to_json()
    assert log.schema.to_json() == second.to_json()
    assert log.schema.tables[5].column("secret").default == b"\x00\xff"
    assert log.schema.tables[5].column("wide").default == 1 << 200


# -- trimming ------------------------------------------------------------------------------------


def test_trim_by_age_with_the_next_appends() -> None:
    """Old records go a few at a time with what is appended; reading starts after them."""
    log = new_log()
    fill(log, 50)
    log.trim(keep_after_us=31_000_000, bytes_max=None, durable_seq=50)
    assert log.trimmed_to == 0
    fill(log, 1)
    assert 0 < log.trimmed_to < 30
    fill(log, 10)
    assert log.trimmed_to == 30
    assert [r.first_seq for r in log.records_backwards()][-1] == 31
    with pytest.raises(Refusal, match=r"1 to 30.*missing"):
        list(log.records_after(0))


def test_trim_when_idle_and_what_it_never_takes() -> None:
    """P1: nothing the projection does not durably hold goes, and never the newest record."""
    log = new_log()
    fill(log, 100)
    log.trim(keep_after_us=1 << 60, bytes_max=None, durable_seq=40)
    while log.trim_some(7):
        pass
    assert log.trimmed_to == 40
    assert not log.trim_some(7)
    log.trim(keep_after_us=1 << 60, bytes_max=None, durable_seq=100)
    while log.trim_some(7):
        pass
    assert log.trimmed_to == 99
    assert [r.first_seq for r in log.records_after(99)] == [100]


def test_trim_stops_before_a_group_that_straddles() -> None:
    """Records go whole: one that holds a commit to be kept stays."""
    log = new_log()
    log.append([group(first, [[], [], []]) for first in (1, 4, 7)])
    log.trim(keep_after_us=1 << 60, bytes_max=None, durable_seq=5)
    while log.trim_some():
        pass
    assert log.trimmed_to == 3
    assert [r.first_seq for r in log.records_after(3)] == [4, 7]


def test_trim_by_size() -> None:
    """The oldest records go until the rest fits."""
    log = new_log()
    for seq in range(1, 101):
        log.append([_padded(seq)])
    used = log.bytes_used
    log.trim(keep_after_us=0, bytes_max=used // 2, durable_seq=100)
    while log.trim_some():
        pass
    assert 40 <= log.trimmed_to <= 60
    assert log.bytes_used <= used * 0.6


def _padded(seq: int) -> Group:
    return group(seq, [[1, [seq, 1, "x" * 10_000]]])


def test_trimming_survives_a_reopening(tmp_path: Path) -> None:
    """``trimmed_to`` is stored with the deletion."""
    log = new_log(str(tmp_path / "log.db"))
    fill(log, 10)
    log.trim(keep_after_us=6_000_000, bytes_max=None, durable_seq=10)
    log.trim_some()
    log.connection.close()
    assert new_log(str(tmp_path / "log.db")).trimmed_to == 5


# -- the WAL -------------------------------------------------------------------------------------


def test_prepare_gives_the_wal_its_size(tmp_path: Path) -> None:
    """Syncs are slow while a file grows; afterwards the log is as before."""
    log = new_log(str(tmp_path / "log.db"))
    log.prepare()
    assert (tmp_path / "log.db-wal").stat().st_size >= CHECKPOINT_BYTES
    assert not log.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'room'")
    fill(log, 3)
    assert [r.first_seq for r in log.records_after(0)] == [1, 2, 3]


def test_checkpoints_are_wanted_after_enough_bytes(tmp_path: Path) -> None:
    """P8: a little stays in the WAL; much is moved."""
    log = new_log(str(tmp_path / "log.db"), "relaxed")
    log.checkpoint()
    seen = [(log.wants_tidying, log.wants_checkpoint)]
    for seq in range(1, 1_000):
        log.append([_padded(seq)])
        seen.append((log.wants_tidying, log.wants_checkpoint))
    assert list(dict.fromkeys(seen)) == [(False, False), (True, False), (True, True)]
    assert (tmp_path / "log.db-wal").stat().st_size > CHECKPOINT_BYTES
    log.checkpoint()
    assert not log.wants_tidying


def test_a_full_disk_does_not_fail_a_checkpoint() -> None:
    """P6: the records are durable in the WAL; only the WAL cannot be moved now."""
    disk = SimulatedDisk()
    log = Log(disk.connect("log.db"))
    log.add_schema(StoredSchema(1, {1: ITEM}), 0)
    fill(log, 200, per_append=10)
    disk.full = True
    log.checkpoint()
    disk.full = False
    assert len(list(log.records_after(0))) == 200
    log.checkpoint()
    disk.fail("sync", "io", after=0)
    with pytest.raises(DiskError) as error:
        log.append([item_group(201, 1, 1)])
    assert error.value.kind == "io"
