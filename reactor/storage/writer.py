"""The writer process: ``python -m reactor.storage.writer``, started by ``ProcessStorage``.

The main thread takes every group that is waiting, stores them in one transaction, and acknowledges them after
its sync; while it syncs, the next groups gather in the socket. A second thread owns the projection.

- End of input means the reactor is gone: whole groups that arrived are stored, the files closed, the process
  ends. The next start folds what was not projected.
- A full disk: the transaction is undone, the reactor told, and every group dropped until the reactor says it
  has taken its commits back; then a tiny write, once a second, finds out when there is space again.
- An I/O error: nothing is written any more. After a failed sync the system may have dropped the very pages that
  were not written, so a second sync that succeeds proves nothing; only a new start, which writes anew whatever
  may be in doubt, can go on.
- SIGINT, SIGTERM and SIGHUP are ignored: they may be sent to the whole process group, and the reactor
  decides when its writer ends.
"""

from __future__ import annotations

import gc
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from reactor.errors import Refusal
from reactor.storage.api import Durability, Group
from reactor.storage.connection import OS_DISK, Disk, DiskError
from reactor.storage.frames import IGNORED_SIGNALS, FromWriter, Splitter, ToWriter, frame
from reactor.storage.log import Log
from reactor.storage.opening import Paths, open_log
from reactor.storage.projection import Projection
from reactor.storage.projector import Projector

_READ_BYTES = 1 << 20
# What one transaction takes at most, so that the first group in it does not wait for a long queue.
_TAKE_BYTES = 4 << 20
_PROBE_MS = 1_000
_TIDY_MS = 1_000
# Appends trim as they go; the rest goes when no call has come for this long.
_TRIM_MS = 2
_TRIM_RECORDS = 64
# Two threads share the interpreter; a commit must not wait 5 ms, the default, for the projector to let go.
_SWITCH_S = 0.0001


class Writer:
    """The main thread: the log, and what the reactor is told."""

    def __init__(self, sock: socket.socket, directory: Path, durability: Durability, disk: Disk) -> None:
        paths = Paths(directory)
        self._sock = sock
        self._sending = threading.Lock()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._splitter = Splitter()
        self._log: Log = open_log(paths, durability, disk)
        projection = Projection(disk.connect(paths.projection))
        projection.adopt(self._log.schemas, self._log.schema_no)
        self._projector = Projector(
            projection, lambda: disk.connect(paths.log, read_only=True), self._projected, self._broken
        )
        self._groups: list[Group] = []
        self._failure: str | None = None
        self._was_reset = False
        self._closing = False
        self._trimming = False

    def run(self) -> None:
        """Serve until the reactor closes or is gone."""
        self._log.prepare()
        self._projector.start()
        try:
            while not self._closing and self._serve_once():
                pass
        except Exception as error:
            self._lose(f"the writer has a defect: {error}")
            raise
        finally:
            self._finish()

    def _serve_once(self) -> bool:
        """Wait for input and handle it; False at its end."""
        if not self._poll.poll(self._patience_ms()):
            self._idle()
            return True
        taken, ended = 0, False
        while taken < _TAKE_BYTES:
            try:
                data = self._sock.recv(_READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                ended = True
                break
            taken += len(data)
            for message in self._splitter.feed(data):
                self._handle(message)
        self._store()
        return not ended

    def _patience_ms(self) -> int | None:
        """How long to wait for input before there is something else to do."""
        if self._failure == "full" and self._was_reset:
            return _PROBE_MS
        if self._failure is None and self._trimming:
            return _TRIM_MS
        if self._failure is None and self._log.wants_tidying:
            return _TIDY_MS
        return None

    def _idle(self) -> None:
        try:
            if self._failure == "full":
                self._log.probe()
                if self._failure == "full":  # the projector may have found worse meanwhile
                    self._failure = None
                    self._send(FromWriter.RECOVERED)
            elif self._trimming:
                self._trimming = self._log.trim_some(_TRIM_RECORDS)
            else:
                self._log.checkpoint()
        except DiskError as error:
            if error.kind != "full" or self._failure is None:
                self._fail(error)

    def _handle(self, message: list[Any]) -> None:
        kind, *arguments = message
        if kind == ToWriter.GROUP:
            self._groups.append(Group(*arguments))
            return
        self._store()
        if kind == ToWriter.RESET:
            self._was_reset = True
        elif kind == ToWriter.PROJECT:
            self._projector.ask(*arguments)
        elif kind == ToWriter.ALIVE:
            self._projector.mark_alive(*arguments)
        elif kind == ToWriter.TRIM and self._failure is None:
            keep_after_us, bytes_max = arguments
            self._log.trim(keep_after_us, bytes_max, self._projector.durable_seq)
            self._trimming = True
        elif kind == ToWriter.CLOSE:
            self._closing = True

    def _store(self) -> None:
        """Store the groups taken, if there are any and nothing is wrong."""
        groups, self._groups = self._groups, []
        if not groups or self._failure is not None:
            return
        try:
            self._log.append(groups)
        except DiskError as error:
            self._fail(error)
            return
        self._send(FromWriter.DURABLE, self._log.last_seq)
        self._projector.feed(groups)
        if self._log.wants_checkpoint:
            try:
                self._log.checkpoint()
            except DiskError as error:
                self._fail(error)

    # -- what goes wrong ---------------------------------------------------------------------

    def _fail(self, error: DiskError) -> None:
        self._was_reset = False
        if error.kind in ("full", "io"):
            self._failure = error.kind
            self._send(FromWriter.FAILED, error.kind, error.message)
        else:
            self._lose(f"the log cannot be written: {error.message}")

    def _lose(self, message: str) -> None:
        self._failure = "lost"
        self._send(FromWriter.LOST, message)

    def _projected(self, seq: int) -> None:
        self._send(FromWriter.PROJECTED, seq)

    def _broken(self, error: DiskError | Refusal) -> None:
        """Called on the projector's thread as it ends."""
        if isinstance(error, DiskError) and error.kind == "io":
            self._fail(error)
        else:
            self._lose(f"the projection cannot be kept: {error.message}")

    def _send(self, kind: FromWriter, *arguments: Any) -> None:
        try:
            with self._sending:
                self._sock.sendall(frame(kind, *arguments))
        except OSError:
            # The reactor is gone; the end of the input says so, too, after the groups that arrived.
            pass

    # -- the end -----------------------------------------------------------------------------

    def _finish(self) -> None:
        orderly = self._closing and self._failure is None
        self._projector.close(finish=orderly)
        if orderly and self._failure is None:
            try:
                self._log.checkpoint()
                self._log.set_meta(clean=1)
            except DiskError as error:
                self._fail(error)
        self._log.connection.close()
        if self._closing:
            self._send(FromWriter.CLOSED)
        self._sock.close()


def serve(arguments: list[str], disk: Disk = OS_DISK) -> int:
    """Run a writer for ``[socket fd, directory, durability]``; the exit status."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # Held back by the reactor until we ignore them.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)
    sys.setswitchinterval(_SWITCH_S)
    # Nothing here makes cycles; collecting would only look at the rows of a burst again and again.
    gc.disable()
    fd, directory, durability = arguments
    sock = socket.socket(fileno=int(fd))
    sock.setblocking(True)
    try:
        writer = Writer(sock, Path(directory), "relaxed" if durability == "relaxed" else "full", disk)
    except (DiskError, Refusal) as error:
        sock.sendall(frame(FromWriter.LOST, error.message))
        return 1
    writer.run()
    return 0


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:]))
