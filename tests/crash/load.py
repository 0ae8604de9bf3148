"""A client that keeps the server busy and remembers what it was told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from client import Backoff, CallFailed, Commit, ConnectionLost
from client.aio import Connection

WATCHED = ("debit", "credit", "keyed", "alarm", "firing")
"""Tables that the client mirrors; ``beat`` only says where the next occurrence is."""


class Load:
    """Calls of all kinds, many at a time, across every restart. The sets are what the server has acknowledged."""

    def __init__(self, url: str, token: str, seed: int) -> None:
        self.transferred: set[str] = set()
        self.in_doubt: set[str] = set()
        self.keyed: set[str] = set()
        self.alarms: dict[int, int] = {}
        self.cancelled: set[int] = set()
        self.seq = 0
        self.restored = 0
        self.failures: list[str] = []
        self._rng = random.Random(seed)
        self._count = 0
        self._going = asyncio.Event()
        self._running = 0
        self._tasks: list[asyncio.Task[None]] = []
        backoff = Backoff(first_s=0.02, factor=1.5, cap_s=0.1)
        self.connection = Connection(url, "ledgers", token, backoff=backoff, on_callback_error=self._callback_failed)
        self.connection.on_commit(self._committed)

    async def start(self) -> None:
        """Connect, subscribe, and begin."""
        await self.connection.open()
        await self.connection.subscribe([f"SELECT * FROM {table}" for table in WATCHED])
        makers = [self._transfer] * 4 + [self._once] * 3 + [self._alarm, self._cancel]
        self._tasks = [asyncio.create_task(self._repeat(make)) for make in makers]
        self.resume()

    def resume(self) -> None:
        """Go on."""
        self._going.set()

    async def pause(self) -> None:
        """Begin nothing new and wait until everything begun has its answer."""
        self._going.clear()
        async with asyncio.timeout(30):
            while self._running:
                await asyncio.sleep(0.005)

    async def end(self) -> None:
        """Stop for good."""
        await self.pause()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.connection.close()

    def mirror(self, table: str) -> set[tuple[Any, ...]]:
        """The rows of a table as the subscriber has them."""
        return {tuple(row) for row in self.connection.table(table)}

    async def _repeat(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await self._going.wait()
            self._running += 1
            try:
                await make()
            except CallFailed as error:
                # While it stops or its store fails, the server may say so; anything else is a finding.
                if error.code not in ("stopping", "in_doubt", "read_only"):
                    self.failures.append(str(error))
            finally:
                self._running -= 1
            await asyncio.sleep(0)

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind} {self._count}"

    async def _transfer(self) -> None:
        name = self._name("transfer")
        try:
            await self.connection.call("transfer", name)
            self.transferred.add(name)
        except (ConnectionLost, CallFailed):
            self.in_doubt.add(name)

    async def _once(self) -> None:
        name = self._name("once")
        await self.connection.call("once", name, key=name)
        self.keyed.add(name)

    async def _alarm(self) -> None:
        name = self._name("alarm")
        delay_us = int(self._rng.choice((0, 1_000, 100_000, 600_000)) * self._rng.random())
        timer, due_at = await self.connection.call("set_alarm", name, delay_us, key=name)
        self.alarms[timer] = due_at
        await asyncio.sleep(0.002)

    async def _cancel(self) -> None:
        await asyncio.sleep(0.02)
        pending = [timer for timer in self.alarms if timer not in self.cancelled]
        if pending:
            timer = self._rng.choice(pending[-30:])
            if await self.connection.call("cancel_alarm", timer, key=self._name("cancel")):
                self.cancelled.add(timer)

    def _committed(self, commit: Commit) -> None:
        self.restored += commit.restored
        if commit.seq < self.seq:
            self.failures.append(f"commit {commit.seq} came after {self.seq}")
        self.seq = commit.seq

    def _callback_failed(self, error: Exception, callback: Callable[..., object]) -> None:
        self.failures.append(f"callback: {error!r}")
