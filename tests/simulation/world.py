"""One simulated run of the store: calls, timers, subscriptions and keys, on simulated ground.

``World(seed).run()`` does some hundred random steps (calls, turns, syncs, time, crashes, full disks) and checks the
properties after every crash and at every quiet moment. It raises ``Violation`` with the seed in its text. The
``Flaw`` that may be given breaks the program on purpose: a simulation that cannot see it would prove nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from reactor.engine import Engine
from reactor.module import Module
from reactor.storage import Group, InlineStorage, Opened, StorageEvents
from reactor.timers import DueTimer, Firing
from tests.simulation import properties
from tests.simulation.client import QUERIES, SimClient
from tests.simulation.game import ACCOUNTS, make_game
from tests.simulation.machine import SECOND, Machine

CATCH_UP = ["fire_all", "coalesce", "skip", "drop_if_late"]


class Flaw(enum.Enum):
    """A defect planted on purpose."""

    UNSYNCED_COMMITS = "the log is written with synchronous=NORMAL"
    EARLY_ANSWERS = "answers leave before the log is synced"
    TIMER_APART = "a timer's deletion is a commit of its own"


class EarlyStorage(InlineStorage):
    """Says durable before it is: the flaw ``EARLY_ANSWERS``."""

    def start(self, events: StorageEvents) -> None:
        """Remember whom to lie to."""
        super().start(events)
        self._fooled = events

    def append(self, group: Group) -> None:
        """Queue, and claim it is done."""
        super().append(group)
        if self._failure is None:
            self._fooled.durable(group.last_seq)


class ApartEngine(Engine):
    """Deletes or advances a fired timer in a second commit: the flaw ``TIMER_APART``."""

    _left: Any = None

    def next_due(self) -> int | None:
        """At once, while there is something to tidy up."""
        return super().next_due() if self._left is None else 0

    def _consume(self, due: DueTimer, row: Any, firing: Firing) -> None:
        self._left = (due, row, firing)

    def _fire_due(self, now: int) -> None:
        """Fire one timer in this turn, and tidy up after it in the next."""
        left, self._left = self._left, None
        if left is not None:
            self.store.begin()
            super()._consume(*left)
            self._commit("consume", None, None)
        due = self.timers.pop_due(now)
        if due is not None:
            self._fire(due, now)


class World(Machine):
    """The state of one run."""

    def __init__(self, seed: int, flaw: Flaw | None = None, steps: int = 120) -> None:
        super().__init__(seed, flaw, steps)
        self.clients = [SimClient(name, self._some_queries()) for name in ("a", "b", "c")]
        self.tokens = 0
        self.keyed: list[tuple[SimClient, str]] = []
        if flaw is Flaw.EARLY_ANSWERS:
            self.storage_kind = EarlyStorage
        if flaw is Flaw.UNSYNCED_COMMITS:
            self.durability = "relaxed"

    def make_module(self) -> Module:
        """See ``game``."""
        return make_game()

    def actions(self) -> list[tuple[Callable[[], None], int]]:
        """Mostly calls and turns."""
        return [
            (self.send, 50), (self.turn, 25), (self.pump, 22), (self.tick, 14), (self.project, 6),
            (self.reconnect, 2), (self.checkpoint, 2), (self.trim, 1), (self.break_disk, 2), (self.kill, 1),
            (self.cut_power, 2), (self.come_to_rest, 3),
        ]  # fmt: skip

    def after_start(self) -> None:
        """See ``properties``."""
        properties.after_start(self)

    def at_rest(self) -> None:
        """See ``properties``."""
        properties.at_rest(self)

    def make_engine(self, opened: Opened) -> Engine:
        """With the flaw, if it is one of the engine."""
        engine = super().make_engine(opened)
        if self.flaw is Flaw.TIMER_APART:
            engine.__class__ = ApartEngine
        return engine

    def connect_all(self) -> None:
        """Connect the clients that are not."""
        for client in self.clients:
            if client.session is None:
                self._connect(client)

    def lose_all(self) -> None:
        """The connections are gone."""
        for client in self.clients:
            client.lose()

    def _some_queries(self) -> list[str]:
        return self.rng.sample(QUERIES, self.rng.randint(1, len(QUERIES)))

    def _connect(self, client: SimClient) -> None:
        self.connections += 1
        client.connect(self.host, self.connections)

    # -- steps -------------------------------------------------------------------------------

    def send(self) -> None:
        """A client sends a few calls."""
        client = self.rng.choice(self.clients)
        for _ in range(self.rng.randint(1, 4)):
            self.tokens += 1
            self._send_one(client, f"{client.identity[0]}{self.tokens}")

    def _send_one(self, client: SimClient, token: str) -> None:
        rng = self.rng
        kind = rng.choice(("move", "move", "move", "relocate", "toggle", "arm", "arm", "postpone", "disarm", "count"))
        if kind == "move":
            client.call(token, "move", rng.randrange(ACCOUNTS), rng.randrange(ACCOUNTS), rng.randint(1, 25))
        elif kind == "relocate":
            client.call(token, "relocate", rng.randrange(ACCOUNTS), rng.choice((None, 0, 1, 2, 3)))
        elif kind == "toggle":
            client.call(token, "toggle", rng.randrange(4))
        elif kind == "arm":
            interval = rng.choice((None, None, 300_000, SECOND, 4 * SECOND))
            clock = rng.choice(("wall", "world"))
            client.call(token, "arm", rng.randint(0, 6 * SECOND), interval, clock, rng.choice(CATCH_UP))
        elif kind == "count":
            self._count(client, token)
        elif client.alarms:
            alarm = rng.choice(client.alarms)
            if kind == "postpone":
                client.call(token, "postpone", alarm, rng.randint(0, 5 * SECOND))
            else:
                client.call(token, "disarm", alarm, rng.random() < 0.5)

    def _count(self, client: SimClient, token: str) -> None:
        """A call with an idempotency key: a new one, or one that was sent before."""
        if self.keyed and self.rng.random() < 0.6:
            client, token = self.rng.choice(self.keyed[-8:])
        else:
            self.keyed.append((client, token))
        client.call(token, "count", key=f"key-{token}")

    def reconnect(self) -> None:
        """A client loses its connection and comes back."""
        client = self.rng.choice(self.clients)
        if client.session is not None:
            self.host.disconnect(client.session)
            client.lose()
        self._connect(client)
