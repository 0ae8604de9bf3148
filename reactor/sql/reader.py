"""The reader process: ``python -m reactor.sql.reader FD`` answers one SQL query after the other.

It is started by ``process.SqlReader`` with one end of a socket pair and ends when the other end closes. What a
query could do to a machine it can do only to this process: memory is capped, files cannot grow, priority is
below the reactor's, and the reactor kills and restarts it when it does not answer in time.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sqlite3
import sys
import time
from pathlib import Path

import msgspec

from reactor.errors import ReactorError
from reactor.sql import failures
from reactor.sql.guard import Guard, is_broken
from reactor.sql.messages import Answered, Asked, ReaderSetup, ReportRequest, SqlRequest, SqlResult, frame, receive

# Beyond SQLite's own heap limit: Python, the encoded result, and what malloc wastes.
_PROCESS_BYTES = 1 << 30
# The wal-index may have to be created by a reader; nothing else is ever written.
_FILE_BYTES = 64 << 20
# A monitoring query must not take a core from the reactor when both want it.
_NICENESS = 5
# After a query of this length its memory goes back to the system.
_TRIM_AFTER_S = 0.05


class Reader:
    """Runs requests over the projection file, reopening it when it was replaced or could not be read."""

    def __init__(self, setup: ReaderSetup) -> None:
        self._setup = setup
        self._connection: sqlite3.Connection | None = None
        self._guard: Guard | None = None
        self._file: tuple[int, int] | None = None

    def run(self, request: SqlRequest | ReportRequest) -> SqlResult:
        """The result; every failure is a ``ReactorError``."""
        try:
            guard = self._opened()
            return guard.report(request) if isinstance(request, ReportRequest) else guard.run(request)
        except sqlite3.Error as error:
            self.close()
            raise failures.unavailable(error) from None
        except MemoryError:
            self.close()
            what = "The query needs more memory than the reader process may use; select fewer columns or rows."
            raise failures.too_large("memory_bytes", self._setup.memory_bytes, what) from None
        except ReactorError as error:
            if is_broken(error):
                self.close()
            raise
        except Exception as error:
            self.close()
            raise failures.unavailable(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Forget the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._guard = self._file = None

    def _opened(self) -> Guard:
        path = Path(self._setup.path)
        try:
            status = path.stat()
        except OSError as error:
            raise failures.unavailable(f"{path.name} is not there ({error.strerror})") from None
        if self._guard is None or self._file != (status.st_dev, status.st_ino):
            self.close()
            self._file = (status.st_dev, status.st_ino)
            self._connection = open_read_only(path)
            self._guard = Guard(self._connection, self._setup.tables, memory_bytes=limit_heap(self._setup.memory_bytes))
        return self._guard


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that cannot write the file. Statements are not cached: each is checked anew."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, cached_statements=0, timeout=1.0
    )


def limit_heap(memory_bytes: int) -> int:
    """Cap what SQLite may allocate in this whole process, and return the cap."""
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute(f"PRAGMA hard_heap_limit = {memory_bytes}")
    finally:
        connection.close()
    return memory_bytes


def serve(sock: socket.socket, setup: ReaderSetup) -> None:
    """Answer until the other side closes. The first answer, number 0, says that we are ready."""
    reader = Reader(setup)
    decode = msgspec.msgpack.Decoder(Asked).decode
    sock.sendall(frame(Answered(0)))
    while (body := receive(sock)) is not None:
        asked = decode(body)
        started = time.monotonic()
        head, content = _answer(reader, asked)
        sock.sendall(frame(head))
        if content:
            sock.sendall(content)
        del content
        if time.monotonic() - started > _TRIM_AFTER_S:
            _trim()
    reader.close()


def _answer(reader: Reader, asked: Asked) -> tuple[Answered, bytes]:
    try:
        found = reader.run(asked.request)
    except ReactorError as error:
        return Answered(asked.number, code=error.code, message=error.message, details=error.details), b""
    head = Answered(asked.number, len(found.content), found.content_type, found.rows, found.elapsed_us)
    return head, found.content


def _trim() -> None:
    # glibc keeps freed memory; after a query that used a lot of it that is most of this process.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def confine() -> None:
    """Take from this process what a reader does not need."""
    for which, most in ((resource.RLIMIT_AS, _PROCESS_BYTES), (resource.RLIMIT_FSIZE, _FILE_BYTES)):
        _, hard = resource.getrlimit(which)
        resource.setrlimit(which, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICENESS)
    # Ctrl-C and a service manager's stop reach the whole group; we end when the reactor closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def main(argv: list[str]) -> int:
    """Serve on the inherited socket whose number is the first argument."""
    sock = socket.socket(fileno=int(argv[1]))
    confine()
    body = receive(sock)
    if body is None:
        return 0
    try:
        serve(sock, msgspec.msgpack.decode(body, type=ReaderSetup))
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the reactor has gone, and nobody is left to tell
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
