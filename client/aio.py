"""The client for ``asyncio``.

    async with connect("ws://127.0.0.1:3000", "arena") as c:
        fights = await c.subscribe(["SELECT * FROM monster WHERE zone = 3"])
        c.table("monster").on_update(lambda old, new: print(old.hp, "->", new.hp))
        hp = await c.call("hit", 7, 5)

Everything happens on the event loop's thread. Callbacks run when a frame has been read, after all of it is in the
mirror, and before the answer to a call of the same commit is handed over.

A lost connection is made again, with growing waits, and the subscriptions with it; ``client/core.py`` tells what
becomes of requests meanwhile. ``on_state`` tells what is going on. It is given up when the server refuses us for good
or ``Backoff.attempts_max`` is reached; then everything that waits fails, and so does every later request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed as SocketClosed
from websockets.exceptions import WebSocketException

from client.address import connect_failure, ending, socket_options, subscribe_url
from client.backoff import Backoff
from client.core import Abandon
from client.errors import ConnectFailed, ConnectionClosed, ProtocolViolation
from client.face import Face, RowCallbacks, ServerTime, SetBase, State
from client.listeners import ErrorHook, RowCallback, UpdateCallback
from client.messages import Arguments, SqlResult
from client.worker import Task, Worker

_GREETING_S = 10.0
_FLUSH_S = 2.0

_log = logging.getLogger("client")


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class SubscriptionSet(SetBase):
    """A subscription set: ``rows``, callbacks, and its end."""

    _connection: Connection

    async def unsubscribe(self) -> None:
        """End the set. Its rows leave the mirror, and this returns, when the server has acknowledged it.

        Raises ``BadRequest`` if the set is not active.
        """
        await self._connection._end(self._set_id)


class Connection(Face[SubscriptionSet]):
    """A connection to one database, for one event loop. Made by ``connect``."""

    def __init__(
        self,
        url: str,
        database: str,
        token: str | None = None,
        *,
        backoff: Backoff = Backoff(),  # noqa: B008 (frozen)
        retry_first: bool = False,
        on_callback_error: ErrorHook | None = None,
        websocket_options: Mapping[str, Any] | None = None,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        local_us: Callable[[], int] = _monotonic_us,
    ) -> None:
        super().__init__(token, on_callback_error, local_us)
        self._url = subscribe_url(url, database)
        self._backoff = backoff
        self._retry_first = retry_first
        self._options = dict(websocket_options or {})
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._socket: ClientConnection | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()

    async def __aenter__(self) -> Connection:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect; returns after the greeting. Raises ``ConnectFailed`` unless ``retry_first`` makes it try on."""
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(first), name="entity-reactor-client")
        try:
            await first
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Send what was asked to be sent, say goodbye and end. Whatever still waits for an answer fails."""
        if self._state is State.CLOSED:
            return
        if self._socket is not None:
            with contextlib.suppress(SocketClosed, TimeoutError):
                async with asyncio.timeout(_FLUSH_S):
                    await self._send_all(self._socket)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._finish(ConnectionClosed("the connection was closed"), "closed by us")

    # Requests.

    def post(self, reducer: str, *args: Any, key: str | None = None) -> asyncio.Future[Any]:
        """Send a call and return the future of its value: for many calls on their way at once."""
        return self._ask(lambda: self._core.call(reducer, args, key))

    async def call(self, reducer: str, *args: Any, key: str | None = None) -> Any:
        """Run a reducer with arguments by position and return its value, once it is durable.

        With an idempotency ``key`` the call is sent again after a lost connection and carried out once. Raises
        ``CallFailed`` with the server's code, ``ConnectionLost`` if the outcome is in doubt, ``ConnectionClosed``.
        """
        return await self.post(reducer, *args, key=key)

    async def call_by_name(self, reducer: str, arguments: Mapping[str, Any], *, key: str | None = None) -> Any:
        """Like ``call``, with arguments by parameter name."""
        return await self._ask(lambda: self._core.call(reducer, dict(arguments), key))

    async def batch(self, calls: Sequence[tuple[str, Arguments]], *, key: str | None = None) -> list[Any]:
        """Run several ``(reducer, arguments)`` in one commit, all or nothing; returns their values.

        ``CallFailed.details["index"]`` tells which one failed.
        """
        values: list[Any] = await self._ask(lambda: self._core.batch(calls, key))
        return values

    async def sql(self, sql: str, params: Arguments | None = None) -> SqlResult:
        """Ask for people's SQL; it sees everything committed before."""
        result: SqlResult = await self._ask(lambda: self._core.sql(sql, params))
        return result

    async def time(self) -> ServerTime:
        """Ask for the server's clocks, and so improve ``server_now_us``."""
        answer: ServerTime = await self._ask(lambda: self._core.time(), timed=True)
        return answer

    async def subscribe(
        self,
        queries: str | Sequence[str],
        *,
        on_insert: RowCallback | None = None,
        on_update: UpdateCallback | None = None,
        on_delete: RowCallback | None = None,
    ) -> SubscriptionSet:
        """Subscribe to live queries as one set; returns when their rows are in the mirror.

        The first rows are inserts to the callbacks given here. Raises ``CallFailed`` if the server refuses a query.
        """
        self._check_open()
        texts = (queries,) if isinstance(queries, str) else queries
        live_set = SubscriptionSet(self._core, texts, RowCallbacks(on_insert, on_update, on_delete))
        live_set._connection = self
        await self._ask(lambda: live_set._set_id, live_set=live_set)
        return live_set

    async def work(
        self, queue: str, handler: Callable[[Task], Awaitable[Any]], *, slots: int = 1, lease_s: float = 30.0
    ) -> Worker:
        """Take tasks of a queue, up to ``slots`` at once, and do each with ``await handler(task)``.

        Returns when the server knows the worker, which then runs until ``stop()``. Each task is held for ``lease_s``
        at a time, renewed at every third of it; it is redelivered that long after this process was lost. See
        ``client.worker`` for what a handler may return and raise. Raises ``CallFailed`` if the server wants no worker.
        """
        worker = Worker(self, queue, handler, slots=slots, lease_s=lease_s, sleep=self._sleep)
        await worker.start()
        return worker

    async def _end(self, set_id: int) -> None:
        await self._ask(lambda: self._core.unsubscribe(set_id))

    def _ask(
        self, make: Callable[[], int], *, timed: bool = False, live_set: SubscriptionSet | None = None
    ) -> asyncio.Future[Any]:
        self._check_open()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._expect(make(), future, timed=timed, live_set=live_set)
        self._wake.set()
        return future

    # The connection's life.

    async def _run(self, first: asyncio.Future[None]) -> None:
        """``_live``, and should it ever fail, the end of all waiting instead of silence."""
        try:
            await self._live(first)
        except Exception as error:
            _log.exception("the connection failed unexpectedly")
            failure = ConnectFailed(f"the client failed: {error!r}", fatal=True)
            self._finish(failure, failure.message)
            if not first.done():
                first.set_exception(failure)

    async def _live(self, first: asyncio.Future[None]) -> None:
        """Connect, serve, and connect again, until closed or given up."""
        failures = 0
        while True:
            started_us = self._local_us()
            failure = await self._one_connection(first)
            if not first.done() and not (self._retry_first and not failure.fatal):
                first.set_exception(failure)
                return
            lived_s = (self._local_us() - started_us) / 1e6
            failures = 1 if lived_s >= self._backoff.stable_s else failures + 1
            if failure.fatal or self._backoff.gives_up(failures):
                self._finish(failure, failure.message)
                if not first.done():
                    first.set_exception(failure)
                return
            self._enter(State.RECONNECTING, failure.message)
            self._run_callbacks()
            await self._sleep(self._backoff.delay_s(failures, self._rng.random))

    async def _one_connection(self, first: asyncio.Future[None]) -> ConnectFailed:
        """From opening a socket to its end; returns why it ended."""
        try:
            socket = await open_socket(self._url, **socket_options(self._core.token, self._options))
        except (OSError, EOFError, WebSocketException) as error:
            return connect_failure(error)
        self._socket = socket
        self._core.connection_made()
        writer = asyncio.create_task(self._write(socket))
        try:
            return await self._read(socket, first)
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer
            self._socket = None
            await socket.close()
            self._handle(self._core.connection_lost())

    async def _read(self, socket: ClientConnection, first: asyncio.Future[None]) -> ConnectFailed:
        try:
            async with asyncio.timeout(_GREETING_S):
                frame = await socket.recv(decode=False)
            while True:
                self._handle(self._core.receive(frame))
                if self._core.connected and not first.done():
                    first.set_result(None)
                self._wake.set()
                frame = await socket.recv(decode=False)
        except TimeoutError:
            return ConnectFailed("the server did not greet in time")
        except Abandon as reason:
            return ConnectFailed(str(reason))
        except ProtocolViolation as error:
            failure = ConnectFailed(f"the server broke the protocol: {error}", fatal=True)
            failure.__cause__ = error
            return failure
        except SocketClosed as error:
            return self._ended(ending(error))

    async def _write(self, socket: ClientConnection) -> None:
        with contextlib.suppress(SocketClosed):
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._send_all(socket)

    async def _send_all(self, socket: ClientConnection) -> None:
        async with self._sending:
            for message in self._core.bytes_to_send():
                await socket.send(message, text=True)


connect = Connection
"""``async with connect(url, database, token=None) as c:`` - see ``Connection`` for all parameters.

``url``: ``ws://`` or ``http://`` (``wss``, ``https``), host and port. ``token``: who we are; without one the server
makes up an identity and ``c.token`` has its secret. ``retry_first``: also wait for a server that is not up yet.
``on_callback_error(error, callback)``: told of exceptions in callbacks, default is the log. ``websocket_options``: more
arguments for the ``websockets`` client. ``rng``, ``sleep``, ``local_us``: random numbers, waiting and time, for tests.
"""
