"""``reactor.storage.inline``."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.errors import InvariantError
from reactor.storage import InlineStorage
from tests.reactor.storage.support import Recorder, item_group, opened
from tests.simulation.disk import SimulatedDisk


def started(disk: SimulatedDisk | None = None, *, automatic: bool = False) -> tuple[InlineStorage, Recorder]:
    """A storage in memory, or on a simulated disk, and its host."""
    store = opened(None) if disk is None else opened(Path("/d"), disk=disk)
    storage, host = InlineStorage(store, automatic=automatic), Recorder()
    storage.start(host)
    return storage, host


def test_automatic_does_everything_at_once() -> None:
    """P1: durable is told after the sync, projected after that."""
    storage, host = started(automatic=True)
    storage.append(item_group(1, 1, 10))
    assert host.told == [("durable", 1), ("projected", 1)]
    assert storage.projection_connection().execute("SELECT id, value FROM item") == [(1, 10)]
    assert (storage.durable_seq, storage.projected_seq, storage.history_id) == (1, 1, "history-1")
    storage.close()


def test_pump_merges_what_waits_into_one_sync() -> None:
    """Group commit: many groups, one sync; nothing is told before."""
    disk = SimulatedDisk()
    storage, host = started(disk)
    syncs = disk.syncs
    for seq in range(1, 11):
        storage.append(item_group(seq, seq, seq))
    assert (host.told, storage.waiting) == ([], 10)
    storage.pump()
    assert (host.told, storage.waiting) == ([("durable", 10)], 0)
    assert disk.syncs <= syncs + 2
    storage.pump_projection()
    storage.pump_projection()
    assert host.told == [("durable", 10), ("projected", 10)]


def test_project_answers_also_when_there_is_nothing_to_do() -> None:
    """SQL waits for its seq: it is always answered."""
    storage, host = started()
    storage.append(item_group(1, 1, 10))
    storage.pump()
    storage.project(1)
    storage.project(1)
    assert host.told[1:] == [("projected", 1), ("projected", 1)]
    with pytest.raises(InvariantError):
        storage.project(2)


def test_a_full_disk_stops_and_recovers() -> None:
    """P6: nothing of the failed groups is stored; after the host's reset and with space again it goes on."""
    disk = SimulatedDisk()
    storage, host = started(disk)
    storage.append(item_group(1, 1, 10))
    storage.pump()
    disk.fail("write", "full", after=0, count=3)
    storage.append(item_group(2, 1, 11))
    storage.pump()
    assert host.told[-1] == ("failed", "full")
    storage.append(item_group(3, 1, 12))
    disk.heal()
    storage.pump()
    assert host.told[-1] == ("failed", "full"), "before the reset nothing is tried"
    storage.reset()
    disk.fail("write", "full", after=0)
    storage.pump()
    assert host.told[-1] == ("failed", "full"), "the disk is still full"
    disk.heal()
    storage.pump()
    assert host.told[-1:] == [("recovered",)]
    storage.append(item_group(2, 1, 99))
    storage.pump()
    storage.pump_projection()
    assert host.told[-2:] == [("durable", 2), ("projected", 2)]
    disk.kill()
    assert list(opened(Path("/d"), disk=disk).rows("item")) == [(1, 99, "item 1")]


def test_an_io_error_stays_until_the_next_start() -> None:
    """P6: after a failed sync nothing is tried again."""
    disk = SimulatedDisk()
    storage, host = started(disk)
    disk.fail("sync", "io", after=0)
    storage.append(item_group(1, 1, 10))
    storage.pump()
    assert host.told == [("failed", "io")]
    storage.reset()
    storage.pump()
    storage.append(item_group(1, 1, 10))
    storage.pump()
    assert host.told == [("failed", "io")]
    storage.close()


def test_a_full_disk_delays_the_projection() -> None:
    """The log has the commits: the projection follows when it can, and nobody is bothered."""
    disk = SimulatedDisk()
    storage, host = started(disk)
    storage.append(item_group(1, 1, 10))
    storage.pump()
    disk.fail("write", "full", after=0)
    storage.pump_projection()
    assert host.told == [("durable", 1)]
    storage.pump_projection()
    assert host.told == [("durable", 1), ("projected", 1)]


def test_damage_while_running_is_the_end() -> None:
    """P6: a log that is no database any more cannot go on."""
    storage, host = started()
    storage._log.connection.execute("DROP TABLE record")
    storage.append(item_group(1, 1, 10))
    storage.pump()
    assert host.told[0][0] == "lost"


def test_close_stores_and_projects_what_waits() -> None:
    """A clean stop loses nothing and is remembered as clean."""
    disk = SimulatedDisk()
    storage, _ = started(disk)
    storage.append(item_group(1, 1, 10))
    storage.close()
    store = opened(Path("/d"), disk=disk)
    assert (store.clean, store.last_seq, store.projection.reached_seq) == (True, 1, 1)


def test_trim_keeps_what_the_projection_needs() -> None:
    """P1: trimming makes the projection durable first, and drops no record after that."""
    disk = SimulatedDisk()
    storage, _ = started(disk)
    for seq in range(1, 11):
        storage.append(item_group(seq, seq, seq))
        storage.pump()
        if seq == 6:
            storage.pump_projection()
    storage.trim(keep_after_us=1 << 60)
    disk.kill()
    store = opened(Path("/d"), disk=disk)
    assert store.log.trimmed_to == 6
    assert len(list(store.rows("item"))) == 10


def test_events_need_a_start() -> None:
    """A defect of the host is named."""
    storage = InlineStorage(opened(None))
    with pytest.raises(InvariantError):
        storage.append(item_group(1, 1, 1))
