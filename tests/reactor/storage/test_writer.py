"""``reactor.storage.writer``: the writer's main loop on a thread, over a simulated disk."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from reactor.storage import writer as module
from reactor.storage.frames import FromWriter, Splitter, ToWriter, frame
from reactor.storage.writer import Writer
from tests.reactor.storage.support import item_group, opened
from tests.simulation.disk import SimulatedDisk

PATIENCE_S = 30
DIRECTORY = Path("/d")


class Rig:
    """A running writer and the reactor's end of its socket."""

    def __init__(self) -> None:
        self.disk = SimulatedDisk()
        opened(DIRECTORY, disk=self.disk).release()
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(PATIENCE_S)
        self.writer = Writer(theirs, DIRECTORY, "full", self.disk)
        self.thread = threading.Thread(target=self.writer.run)
        self.thread.start()
        self._splitter = Splitter()
        self._waiting: list[list[Any]] = []

    def send(self, kind: ToWriter, *arguments: Any) -> None:
        """Tell the writer something."""
        self.sock.sendall(frame(kind, *arguments))

    def append(self, *seqs: int) -> None:
        """Send groups of one commit each, together."""
        self.sock.sendall(b"".join(frame(ToWriter.GROUP, *item_group(s, s, s * 10)) for s in seqs))

    def answer(self, *kinds: FromWriter) -> list[Any]:
        """The next answer of one of these kinds; others are passed over."""
        while True:
            while self._waiting:
                message = self._waiting.pop(0)
                if message[0] in kinds:
                    return message
            self._waiting += self._splitter.feed(self.sock.recv(1 << 16))

    def until(self, kind: FromWriter, seq: int) -> None:
        """Wait until the writer says that it has come to ``seq``."""
        while self.answer(kind)[1] < seq:
            pass

    def end(self) -> None:
        """End the input and wait for the writer."""
        self.sock.shutdown(socket.SHUT_WR)
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    """A running writer that tries a full disk every few milliseconds."""
    monkeypatch.setattr(module, "_PROBE_MS", 5)
    rig = Rig()
    yield rig
    rig.sock.close()
    rig.thread.join(PATIENCE_S)


def test_groups_that_arrive_together_are_one_sync(rig: Rig) -> None:
    """Group commit; the answer tells the last of them, and everything is really durable by then."""
    rig.append(1)
    rig.until(FromWriter.DURABLE, 1)
    syncs = rig.disk.syncs
    rig.append(*range(2, 200))
    rig.until(FromWriter.DURABLE, 199)
    assert rig.disk.syncs - syncs < 20
    rig.end()
    rig.disk.crash(Random(1))
    assert opened(DIRECTORY, disk=rig.disk).last_seq == 199


def test_a_close_is_clean(rig: Rig) -> None:
    """Everything is stored and projected, and the next start knows."""
    rig.append(1, 2, 3)
    rig.send(ToWriter.ALIVE, 5, 6)
    rig.send(ToWriter.CLOSE)
    rig.answer(FromWriter.CLOSED)
    rig.thread.join(PATIENCE_S)
    store = opened(DIRECTORY, disk=rig.disk)
    assert (store.clean, store.last_seq, store.projection.reached_seq) == (True, 3, 3)
    assert store.alive == (5, 6)


def test_the_end_of_input_stores_what_arrived(rig: Rig) -> None:
    """The reactor is gone: whole groups are stored, half a frame is not, and the stop is not clean."""
    half = frame(ToWriter.GROUP, *item_group(3, 3, 30))[:-1]
    rig.append(1, 2)
    rig.sock.sendall(half)
    rig.end()
    store = opened(DIRECTORY, disk=rig.disk)
    assert (store.clean, store.last_seq) == (False, 2)
    assert len(list(store.rows("item"))) == 2


def test_project_is_answered(rig: Rig) -> None:
    """SQL asks for a seq and gets it, at once when it is there already."""
    rig.append(1, 2)
    rig.send(ToWriter.PROJECT, 2)
    rig.until(FromWriter.PROJECTED, 2)
    rig.send(ToWriter.PROJECT, 1)
    rig.until(FromWriter.PROJECTED, 2)


def test_a_full_disk_and_the_way_back(rig: Rig) -> None:
    """P6: groups on their way are void until the host's reset; then the first write that succeeds is told."""
    rig.append(1)
    rig.until(FromWriter.DURABLE, 1)
    rig.disk.fail("write", "full", after=0, count=1_000_000)
    rig.append(2)
    assert rig.answer(FromWriter.FAILED, FromWriter.DURABLE)[1] == "full"
    rig.append(3, 4)
    rig.send(ToWriter.RESET)
    rig.disk.heal()
    rig.answer(FromWriter.RECOVERED)
    rig.append(2)
    rig.until(FromWriter.DURABLE, 2)
    rig.end()
    store = opened(DIRECTORY, disk=rig.disk)
    assert store.last_seq == 2


def test_an_io_error_is_for_good(rig: Rig) -> None:
    """P6: fsync is not retried; nothing that came later is stored, and reading the files tells the truth."""
    rig.append(1)
    rig.until(FromWriter.DURABLE, 1)
    rig.disk.fail("sync", "io", after=0, count=1)
    rig.append(2)
    assert rig.answer(FromWriter.FAILED, FromWriter.DURABLE)[1] == "io"
    rig.send(ToWriter.RESET)
    rig.append(2)
    rig.send(ToWriter.CLOSE)
    rig.answer(FromWriter.CLOSED)
    rig.thread.join(PATIENCE_S)
    store = opened(DIRECTORY, disk=rig.disk)
    assert store.last_seq in (1, 2)
    assert not store.clean


def test_damage_is_the_end(rig: Rig) -> None:
    """P6: what is neither space nor device cannot be waited for."""
    rig.append(1)
    rig.until(FromWriter.DURABLE, 1)
    rig.writer._log.connection.execute("DROP TABLE record")
    rig.append(2)
    assert "cannot be written" in rig.answer(FromWriter.LOST)[1]


def test_trimming_keeps_what_is_not_durably_projected(rig: Rig) -> None:
    """P1: with no completed checkpoint of the projection nothing goes, whatever its age."""
    rig.append(*range(1, 50))
    rig.send(ToWriter.PROJECT, 49)
    rig.until(FromWriter.PROJECTED, 49)
    rig.send(ToWriter.TRIM, 1 << 60, None)
    rig.append(50)
    rig.until(FromWriter.DURABLE, 50)
    rig.end()
    rig.disk.crash(Random(2))
    store = opened(DIRECTORY, disk=rig.disk)
    assert store.log.trimmed_to == 0
    assert len(list(store.rows("item"))) == 50


def test_trimming_goes_on_when_idle() -> None:
    """What appends did not take along goes when nobody calls, a little at a time."""
    disk = SimulatedDisk()
    opened(DIRECTORY, disk=disk).release()
    sock, theirs = socket.socketpair()
    writer = Writer(theirs, DIRECTORY, "full", disk)
    assert writer._patience_ms() is None, "P8: idle, it waits for ever"
    for seq in range(1, 500):
        writer._handle([ToWriter.GROUP, *item_group(seq, seq, seq)])
    writer._store()
    writer._projector._projection.apply((1, item_group(seq, seq, seq).payload) for seq in range(1, 500))
    writer._projector._projection.checkpoint()
    writer._handle([ToWriter.TRIM, 401_000_000, None])
    turns = 0
    while writer._patience_ms() == module._TRIM_MS:
        writer._idle()
        turns += 1
    assert turns > 3
    assert writer._log.trimmed_to == 400
    assert writer._patience_ms() is None
    sock.close()
    theirs.close()
