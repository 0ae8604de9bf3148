"""What both faces of the client share: from the core's events to answers, callbacks and states.

A face owns the sockets and the waiting; everything here runs without either. Callbacks run one after another, each
after the whole commit is in the mirror. If a callback of the blocking face makes a call, what arrives meanwhile is
applied to the mirror, and its callbacks wait until the present one has returned.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from client.address import Ending
from client.core import ClientCore
from client.errors import CallFailed, ClientError, ConnectFailed, ConnectionClosed
from client.listeners import (
    Change,
    ErrorHook,
    RowCallback,
    UpdateCallback,
    guarded,
    log_callback_error,
)
from client.messages import (
    CommitApplied,
    Complaint,
    Event,
    Failure,
    Goodbye,
    Hello,
    Reply,
    Restored,
    SetApplied,
    SetClosed,
)
from client.mirror import Applied, Mirror, TableMirror, View
from client.progress import ClockEstimate
from client.rows import Row

_log = logging.getLogger("client")


class State(enum.StrEnum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class StateChange(NamedTuple):
    """A new state and, in words, why."""

    state: State
    reason: str


class Commit(NamedTuple):
    """A step of the mirror: one commit of the server, or (``restored``) all that was missed while disconnected.

    ``at_us``: when the commit was made, UTC microseconds; None for a restoration.
    """

    seq: int
    at_us: int | None
    changes: Sequence[Change]
    restored: bool = False


@dataclass(frozen=True, slots=True)
class ServerTime:
    """The answer to ``time()``. ``clocks`` by scope: ``anchor_wall_us``, ``anchor_value_us``, ``rate_ppm``."""

    time_us: int
    clocks: dict[str, dict[str, int]]
    offset_us: int
    round_trip_us: int


class Waiter(Protocol):
    """Where an answer goes; an ``asyncio.Future`` is one."""

    def done(self) -> bool:
        """Whether nobody waits any more."""

    def set_result(self, result: Any, /) -> None:
        """The answer."""

    def set_exception(self, exception: ClientError, /) -> None:
        """There is no answer."""


@dataclass(slots=True)
class RowCallbacks:
    """Callbacks to set on a subscription before its first rows arrive; each of those is an insert."""

    on_insert: RowCallback | None = None
    on_update: UpdateCallback | None = None
    on_delete: RowCallback | None = None

    def register(self, view: View) -> None:
        """Set them on the view of a set."""
        if self.on_insert:
            view.listeners.on_insert(self.on_insert)
        if self.on_update:
            view.listeners.on_update(self.on_update)
        if self.on_delete:
            view.listeners.on_delete(self.on_delete)


class SetBase:
    """A subscription set of one connection: the rows of its queries, each once."""

    def __init__(self, core: ClientCore, queries: Sequence[str], callbacks: RowCallbacks) -> None:
        self.queries = tuple(queries)
        self.error: ClientError | None = None
        """Why the server dropped the set at a reconnect, if it did."""
        self.view = View(core.mirror)
        callbacks.register(self.view)
        self._core = core
        self._set_id = core.subscribe(self.queries, self.view)

    @property
    def is_active(self) -> bool:
        """Whether the server has acknowledged the set and it has not been given up. True while reconnecting."""
        return self._core.is_active(self._set_id)

    @property
    def rows(self) -> list[Row]:
        """The set's rows now, each once, by query and key."""
        return self.view.rows()

    def table(self, name: str) -> list[Row]:
        """The set's rows of one table."""
        return self.view.rows(name)

    def on_insert(self, callback: RowCallback) -> RowCallback:
        """Call ``callback(row)`` for each row that comes into the set from now on."""
        return self.view.listeners.on_insert(callback)

    def on_update(self, callback: UpdateCallback) -> UpdateCallback:
        """Call ``callback(old, new)`` for each row of the set that changes."""
        return self.view.listeners.on_update(callback)

    def on_delete(self, callback: RowCallback) -> RowCallback:
        """Call ``callback(old)`` for each row that leaves the set, also because the set ends."""
        return self.view.listeners.on_delete(callback)


SetT = TypeVar("SetT", bound=SetBase)


@dataclass(slots=True)
class _Waiting(Generic[SetT]):
    waiter: Waiter
    time_sent_us: int | None = None
    live_set: SetT | None = None


@dataclass(slots=True)
class _Callbacks:
    state: list[Callable[[StateChange], object]] = field(default_factory=list)
    commit: list[Callable[[Commit], object]] = field(default_factory=list)


class Face(Generic[SetT]):
    """The part of a connection that knows no sockets. ``local_us`` reads a steady local clock in microseconds."""

    def __init__(self, token: str | None, on_callback_error: ErrorHook | None, local_us: Callable[[], int]) -> None:
        self._core = ClientCore(token)
        self._hook = on_callback_error or log_callback_error
        self._local_us = local_us
        self._clock = ClockEstimate()
        self._waiting: dict[int, _Waiting[SetT]] = {}
        self._sets: dict[int, SetT] = {}
        self._callbacks = _Callbacks()
        self._due: deque[Callable[[], None]] = deque()
        self._telling = False
        self._state = State.CONNECTING
        self._goodbye: CallFailed | None = None
        self._end_error: ClientError | None = None

    # What a connection shows.

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._state

    @property
    def mirror(self) -> Mirror:
        """The local copy of everything subscribed."""
        return self._core.mirror

    def table(self, name: str) -> TableMirror:
        """A table of the mirror."""
        return self._core.mirror.table(name)

    @property
    def hello(self) -> Hello | None:
        """The server's latest greeting: its limits, durability, history; None before the first."""
        return self._core.hello

    @property
    def identity(self) -> str | None:
        """Who the server says we are, 32 hex digits."""
        return self._core.hello.identity if self._core.hello else None

    @property
    def token(self) -> str | None:
        """The secret behind the identity: present it to ``connect`` to be the same caller again."""
        return self._core.token

    @property
    def seq(self) -> int:
        """The mirror contains every commit up to this number."""
        return self._core.last_seq

    def server_now_us(self) -> int:
        """The server's wall clock now, UTC microseconds, as well as is known; better after a ``time()`` or two."""
        return self._clock.now_us(self._local_us())

    def on_state(self, callback: Callable[[StateChange], object]) -> Callable[[StateChange], object]:
        """Call ``callback(change)`` whenever the connection's state changes."""
        self._callbacks.state.append(callback)
        return callback

    def on_commit(self, callback: Callable[[Commit], object]) -> Callable[[Commit], object]:
        """Call ``callback(commit)`` after the row callbacks of each commit that touched the mirror."""
        self._callbacks.commit.append(callback)
        return callback

    # What a face does.

    def _ended(self, ending: Ending) -> ConnectFailed:
        """Why a connection ended: the server's goodbye if there was one, else what the socket said."""
        goodbye, self._goodbye = self._goodbye, None
        if goodbye is not None:
            return ConnectFailed(goodbye.message, code=goodbye.code, fatal=ending.fatal)
        return ConnectFailed(ending.reason, fatal=ending.fatal)

    def _expect(self, request: int, waiter: Waiter, *, timed: bool = False, live_set: SetT | None = None) -> None:
        sent = self._local_us() if timed else None
        self._waiting[request] = _Waiting(waiter, sent, live_set)

    def _handle(self, events: Sequence[Event]) -> None:
        """Answers to those who wait, then the callbacks, in the order of the events."""
        for event in events:
            if isinstance(event, CommitApplied):
                self._tell(event.applied, Commit(event.seq, event.at_us, event.applied.changes))
            elif isinstance(event, Reply):
                self._reply(event)
            elif isinstance(event, Failure):
                self._settle(event.id, event.error)
            elif isinstance(event, SetApplied):
                self._set_applied(event)
            elif isinstance(event, SetClosed):
                self._set_closed(event)
            else:
                self._connection_event(event)
        self._run_callbacks()

    def _connection_event(self, event: Hello | Restored | Goodbye | Complaint) -> None:
        if isinstance(event, Hello):
            self._goodbye = None
            self._clock.greeting(self._local_us(), event.time_us)
            if not event.restoring:
                self._enter(State.CONNECTED, "the server has greeted")
        elif isinstance(event, Restored):
            self._tell(event.applied, Commit(event.seq, None, event.applied.changes, restored=True))
            how = "resumed" if event.resumed else "sent whole"
            self._enter(State.CONNECTED, f"the subscriptions were {how}")
        elif isinstance(event, Goodbye):
            self._goodbye = event.error
        else:
            _log.error("the server could not read a message of ours: %s", event.error)

    def _reply(self, event: Reply) -> None:
        waiting = self._waiting.get(event.id)
        if waiting is not None and waiting.time_sent_us is not None:
            value = event.value
            sample = self._clock.sample(waiting.time_sent_us, self._local_us(), value["time_us"])
            answer = ServerTime(value["time_us"], value["clocks"], sample.offset_us, sample.round_trip_us)
            self._settle(event.id, answer)
        else:
            self._settle(event.id, event.value)

    def _set_applied(self, event: SetApplied) -> None:
        waiting = self._waiting.get(event.set_id)
        if waiting is not None and waiting.live_set is not None:
            self._sets[event.set_id] = waiting.live_set
            unwanted = waiting.waiter.done()
            self._tell(event.applied, None)
            self._settle(event.set_id, waiting.live_set)
            if unwanted:
                self._core.unsubscribe(event.set_id)

    def _set_closed(self, event: SetClosed) -> None:
        live_set = self._sets.pop(event.set_id, None)
        self._tell(event.applied, None)
        if live_set is not None:
            live_set.error = event.error
        if event.id is not None:
            self._settle(event.id, None)

    def _settle(self, request: int, answer: Any) -> None:
        waiting = self._waiting.pop(request, None)
        if waiting is None or waiting.waiter.done():
            return
        if isinstance(answer, ClientError):
            waiting.waiter.set_exception(answer)
        else:
            waiting.waiter.set_result(answer)

    def _check_open(self) -> None:
        if self._state is State.CLOSED:
            raise ConnectionClosed("the connection is closed") from self._end_error

    def _finish(self, error: ClientError, reason: str) -> None:
        """No connection will follow: fail what waits, and every later request."""
        if self._state is not State.CLOSED:
            self._end_error = error
            self._handle(self._core.close())
            self._enter(State.CLOSED, reason)
            self._run_callbacks()

    def _enter(self, state: State, reason: str) -> None:
        if state is not self._state:
            self._state = state
            change = StateChange(state, reason)
            for callback in list(self._callbacks.state):
                self._due.append(partial(guarded, self._hook, callback, change))

    def _tell(self, applied: Applied, commit: Commit | None) -> None:
        def tell() -> None:
            self._core.mirror.tell(applied, self._hook)
            if commit is not None:
                for callback in list(self._callbacks.commit):
                    guarded(self._hook, callback, commit)

        self._due.append(tell)

    def _run_callbacks(self) -> None:
        if self._telling:
            return
        self._telling = True
        try:
            while self._due:
                self._due.popleft()()
        finally:
            self._telling = False
