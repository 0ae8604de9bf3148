"""The reactor's side of the reader process: a queue, one query at a time, and a fresh process when needed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from pathlib import Path

import msgspec

from reactor.errors import Fault, ReactorError
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.sql import failures
from reactor.sql.messages import (
    LENGTH,
    Answered,
    Asked,
    ReaderSetup,
    ReportRequest,
    SqlRequest,
    SqlResult,
    SqlTables,
    frame,
)
from reactor.sql.statement import bound_values, checked_statement

log = logging.getLogger("reactor.sql")

# SQLite's share of the reader's memory: sorts and groups a few million narrow rows.
MEMORY_BYTES_MAX = 256 << 20
# A query stops itself at its deadline; one that sits in a single long operation is ended this much later.
GRACE_S = 1.0
_START_S = 20.0
_CONTENT_S = 60.0
_CHUNK = 256 << 10
# Joining more than this is left to a thread: it copies without the interpreter's lock, the loop goes on.
_JOIN_BYTES = 1 << 20


class _Gone(Exception):
    """The reader process is no longer there."""


class _Link:
    """One running reader process and the stream to it."""

    def __init__(
        self, process: asyncio.subprocess.Process, read: asyncio.StreamReader, write: asyncio.StreamWriter
    ) -> None:
        self.process = process
        self._read = read
        self._write = write
        self._number = 0

    @classmethod
    async def start(cls, setup: ReaderSetup) -> _Link:
        """A process that has said it is ready; ``_Gone`` or ``OSError`` when it cannot be had."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        read, write = await asyncio.open_connection(sock=ours, limit=_CHUNK)
        try:
            process = await _spawn(theirs.fileno())
        except BaseException:
            write.transport.abort()
            raise
        finally:
            theirs.close()
        link = cls(process, read, write)
        try:
            write.write(frame(setup))
            await asyncio.wait_for(link._head(0), _START_S)
        except BaseException:
            await link.end()
            raise
        return link

    async def ask(self, request: SqlRequest | ReportRequest, head_within_s: float) -> SqlResult:
        """The answer. ``TimeoutError``: not in time, ``_Gone``: the process ended; the link is then useless."""
        self._number += 1
        self._write.write(frame(Asked(self._number, request)))
        head = await asyncio.wait_for(self._head(self._number), head_within_s)
        if head.code:
            raise head.error()
        content = await asyncio.wait_for(self._content(head.content_bytes), _CONTENT_S)
        return SqlResult(content, head.content_type, head.rows, head.elapsed_us)

    async def _head(self, number: int) -> Answered:
        try:
            (length,) = LENGTH.unpack(await self._read.readexactly(LENGTH.size))
            head = msgspec.msgpack.decode(await self._read.readexactly(length), type=Answered)
        except (asyncio.IncompleteReadError, OSError, msgspec.DecodeError) as error:
            raise _Gone(str(error)) from None
        if head.number != number:
            raise _Gone(f"it answered number {head.number} instead of {number}")
        return head

    async def _content(self, count: int) -> bytes:
        pieces: list[bytes] = []
        missing = count
        while missing:
            try:
                piece = await self._read.read(min(missing, _CHUNK))
            except OSError as error:
                raise _Gone(str(error)) from None
            if not piece:
                raise _Gone("it ended within an answer")
            pieces.append(piece)
            missing -= len(piece)
        if count > _JOIN_BYTES:
            return await asyncio.to_thread(b"".join, pieces)
        return b"".join(pieces)

    async def end(self) -> None:
        """Kill the process, which holds nothing but a read transaction, and let go of the stream."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        self._write.transport.abort()
        await self.process.wait()


async def _spawn(socket_number: int) -> asyncio.subprocess.Process:
    # The child finds this package where we found it, and no module of the working directory.
    roots = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "reactor.sql.reader", str(socket_number)),
        pass_fds=[socket_number],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, roots))},
    )


class SqlReader:
    """SQL for people, answered by a process of its own so that no query can hold up the reactor.

    ``path`` is the projection file. ``grace_s``: how long after its deadline a query's process is killed.
    One query runs at a time; ``limits.sql_waiting_max`` more may wait.
    """

    def __init__(
        self,
        path: Path,
        tables: SqlTables,
        *,
        limits: Limits = DEFAULT_LIMITS,
        memory_bytes: int = MEMORY_BYTES_MAX,
        grace_s: float = GRACE_S,
    ) -> None:
        self._setup = ReaderSetup(str(path), tables, memory_bytes)
        self._waiting_max = limits.sql_waiting_max
        self._grace_s = grace_s
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._link: _Link | None = None
        self._closed = False
        self._running: set[asyncio.Task[SqlResult]] = set()
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The reader process, None while there is none."""
        return None if self._link is None else self._link.process.pid

    async def start(self) -> None:
        """Start the process now rather than with the first query; ``sql_unavailable`` when that fails."""
        async with self._turn:
            await self._linked()

    async def query(self, request: SqlRequest | ReportRequest) -> SqlResult:
        """The result of one statement, or of a report's; it sees every commit that the projection holds when it runs.

        Raises ``SenderError``: ``bad_sql``, ``sql_forbidden``, ``sql_deadline``, ``sql_too_large``; ``Fault``:
        ``overloaded`` when too many wait, ``sql_unavailable`` when the process died or cannot read,
        ``stopping`` after ``close``. A caller that is cancelled while waiting leaves the queue; a query that
        already runs goes on to its own end, at the latest its deadline.
        """
        if isinstance(request, SqlRequest):
            checked_statement(request.sql, request.caps)
            request = msgspec.structs.replace(request, params=bound_values(request.params))
        if self._waiting >= self._waiting_max:
            raise Fault("overloaded", f"{self._waiting} SQL queries are waiting already; try again later.")
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1
        task = asyncio.ensure_future(self._run(request))
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def _done(self, task: asyncio.Task[SqlResult]) -> None:
        self._turn.release()
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also when the caller has gone

    async def _run(self, request: SqlRequest | ReportRequest) -> SqlResult:
        link = await self._linked()
        try:
            return await link.ask(request, request.caps.deadline_s + self._grace_s)
        except ReactorError:
            raise
        except TimeoutError:
            await self._drop()
            self._stopping()
            log.warning("SQL reader restarted: a query went on past its deadline")
            raise failures.deadline_error(request.caps.deadline_s) from None
        except _Gone as reason:
            await self._drop()
            self._stopping()
            log.warning("SQL reader restarted: the process ended (%s)", reason)
            raise failures.unavailable("its process ended; the next query starts another") from None
        except BaseException:
            await self._drop()  # left in the middle of an answer, the link is useless
            raise

    async def _linked(self) -> _Link:
        self._stopping()
        if self._link is not None and self._link.process.returncode is not None:
            await self._drop()  # it died between two queries: nobody needs to know
        if self._link is None:
            try:
                link = await _Link.start(self._setup)
            except (OSError, _Gone, TimeoutError) as error:
                raise failures.unavailable(f"its process does not start ({error})") from None
            self.starts += 1
            self._link = link
            if self._closed:
                await self._drop()
        self._stopping()
        return self._link

    async def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.end()

    def _stopping(self) -> None:
        if self._closed:
            raise Fault("stopping", "The reactor is stopping.")

    async def drain(self) -> None:
        """End the process once every query that runs or waits is answered; to be asked nothing more."""
        while self._waiting or self._running:
            await asyncio.wait(set(self._running)) if self._running else await asyncio.sleep(0)
        await self.close()

    async def close(self) -> None:
        """End the process. Queries that wait or run raise ``stopping``. May be called again."""
        self._closed = True
        await self._drop()
        if self._running:
            await asyncio.wait(self._running)
