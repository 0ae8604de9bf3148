"""``reactor.storage.projector``: its decisions, with the thread not running, and the thread itself."""

from __future__ import annotations

import queue
import time
from pathlib import Path

import pytest

from reactor.storage import projector as module
from reactor.storage.connection import OS_DISK, Connection, DiskError
from reactor.storage.log import Log, StoredSchema
from reactor.storage.projection import Projection
from reactor.storage.projector import Projector
from tests.reactor.storage.support import ITEM, group, item_group
from tests.simulation.disk import SimulatedDisk

PATIENCE_S = 30


class Rig:
    """A projector on a projection, and what it reports."""

    def __init__(self, connection: Connection, log: Log | None = None) -> None:
        self.projected: queue.Queue[int] = queue.Queue()
        self.broken: queue.Queue[Exception] = queue.Queue()
        projection = Projection(connection)
        projection.adopt({1: StoredSchema(1, {1: ITEM})}, 1)
        self.projection = projection
        self.projector = Projector(
            projection,
            lambda: OS_DISK.connect(str(log), read_only=True),
            self.projected.put,
            self.broken.put,
        )

    def due_in_s(self) -> float | None:
        """How long until it would work."""
        due_s = self.projector._due_s()
        return None if due_s is None else max(0.0, due_s - time.monotonic())

    def wait_for(self, seq: int) -> None:
        """Wait until it reports ``seq``."""
        while self.projected.get(timeout=PATIENCE_S) < seq:
            pass


@pytest.fixture
def rig() -> Rig:
    """A rig in memory; its thread is not started."""
    return Rig(OS_DISK.connect(":memory:"))


def test_nothing_to_do_is_no_wake_up(rig: Rig) -> None:
    """P8: an idle projector waits for ever."""
    assert rig.due_in_s() is None


def test_under_load_it_waits_and_when_asked_it_does_not(rig: Rig) -> None:
    """Calls made one after the other do not meet the projector, whoever asks for a seq does not wait."""
    rig.projector.feed([item_group(1, 1, 1)])
    due_s = rig.due_in_s()
    assert due_s is not None
    assert 0 < due_s <= module.QUIET_S
    rig.projector._rest_until_s = time.monotonic() + 60
    rig.projector._last_s = time.monotonic() + 60
    due_s = rig.due_in_s()
    assert due_s is not None
    assert due_s > 50, "while groups keep coming, the budget decides"
    rig.projector.ask(1)
    assert rig.due_in_s() == 0


def test_bursts_keep_to_their_share(rig: Rig) -> None:
    """After a burst it rests long enough to stay within its share of a core."""
    rig.projector.feed([group(1, [[x for i in range(2_000) for x in (1, [i, i, "name"])]])])
    started_s = time.monotonic()
    rig.projector._work()
    ended_s = time.monotonic()
    rest_s = rig.projector._rest_until_s - ended_s
    assert rest_s == pytest.approx((ended_s - started_s) * (1 / module.BUSY_SHARE - 1), rel=0.5)
    assert rig.projected.get_nowait() == 1


def test_asking_for_what_is_there_is_answered_at_once(rig: Rig) -> None:
    """Also for a seq that the log does not have."""
    rig.projector.ask(7)
    assert rig.projected.get_nowait() == 0


def test_checkpoints_by_amount_age_and_quiet(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written becomes durable after many rows, after a while, and sooner when it is quiet."""
    rig.projector.feed([item_group(1, 1, 1)])
    rig.projector._work()
    due_s = rig.due_in_s()
    assert due_s is not None
    assert module.CHECKPOINT_AGE_S - 5 < due_s <= module.CHECKPOINT_AGE_S
    monkeypatch.setattr(module, "CHECKPOINT_QUIET_ROWS", 1)
    due_s = rig.due_in_s()
    assert due_s is not None
    assert due_s <= module.CHECKPOINT_QUIET_S
    monkeypatch.setattr(module, "CHECKPOINT_ROWS", 1)
    assert rig.due_in_s() == 0
    assert rig.projector.durable_seq == 0
    rig.projector._work()
    assert rig.projector.durable_seq == 1
    assert rig.due_in_s() is None


def test_a_reader_puts_a_checkpoint_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not tried again at once, over and over."""
    monkeypatch.setattr(module, "CHECKPOINT_ROWS", 1)
    path = str(tmp_path / "projection.db")
    rig = Rig(OS_DISK.connect(path))
    reader = OS_DISK.connect(path, read_only=True)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM item")
    rig.projector.feed([item_group(1, 1, 1)])
    rig.projector._work()
    assert rig.projector.durable_seq == 0
    due_s = rig.due_in_s()
    assert due_s is not None
    assert due_s > module.RETRY_S / 2


def test_a_full_disk_is_waited_for() -> None:
    """P6: the log has it all; it is tried again after a pause, and nothing is reported before it worked."""
    disk = SimulatedDisk()
    rig = Rig(disk.connect("projection.db"))
    rig.projector.feed([item_group(1, 1, 1)])
    disk.fail("write", "full", after=0)
    rig.projector._work()
    due_s = rig.due_in_s()
    assert due_s is not None
    assert due_s > module.RETRY_S / 2
    assert rig.projected.empty()
    rig.projector._work()
    assert rig.projected.get_nowait() == 1


# -- the thread ----------------------------------------------------------------------------------


def test_it_follows_by_itself_and_finishes_when_closed(tmp_path: Path) -> None:
    """What is fed is projected soon; a close projects the rest and makes it durable."""
    path = str(tmp_path / "projection.db")
    rig = Rig(OS_DISK.connect(path))
    rig.projector.start()
    rig.projector.feed([item_group(1, 1, 1)])
    rig.wait_for(1)
    rig.projector.mark_alive(5, 6)
    rig.projector.feed([item_group(seq, seq, seq) for seq in range(2, 50)])
    rig.projector.ask(49)
    rig.wait_for(49)
    rig.projector.feed([item_group(50, 50, 50)])
    rig.projector.close(finish=True)
    assert rig.projector.durable_seq == 50
    projection = Projection(OS_DISK.connect(path))
    assert projection.reached_seq == 50
    assert projection.alive == (5, 6)
    assert len(list(projection.rows(ITEM))) == 50


def test_closed_at_once_it_leaves_the_rest_to_the_next_start(tmp_path: Path) -> None:
    """When the reactor is gone the directory is wanted back soon."""
    rig = Rig(OS_DISK.connect(str(tmp_path / "projection.db")))
    rig.projector.feed([item_group(1, 1, 1)])
    rig.projector._rest_until_s = rig.projector._last_s = time.monotonic() + 60
    rig.projector.start()
    rig.projector.close(finish=False)
    assert not rig.projector.is_alive()
    assert Projection(OS_DISK.connect(str(tmp_path / "projection.db"))).reached_seq == 0


def test_an_io_error_ends_it_and_is_reported() -> None:
    """P6: it does not go on with a disk that fails."""
    disk = SimulatedDisk()
    rig = Rig(disk.connect("projection.db"))
    disk.fail("write", "io", after=0)
    rig.projector.start()
    rig.projector.feed([item_group(1, 1, 1)])
    error = rig.broken.get(timeout=PATIENCE_S)
    assert isinstance(error, DiskError)
    assert error.kind == "io"
    rig.projector.join(PATIENCE_S)
    assert not rig.projector.is_alive()
