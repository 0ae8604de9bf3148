"""Workers: a client that takes tasks from a queue of the server, does them, and says how they went.

    async def send(task):
        await mail.send(task.payload["to"], idempotency_key=task.key)
        return {"sent": True}

    async with await c.work("email", send, slots=4) as worker:
        await worker.wait()

A task is in the hands of one worker at a time, for as long as its lease is renewed. What the handler returns becomes
the task's result, exactly once. What it does outside happens at least once: when a worker is lost, another does it
again, under the same ``task.key``. Raise ``Retry`` or ``Fatal`` to say more than that it failed; any other exception
is a failure that the server tries again after a while, as often as whoever put the task has allowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from client.errors import BadRequest, CallFailed, ClientError, ConnectionClosed, ConnectionLost, Unavailable
from client.face import State, StateChange

_log = logging.getLogger("client")

_AGAIN_S = 1.0
_MESSAGE_CHARS_MAX = 2_000
_NOT_HELD = ("stale_lease", "not_found")


class Retry(Exception):
    """Raised by a handler: it did not work now. Tried again after ``after_s``, or when the server sees fit."""

    def __init__(self, message: str = "to be tried again", *, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s


class Fatal(Exception):
    """Raised by a handler: it will never work. The task fails at once."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task in hand. ``payload`` is the JSON value it was put with.

    ``key`` is the same in every attempt: hand it to whoever carries out the effect, so that it happens once there.
    ``attempt`` counts from 1; ``redeliveries`` counts workers that were lost with it. Times are UTC microseconds.
    """

    id: int
    queue: str
    name: str
    payload: Any
    key: str
    token: str
    attempt: int
    attempts_max: int
    redeliveries: int
    workflow_id: int | None
    lease_until_us: int
    deadline_us: int | None


def task_from_json(told: Mapping[str, Any]) -> Task:
    """A task as ``task_claim`` answers it."""
    same = ("id", "queue", "name", "payload", "key", "token", "attempt", "attempts_max", "redeliveries", "workflow_id")
    return Task(**{name: told[name] for name in same}, lease_until_us=told["lease_until"], deadline_us=told["deadline"])


Words = tuple[Any, ...]
"""A reducer and its arguments."""


def done(task: Task, result: Any) -> Words:
    """What to say when the handler has returned."""
    return ("task_complete", task.id, task.token, result)


def failed(task: Task, error: Exception) -> Words:
    """What to say when the handler has raised."""
    after_us = None
    message = str(error) or type(error).__name__
    if isinstance(error, Retry):
        after_us = None if error.after_s is None else round(error.after_s * 1e6)
    elif not isinstance(error, Fatal):
        message = f"{type(error).__name__}: {error}"
        _log.error("task %s (%s) failed", task.id, task.name, exc_info=error)
    return ("task_fail", task.id, task.token, message[:_MESSAGE_CHARS_MAX], after_us, isinstance(error, Fatal))


def unsaid(task: Task, words: Words, error: ClientError) -> Words | None:
    """What to say instead of words that the server does not take; None if there is nothing more to say."""
    if isinstance(error, CallFailed) and error.code in _NOT_HELD:
        _log.warning("task %s (%s) was no longer ours: %s", task.id, task.name, error.message)
        return None
    if words[0] == "task_complete":
        # The result cannot be sent or kept. The effect has happened: doing it again would not help.
        return failed(task, Fatal(f"the result was refused: {error}"))
    _log.error("task %s (%s): the server did not take %r: %s", task.id, task.name, words[0], error)
    return None


def watched(queue: str) -> str:
    """The live query whose one row changes when there is something for a worker that has nothing to do."""
    quoted = queue.replace("'", "''")
    return f"SELECT * FROM task_queue WHERE name = '{quoted}'"


# -- asyncio -----------------------------------------------------------------------------------------


class AsyncConnection(Protocol):
    """What a worker needs of ``client.aio.Connection``."""

    async def call(self, reducer: str, *args: Any, key: str | None = None) -> Any:
        """Run a reducer."""

    async def subscribe(self, queries: str, *, on_insert: Any = None, on_update: Any = None) -> Any:
        """Subscribe to live queries."""

    def on_state(self, callback: Callable[[StateChange], object]) -> object:
        """Hear of the connection's state."""

    def server_now_us(self) -> int:
        """The server's clock."""


class _Job:
    """A task that is being done.

    ``give_back``: it was stopped by us, so it is to be released. ``done``: only the server must hear how it went.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.give_back = False
        self.done = False
        self.running: asyncio.Task[None] | None = None


class Worker:
    """A running worker of one queue, on the event loop it was made on. Made by ``Connection.work``."""

    def __init__(
        self,
        connection: AsyncConnection,
        queue: str,
        handler: Callable[[Task], Awaitable[Any]],
        *,
        slots: int,
        lease_s: float,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self.queue = queue
        self.slots = slots
        self.finished = 0
        """Tasks whose end the server has heard of from here."""
        self._connection = connection
        self._handler = handler
        self._lease_us = round(lease_s * 1e6)
        self._sleep = sleep
        self._beat_s = lease_s / 3
        self._jobs: dict[str, _Job] = {}
        self._wake = asyncio.Event()
        self._over = asyncio.Event()
        self._stopping = False
        self._loops: set[asyncio.Task[None]] = set()
        self._watch: Any = None

    async def __aenter__(self) -> Worker:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def tasks(self) -> list[Task]:
        """The tasks in hand."""
        return [job.task for job in self._jobs.values()]

    async def start(self) -> None:
        """Say hello and begin; raises ``CallFailed`` if the server does not want this worker."""
        told = await self._connection.call("task_worker_hello", self.queue, self.slots)
        self._beat_s = min(self._beat_s, told["stale_after_us"] / 3e6)
        self._watch = await self._connection.subscribe(
            watched(self.queue), on_insert=lambda row: self._wake.set(), on_update=lambda old, new: self._wake.set()
        )
        self._connection.on_state(self._state_changed)
        self._wake.set()
        self._keep(self._take_tasks())
        self._keep(self._keep_alive())

    async def wait(self) -> None:
        """Return when the worker was stopped, or its connection was closed for good."""
        await self._over.wait()

    async def stop(self, grace_s: float | None = None) -> None:
        """Take no more tasks, finish those in hand and say goodbye.

        What is not done after ``grace_s`` seconds is interrupted and given back, so that another worker has it at once.
        """
        if self._over.is_set():
            return
        self._stopping = True
        running = [job.running for job in self._jobs.values() if job.running is not None]
        if running:
            await asyncio.wait(running, timeout=grace_s)
        for job in self._jobs.values():
            if not job.done:
                job.give_back = True
                self._interrupt(job)
        if running:
            await asyncio.wait(running)
        with contextlib.suppress(ClientError):
            await self._connection.call("task_worker_hello", self.queue, 0)
            await self._watch.unsubscribe()
        self._end()

    # Taking tasks.

    async def _take_tasks(self) -> None:
        """Claim whenever there may be something and a slot is free."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            with contextlib.suppress(ConnectionLost):
                # What was claimed in an answer that never came lapses there. The next connection wakes us again.
                await self._fill()

    async def _fill(self) -> None:
        while not self._stopping and (free := self.slots - len(self._jobs)) > 0:
            try:
                claimed = await self._connection.call("task_claim", self.queue, free, self._lease_us)
            except CallFailed as error:
                _log.warning("no tasks of queue %s: %s", self.queue, error)
                return
            for told in claimed:
                self._begin(task_from_json(told))
            if len(claimed) < free:
                return

    def _begin(self, task: Task) -> None:
        job = _Job(task)
        self._jobs[task.token] = job
        job.running = asyncio.create_task(self._do(job), name=f"task {task.id} of {task.queue}")

    async def _do(self, job: _Job) -> None:
        task = job.task
        try:
            if self._stopping:
                await self._say(task, ("task_release", task.id, task.token))
                return
            try:
                words = done(task, await self._handler(task))
            except Exception as error:
                words = failed(task, error)
            job.done = True
            await self._say(task, words)
        except asyncio.CancelledError:
            if not job.give_back:
                raise
            await self._say(task, ("task_release", task.id, task.token))
        except ConnectionClosed:
            pass
        finally:
            del self._jobs[task.token]
            self._wake.set()

    async def _say(self, task: Task, words: Words) -> None:
        """Tell the server until it has answered: the same words again are answered as the first time."""
        left: Words | None = words
        while left is not None:
            try:
                await self._connection.call(*left)
                self.finished += left[0] != "task_release"
                return
            except ConnectionLost:
                continue
            except Unavailable:
                await self._sleep(_AGAIN_S)
            except (CallFailed, BadRequest) as error:
                left = unsaid(task, left, error)

    # Staying.

    async def _keep_alive(self) -> None:
        while True:
            await self._sleep(self._beat_s)
            await self._beat()

    async def _beat(self) -> None:
        """Say that we are here, and hold what we have in hand."""
        held = [job for job in self._jobs.values() if not job.done]
        await asyncio.gather(self._hello(), *(self._hold(job) for job in held))

    async def _hello(self) -> None:
        try:
            told = await self._connection.call("task_worker_hello", self.queue, self.slots)
            if told["ready"]:
                self._wake.set()
        except ConnectionLost:
            pass
        except CallFailed as error:
            _log.warning("worker of queue %s: %s", self.queue, error)

    async def _hold(self, job: _Job) -> None:
        try:
            await self._connection.call("task_heartbeat", job.task.id, job.task.token, self._lease_us)
        except ConnectionLost:
            pass
        except CallFailed as error:
            if error.code in _NOT_HELD and not job.done:
                _log.warning("task %s (%s) is not ours any more: %s", job.task.id, job.task.name, error.message)
                self._interrupt(job)

    @staticmethod
    def _interrupt(job: _Job) -> None:
        if job.running is not None:
            job.running.cancel()

    # Its end.

    def _state_changed(self, change: StateChange) -> None:
        if self._over.is_set():
            return
        if change.state is State.CONNECTED:
            # The server knows nothing of this connection yet, and leases may be near their end.
            self._wake.set()
            self._keep(self._beat())
        elif change.state is State.CLOSED:
            for job in self._jobs.values():
                self._interrupt(job)
            self._end()

    def _keep(self, work: Any) -> None:
        loop = asyncio.create_task(self._guarded(work))
        self._loops.add(loop)
        loop.add_done_callback(self._loops.discard)

    async def _guarded(self, work: Awaitable[None]) -> None:
        """Run a loop of this worker; should it ever fail, the worker ends instead of standing still."""
        try:
            await work
        except ConnectionClosed:
            pass
        except Exception:
            _log.exception("the worker of queue %s failed unexpectedly", self.queue)
            self._end()

    def _end(self) -> None:
        self._stopping = True
        for loop in self._loops:
            loop.cancel()
        self._over.set()


# -- plain scripts -----------------------------------------------------------------------------------


class BlockingConnection(Protocol):
    """What a worker needs of ``client.blocking.Connection``."""

    def call(self, reducer: str, *args: Any, key: str | None = None) -> Any:
        """Run a reducer."""

    def subscribe(self, queries: str, *, on_insert: Any = None, on_update: Any = None) -> Any:
        """Subscribe to live queries."""

    def on_state(self, callback: Callable[[StateChange], object]) -> object:
        """Hear of the connection's state."""

    def poll(self, timeout_s: float = 0.0) -> int:
        """Take in what has arrived."""


class Hand:
    """A task in the hand of a plain script: its facts, and ``beat`` to hold it for longer than its lease."""

    def __init__(self, task: Task, beat: Callable[[], object]) -> None:
        self.task = task
        self.beat = beat
        """Hold the task for another lease from now. ``CallFailed`` ``stale_lease`` if it is not ours any more."""


class PlainWorker:
    """A worker without an event loop: one task after another, on the caller's thread. See ``Connection.work``."""

    def __init__(
        self,
        connection: BlockingConnection,
        queue: str,
        handler: Callable[[Hand], Any],
        *,
        lease_s: float,
        sleep: Callable[[float], object],
        local_us: Callable[[], int],
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._handler = handler
        self._lease_us = round(lease_s * 1e6)
        self._sleep = sleep
        self._local_us = local_us
        self._beat_us = self._lease_us // 3
        self._hello_at = 0
        self._look = True

    def run(self, until: Callable[[], bool], timeout_s: float | None) -> int:
        """Work until ``until()`` or for that long; returns how many tasks it has done."""
        deadline = None if timeout_s is None else self._local_us() + round(timeout_s * 1e6)
        self._connection.on_state(self._state_changed)
        self._hello()
        watch = self._connection.subscribe(watched(self._queue), on_insert=self._woken, on_update=self._woken)
        finished = 0
        try:
            while not until() and (deadline is None or self._local_us() < deadline):
                with contextlib.suppress(ConnectionLost):
                    if self._local_us() >= self._hello_at:
                        self._hello()
                    if self._look:
                        finished += self._take_one()
                        continue
                self._connection.poll(self._patience_s(deadline))
        finally:
            with contextlib.suppress(ClientError):
                watch.unsubscribe()
                self._connection.call("task_worker_hello", self._queue, 0)
        return finished

    def _patience_s(self, deadline: int | None) -> float:
        until = self._hello_at if deadline is None else min(deadline, self._hello_at)
        return max(until - self._local_us(), 0) / 1e6

    def _woken(self, *_: object) -> None:
        self._look = True

    def _state_changed(self, change: StateChange) -> None:
        if change.state is State.CONNECTED:
            self._look, self._hello_at = True, 0

    def _hello(self) -> None:
        told = self._connection.call("task_worker_hello", self._queue, 1)
        self._hello_at = self._local_us() + min(self._beat_us, told["stale_after_us"] // 3)
        self._look = self._look or bool(told["ready"])

    def _take_one(self) -> int:
        self._look = False
        claimed = self._connection.call("task_claim", self._queue, 1, self._lease_us)
        if not claimed:
            return 0
        self._look = True
        task = task_from_json(claimed[0])
        hold = ("task_heartbeat", task.id, task.token, self._lease_us)
        try:
            words = done(task, self._handler(Hand(task, lambda: self._connection.call(*hold))))
        except Exception as error:
            words = failed(task, error)
        return self._say(task, words)

    def _say(self, task: Task, words: Words) -> int:
        left: Words | None = words
        while left is not None:
            try:
                self._connection.call(*left)
                return 1
            except ConnectionLost:
                continue
            except Unavailable:
                self._sleep(_AGAIN_S)
            except (CallFailed, BadRequest) as error:
                left = unsaid(task, left, error)
        return 0
