"""The reactor's end of the writer process.

Nothing here waits for the disk or for the writer: what the socket does not take at once is kept and sent when
it can, and answers arrive as events of the asyncio loop. Only ``close`` blocks.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from reactor.errors import Fault, invariant
from reactor.storage.api import Group, StorageEvents
from reactor.storage.channel import Channel
from reactor.storage.frames import IGNORED_SIGNALS, FromWriter, ToWriter, frame
from reactor.storage.opening import Opened

WRITER_COMMAND = (sys.executable, "-m", "reactor.storage.writer")
CLOSE_TIMEOUT_S = 120.0
"""How long ``close`` waits for the writer to store and project everything."""

_SOCKET_BYTES = 1 << 20


class ProcessStorage:
    """A ``Storage`` whose work is done by a writer process. To be used on one asyncio loop.

    ``inherited_fds`` stay open in the writer: give it the lock of the data directory, so that no other
    reactor can start there while this writer still stores what it was sent.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        inherited_fds: Sequence[int] = (),
        command: Sequence[str] = WRITER_COMMAND,
    ) -> None:
        invariant(opened.directory is not None, "a writer process needs files")
        self._opened = opened
        self._inherited_fds, self._command = tuple(inherited_fds), tuple(command)
        self._link: _Link | None = None

    @property
    def history_id(self) -> str:
        """See ``Storage``."""
        return self._opened.history_id

    @property
    def writer_pid(self) -> int | None:
        """The process id of the writer, once started."""
        return self._link.process.pid if self._link else None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait in this process because the writer does not keep up."""
        return self._link.channel.unsent_bytes if self._link else 0

    def start(self, events: StorageEvents) -> None:
        """See ``Storage``. Takes over the files of ``opened``, whose rows must have been read before."""
        invariant(self._link is None, "a storage is started once")
        self._opened.release()
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
        with theirs:
            process = self._spawn(theirs.fileno())
        self._link = _Link(ours, process, events, self._opened.last_seq)

    def _spawn(self, fd: int) -> subprocess.Popen[bytes]:
        command = [*self._command, str(fd), str(self._opened.directory), self._opened.durability]
        # A Ctrl-C meant for the reactor must not reach the writer before it ignores it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)
        try:
            return subprocess.Popen(command, pass_fds=(fd, *self._inherited_fds), stdin=subprocess.DEVNULL)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def append(self, group: Group) -> None:
        """See ``Storage``."""
        self._send(ToWriter.GROUP, *group)

    def reset(self) -> None:
        """See ``Storage``."""
        self._send(ToWriter.RESET)

    def project(self, seq: int) -> None:
        """See ``Storage``."""
        self._send(ToWriter.PROJECT, seq)

    def mark_alive(self, wall_us: int, world_us: int) -> None:
        """See ``Storage``."""
        self._send(ToWriter.ALIVE, wall_us, world_us)

    def trim(self, keep_after_us: int, bytes_max: int | None = None) -> None:
        """See ``Storage``."""
        self._send(ToWriter.TRIM, keep_after_us, bytes_max)

    def _send(self, kind: ToWriter, *arguments: Any) -> None:
        invariant(self._link is not None, "the storage has been started")
        if self._link is not None:
            self._link.channel.send(frame(kind, *arguments))

    def close(self) -> None:
        """See ``Storage``. Blocks until the writer has ended, at most ``CLOSE_TIMEOUT_S``; events are told
        meanwhile. Raises ``Fault`` if it has not ended: it goes on by itself and holds the directory."""
        if self._link is not None:
            self._link.close()


class _Link:
    """A running writer: what it says becomes events."""

    def __init__(
        self, sock: socket.socket, process: subprocess.Popen[bytes], events: StorageEvents, projected_seq: int
    ) -> None:
        self.process = process
        self._events = events
        self._projected_seq = projected_seq
        self._was_closed = self._was_lost = self._closing = False
        self.channel = Channel(sock, asyncio.get_running_loop(), self._received, self._ended)

    def _received(self, message: list[Any]) -> None:
        kind, *arguments = message
        if kind == FromWriter.DURABLE:
            self._events.durable(*arguments)
        elif kind == FromWriter.PROJECTED:
            # Two threads of the writer answer; the later answer may come first.
            self._projected_seq = max(self._projected_seq, *arguments)
            self._events.projected(self._projected_seq)
        elif kind == FromWriter.FAILED:
            self._events.failed(*arguments)
        elif kind == FromWriter.RECOVERED:
            self._events.recovered()
        elif kind == FromWriter.LOST:
            self._lose(*arguments)
        elif kind == FromWriter.CLOSED:
            self._was_closed = True

    def _ended(self) -> None:
        # It has closed its end, so it has ended or is about to.
        status = self.process.wait()
        if not self._was_closed:
            how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            self._lose(f"the writer process ended ({how})")

    def _lose(self, message: str) -> None:
        if not self._was_lost:
            self._was_lost = True
            self._events.lost(message)

    def close(self) -> None:
        """End the writer in good order."""
        if not self.channel.open or self._closing:
            return
        self._closing = True
        until_s = time.monotonic() + CLOSE_TIMEOUT_S
        self.channel.send(frame(ToWriter.CLOSE))
        if not self.channel.drain(lambda: until_s - time.monotonic()):
            self.channel.close()
            raise Fault("stopping", f"the writer process {self.process.pid} did not end within {CLOSE_TIMEOUT_S:g} s")
