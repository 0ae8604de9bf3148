"""A real database on a simulated clock, and connections to it that can be cut, for tests of workers."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from client import ClientError, ConnectionClosed, ConnectionLost, State, StateChange
from client.errors import error_from_json
from client.messages import encode
from client.rows import Row
from reactor.testing import Rig, RigClient, Watch
from workflows import WorkflowEngine

QUEUE = "mail"


class Office:
    """The database, the clock, and who sleeps until when."""

    def __init__(self) -> None:
        self.rig = Rig(WorkflowEngine())
        self.lines: list[Line] = []
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def put(self, name: str = "send", payload: Any = None, **options: Any) -> int:
        """Put a task."""
        task_id: int = self.rig.run(lambda ctx: ctx.tasks.put(QUEUE, name, payload, **options))
        return task_id

    def statuses(self) -> list[str]:
        """Where the tasks stand, by id."""
        return [str(row.status) for row in self.rig.rows("task")]

    def results(self) -> list[Any]:
        """What became of the tasks, by id."""
        return [row.result if row.error is None else row.error for row in self.rig.rows("task_content")]

    def outcomes(self) -> list[str]:
        """How the deliveries went, in order."""
        return [str(row.outcome) for row in self.rig.rows("task_attempt")]

    def total(self, what: str) -> int:
        """A total of the queue."""
        return int(getattr(self.rig.row("task_queue_total", QUEUE), what))

    async def sleep(self, seconds: float) -> None:
        """Sleep on the simulated clock."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due = self.rig.clock.now() + round(seconds * 1e6)
        heapq.heappush(self._sleepers, (due, next(self._count), future))
        await future

    async def settle(self) -> None:
        """Let everybody do what they can do at this instant."""
        for _ in range(60):
            for line in self.lines:
                line.deliver()
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Let time pass, for the database and for the sleepers."""
        end = self.rig.clock.now() + round(seconds * 1e6)
        await self.settle()
        while True:
            due = self.rig.host.next_due()
            if self._sleepers and (due is None or self._sleepers[0][0] <= due):
                due = self._sleepers[0][0]
            if due is None or due > end:
                break
            self.rig.advance(max(due - self.rig.clock.now(), 0))
            while self._sleepers and self._sleepers[0][0] <= self.rig.clock.now():
                _, _, future = heapq.heappop(self._sleepers)
                if not future.done():
                    future.set_result(None)
            await self.settle()
        self.rig.advance(end - self.rig.clock.now())
        await self.settle()


class Line:
    """A connection, as far as a worker sees it. ``cut`` and ``mend`` are what the network does to it."""

    def __init__(self, office: Office, number: int) -> None:
        self.office = office
        self.identity = f"{number:032x}"
        self.calls: list[tuple[Any, ...]] = []
        self.trouble: list[tuple[str, ClientError]] = []
        """``(reducer, error)``: raised by the next such call, which the server carries out all the same if the error
        is a ``ConnectionLost``."""
        self._client: RigClient | None = None
        self._back = asyncio.Event()
        self._closed = False
        self._states: list[Callable[[StateChange], object]] = []
        self._watched: list[tuple[str, Any, Any]] = []
        self._watches: list[tuple[Watch, Any, Any]] = []
        office.lines.append(self)
        self.mend()

    # What a worker uses.

    async def call(self, reducer: str, *args: Any, key: str | None = None) -> Any:
        """Run a reducer; while the line is cut it waits."""
        while self._client is None and not self._closed:
            await self._back.wait()
        await asyncio.sleep(0)
        return self.call_now(reducer, *args)

    def call_now(self, reducer: str, *args: Any) -> Any:
        """Run a reducer at once."""
        encode({"args": args})
        if self._closed or self._client is None:
            raise ConnectionClosed("closed")
        self.calls.append((reducer, *args))
        error = next((error for name, error in self.trouble if name == reducer), None)
        if error is not None:
            self.trouble.remove((reducer, error))
            if not isinstance(error, ConnectionLost):
                raise error
        answer = self._client.ask(call=reducer, args=list(args))
        if error is not None:
            raise error
        if "error" in answer:
            raise error_from_json(answer["error"])
        return answer["ok"]

    async def subscribe(self, queries: str, *, on_insert: Any = None, on_update: Any = None) -> Line:
        """Watch a query."""
        self.watch_now(queries, on_insert, on_update)
        return self

    def watch_now(self, queries: str, on_insert: Any, on_update: Any) -> None:
        """Watch a query at once."""
        self._watched.append((queries, on_insert, on_update))
        self._watch(queries, on_insert, on_update)

    async def unsubscribe(self) -> None:
        """Watch nothing any more."""
        self._watched.clear()
        self._watches.clear()

    def on_state(self, callback: Callable[[StateChange], object]) -> object:
        """Hear of the state."""
        self._states.append(callback)
        return callback

    def server_now_us(self) -> int:
        """The clock."""
        return self.office.rig.clock.now()

    # What the network does.

    def cut(self) -> None:
        """The connection is lost."""
        client, self._client = self._client, None
        self._watches.clear()
        if client is not None:
            client.disconnect()
        self._tell(State.RECONNECTING)

    def mend(self) -> None:
        """It is there again."""
        self._client = self.office.rig.connect(self.identity, is_owner=False)
        for watched in self._watched:
            self._watch(*watched)
        self._tell(State.CONNECTED)
        self._back.set()
        self._back = asyncio.Event()

    def close(self) -> None:
        """It was given up for good."""
        self.cut()
        self._closed = True
        self._tell(State.CLOSED)
        self._back.set()

    def deliver(self) -> int:
        """Run the callbacks for what has come in; returns how many events there were."""
        count = 0
        for watch, on_insert, on_update in list(self._watches):
            events, watch.events = watch.events, []
            for kind, row in events:
                count += 1
                if kind == "insert":
                    on_insert(row)
                elif kind == "update":
                    on_update(row, row)
        return count

    def _watch(self, query: str, on_insert: Any, on_update: Any) -> None:
        if self._client is not None:
            watch = self._client.watch(query)
            watch.events += [("insert", row) for row in watch.rows.values()]
            self._watches.append((watch, on_insert, on_update))

    def _tell(self, state: State) -> None:
        for callback in self._states:
            callback(StateChange(state, "as the test says"))


def run(script: Callable[[Office], Coroutine[Any, Any, None]]) -> None:
    """Run a script with an office of its own."""

    async def bounded() -> None:
        office = Office()
        try:
            async with asyncio.timeout(30):
                await script(office)
        finally:
            office.rig.close()

    asyncio.run(bounded())


Handler = Callable[[Any], Awaitable[Any]]

__all__ = ["QUEUE", "Handler", "Line", "Office", "Row", "run"]
