"""The client for plain scripts: the same API as ``client.aio``, without ``await``.

    with connect("ws://127.0.0.1:3000", "arena") as c:
        c.table("monster").on_update(lambda old, new: print(old.hp, "->", new.hp))
        c.subscribe(["SELECT * FROM monster WHERE zone = 3"])
        hp = c.call("hit", 7, 5)
        while True:
            c.poll(timeout_s=1.0)

Callbacks run on the caller's thread, inside ``poll`` and inside every method that waits for an answer; the mirror
changes at no other time, so it can be read without locks. A connection belongs to one thread at a time; a program
that wants callbacks on a thread of their own runs its connection, with a loop around ``poll``, on that thread.

Between two calls only a helper thread of the ``websockets`` library is active: it answers pings and reads ahead a
bounded number of frames. A script that does not ``poll`` for long enough is cut by the server as a slow consumer; the
next call connects again and resumes. A callback may make calls itself: what arrives meanwhile goes into the mirror,
its callbacks run when the present one has returned.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from websockets.exceptions import ConnectionClosed as SocketClosed
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as open_socket

from client.address import FRAMES_AHEAD_MAX, connect_failure, ending, socket_options, subscribe_url
from client.backoff import Backoff
from client.core import Abandon
from client.errors import ClientError, ConnectFailed, ConnectionClosed, ProtocolViolation
from client.face import Commit, Face, RowCallbacks, ServerTime, SetBase, State
from client.listeners import ErrorHook, RowCallback, UpdateCallback
from client.messages import Arguments, SqlResult
from client.mirror import Applied
from client.worker import Hand, PlainWorker

_GREETING_S = 10.0


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1000


class PendingReply:
    """The answer to a request that was sent without waiting."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._done = False
        self._value: Any = None
        self._error: ClientError | None = None

    def done(self) -> bool:
        """Whether the answer is there."""
        return self._done

    def result(self, timeout_s: float | None = None) -> Any:
        """Wait for the answer. Raises what the call raises, or ``TimeoutError`` after ``timeout_s``."""
        self._connection._wait(self, timeout_s)
        if self._error is not None:
            raise self._error
        return self._value

    def set_result(self, result: Any, /) -> None:
        """The answer came."""
        self._done, self._value = True, result

    def set_exception(self, exception: ClientError, /) -> None:
        """The request failed."""
        self._done, self._error = True, exception


class SubscriptionSet(SetBase):
    """A subscription set: ``rows``, callbacks, and its end."""

    _connection: Connection

    def unsubscribe(self) -> None:
        """End the set. Its rows leave the mirror, and this returns, when the server has acknowledged it.

        Raises ``BadRequest`` if the set is not active.
        """
        self._connection._end(self._set_id)


class Connection(Face[SubscriptionSet]):
    """A connection to one database, for one thread at a time. Made by ``connect``."""

    def __init__(
        self,
        url: str,
        database: str,
        token: str | None = None,
        *,
        timeout_s: float | None = 30.0,
        backoff: Backoff = Backoff(),  # noqa: B008 (frozen)
        retry_first: bool = False,
        on_callback_error: ErrorHook | None = None,
        websocket_options: Mapping[str, Any] | None = None,
        rng: random.Random | None = None,
        sleep: Callable[[float], object] = time.sleep,
        local_us: Callable[[], int] = _monotonic_us,
    ) -> None:
        super().__init__(token, on_callback_error, local_us)
        self._url = subscribe_url(url, database)
        self._timeout_s = timeout_s
        self._backoff = backoff
        self._retry_first = retry_first
        self._options = dict(websocket_options or {})
        self._rng = rng or random.Random()
        self._sleep = sleep
        self._socket: ClientConnection | None = None
        self._failures = 0
        self._attempted_us = 0
        self._next_attempt_us = 0
        self._commits = 0

    def __enter__(self) -> Connection:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Connect; returns after the greeting. Raises ``ConnectFailed`` unless ``retry_first`` makes it try on."""
        while not self._core.connected:
            failure = self._attempt()
            if failure is None:
                continue
            if failure.fatal or not self._retry_first or self._state is State.CLOSED:
                self._finish(failure, failure.message)
                raise failure
            self._sleep(max(0, self._next_attempt_us - self._local_us()) / 1e6)

    def close(self) -> None:
        """Send what was asked to be sent, say goodbye and end. Whatever still waits for an answer fails."""
        if self._state is State.CLOSED:
            return
        if self._socket is not None:
            self._flush()
            self._socket.close()
            self._socket = None
        self._finish(ConnectionClosed("the connection was closed"), "closed by us")

    # Requests.

    def post(self, reducer: str, *args: Any, key: str | None = None) -> PendingReply:
        """Send a call without waiting: for many calls on their way at once. See ``PendingReply.result``."""
        return self._ask(lambda: self._core.call(reducer, args, key))

    def call(self, reducer: str, *args: Any, key: str | None = None) -> Any:
        """Run a reducer with arguments by position and return its value, once it is durable.

        With an idempotency ``key`` the call is sent again after a lost connection and carried out once. Raises
        ``CallFailed`` with the server's code, ``ConnectionLost`` if the outcome is in doubt, ``ConnectionClosed``,
        and ``TimeoutError`` after the connection's ``timeout_s``.
        """
        return self.post(reducer, *args, key=key).result(self._timeout_s)

    def call_by_name(self, reducer: str, arguments: Mapping[str, Any], *, key: str | None = None) -> Any:
        """Like ``call``, with arguments by parameter name."""
        return self._answer_to(lambda: self._core.call(reducer, dict(arguments), key))

    def batch(self, calls: Sequence[tuple[str, Arguments]], *, key: str | None = None) -> list[Any]:
        """Run several ``(reducer, arguments)`` in one commit, all or nothing; returns their values.

        ``CallFailed.details["index"]`` tells which one failed.
        """
        values: list[Any] = self._answer_to(lambda: self._core.batch(calls, key))
        return values

    def sql(self, sql: str, params: Arguments | None = None) -> SqlResult:
        """Ask for people's SQL; it sees everything committed before."""
        result: SqlResult = self._answer_to(lambda: self._core.sql(sql, params))
        return result

    def time(self) -> ServerTime:
        """Ask for the server's clocks, and so improve ``server_now_us``."""
        answer: ServerTime = self._answer_to(lambda: self._core.time(), timed=True)
        return answer

    def subscribe(
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
        self._answer_to(lambda: live_set._set_id, live_set=live_set)
        return live_set

    def poll(self, timeout_s: float = 0.0) -> int:
        """Take in what has arrived and run its callbacks; returns how many commits that were.

        Waits up to ``timeout_s`` for the first frame. A lost connection is made again meanwhile. Raises
        ``ConnectionClosed`` once it was given up.
        """
        self._check_open()
        before = self._commits
        deadline = self._deadline(timeout_s)
        if self._step(deadline):
            # Bounded, so that a stream that never pauses does not keep the caller for ever.
            for _ in range(FRAMES_AHEAD_MAX):
                if not self._step(self._local_us()):
                    break
        return self._commits - before

    def work(
        self,
        queue: str,
        handler: Callable[[Hand], Any],
        *,
        lease_s: float = 30.0,
        until: Callable[[], bool] = lambda: False,
        timeout_s: float | None = None,
    ) -> int:
        """Take tasks of a queue, one after another, and do each with ``handler(hand)``; returns how many were done.

        Goes on until ``until()``, asked between tasks, or for ``timeout_s``. A handler that takes longer than
        ``lease_s`` calls ``hand.beat()`` now and then: nothing else renews the lease meanwhile. See ``client.worker``.
        """
        worker = PlainWorker(self, queue, handler, lease_s=lease_s, sleep=self._sleep, local_us=self._local_us)
        return worker.run(until, timeout_s)

    def _end(self, set_id: int) -> None:
        self._answer_to(lambda: self._core.unsubscribe(set_id))

    def _ask(
        self, make: Callable[[], int], *, timed: bool = False, live_set: SubscriptionSet | None = None
    ) -> PendingReply:
        self._check_open()
        waiter = PendingReply(self)
        self._expect(make(), waiter, timed=timed, live_set=live_set)
        self._flush()
        return waiter

    def _answer_to(
        self, make: Callable[[], int], *, timed: bool = False, live_set: SubscriptionSet | None = None
    ) -> Any:
        return self._ask(make, timed=timed, live_set=live_set).result(self._timeout_s)

    # The connection's life.

    def _deadline(self, timeout_s: float | None) -> int | None:
        return None if timeout_s is None else self._local_us() + int(timeout_s * 1e6)

    def _wait(self, reply: PendingReply, timeout_s: float | None) -> None:
        deadline = self._deadline(timeout_s)
        while not reply.done():
            self._check_open()
            self._step(deadline)
            if deadline is not None and self._local_us() >= deadline and not reply.done():
                raise TimeoutError(f"no answer within {timeout_s} s; the request may still be carried out")

    def _step(self, deadline: int | None) -> bool:
        """Wait for one thing to happen until ``deadline``: a frame, or progress in connecting again."""
        if self._state is State.CLOSED:
            return False
        if self._socket is None:
            return self._reconnect(deadline)
        self._flush()
        left_s = None if deadline is None else max(0.0, (deadline - self._local_us()) / 1e6)
        try:
            frame = self._socket.recv(left_s, decode=False)
        except TimeoutError:
            return False
        except SocketClosed as error:
            self._lost(self._ended(ending(error)))
        else:
            self._take(frame)
        return True

    def _take(self, frame: bytes) -> ConnectFailed | None:
        """Let the core have a frame; what is returned has ended the connection."""
        try:
            self._handle(self._core.receive(frame))
        except Abandon as reason:
            return self._lost(ConnectFailed(str(reason)))
        except ProtocolViolation as error:
            failure = ConnectFailed(f"the server broke the protocol: {error}", fatal=True)
            failure.__cause__ = error
            return self._lost(failure)
        self._flush()
        return None

    def _reconnect(self, deadline: int | None) -> bool:
        now = self._local_us()
        if now < self._next_attempt_us:
            until = self._next_attempt_us if deadline is None else min(deadline, self._next_attempt_us)
            if until <= now:
                return False
            self._sleep((until - now) / 1e6)
            if self._local_us() < self._next_attempt_us:
                return False
        self._attempt()
        return True

    def _attempt(self) -> ConnectFailed | None:
        """Open a socket and hear the greeting; returns what went wrong."""
        self._attempted_us = self._local_us()
        options = socket_options(self._core.token, self._options)
        try:
            self._socket = open_socket(self._url, legacy=True, **options)
            self._core.connection_made()
            failure = None
            while failure is None and not self._core.connected:
                failure = self._take(self._socket.recv(_GREETING_S, decode=False))
        except SocketClosed as error:
            return self._lost(self._ended(ending(error)))
        except (OSError, EOFError, WebSocketException) as error:
            return self._lost(connect_failure(error))
        return failure

    def _lost(self, failure: ConnectFailed) -> ConnectFailed:
        """The connection, or an attempt to make one, has ended: plan the next attempt, or give up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        lived_s = (self._local_us() - self._attempted_us) / 1e6
        self._failures = 1 if lived_s >= self._backoff.stable_s else self._failures + 1
        self._handle(self._core.connection_lost())
        if failure.fatal or self._backoff.gives_up(self._failures):
            self._finish(failure, failure.message)
            return failure
        delay_s = self._backoff.delay_s(self._failures, self._rng.random)
        self._next_attempt_us = self._local_us() + int(delay_s * 1e6)
        self._enter(State.RECONNECTING, failure.message)
        self._run_callbacks()
        return failure

    def _flush(self) -> None:
        """Send what can be sent; if the socket has ended, the next step finds out and why."""
        if self._socket is not None:
            with contextlib.suppress(SocketClosed):
                for message in self._core.bytes_to_send():
                    self._socket.send(message, text=True)

    def _tell(self, applied: Applied, commit: Commit | None) -> None:
        self._commits += commit is not None
        super()._tell(applied, commit)


connect = Connection
"""``with connect(url, database, token=None) as c:`` - the parameters are those of ``client.aio.connect``, and
``timeout_s``: how long a method waits for its answer before ``TimeoutError``; None waits for ever."""
