"""One simulated run: the real engine, host, log and projection; a clock, a disk and a network that a seed moves.

``World(seed).run()`` does some hundred random steps (calls, turns, syncs, time, crashes, full disks) and checks the
properties after every crash and at every quiet moment. It raises ``Violation`` with the seed in its text. The
``Flaw`` that may be given breaks the program on purpose: a simulation that cannot see it would prove nothing.
"""

from __future__ import annotations

import enum
from pathlib import Path
from random import Random
from typing import Any

from reactor.assembly import compose, load_engine, start_host
from reactor.clock import SimulatedClock
from reactor.engine import Engine
from reactor.host import Host
from reactor.limits import Limits
from reactor.storage import Group, InlineStorage, Opened, StorageEvents, open_store
from reactor.table import Table
from reactor.timers import DueTimer, Firing
from tests.simulation import properties
from tests.simulation.client import QUERIES, SimClient
from tests.simulation.disk import SimulatedDisk
from tests.simulation.game import ACCOUNTS, make_game

LIMITS = Limits(timers_per_turn_max=8, calls_per_turn_max=16, id_block=4, resume_changes_max=300)
CATCH_UP = ["fire_all", "coalesce", "skip", "drop_if_late"]
SECOND = 1_000_000


class Flaw(enum.Enum):
    """A defect planted on purpose."""

    UNSYNCED_COMMITS = "the log is written with synchronous=NORMAL"
    EARLY_ANSWERS = "answers leave before the log is synced"
    TIMER_APART = "a timer's deletion is a commit of its own"


class Violation(AssertionError):
    """A property does not hold."""


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


class World:
    """The state of one run. ``steps`` random steps, then everything is brought to rest and checked once more."""

    def __init__(self, seed: int, flaw: Flaw | None = None, steps: int = 120) -> None:
        self.seed = seed
        self.flaw = flaw
        self.steps = steps
        self.rng = Random(seed)
        self.clock = SimulatedClock()
        self.disk = SimulatedDisk(self.rng.choice((512, 4096)), powersafe=self.rng.random() < 0.8)
        self.program = compose(make_game())
        self.clients = [SimClient(name, self._some_queries()) for name in ("a", "b", "c")]
        self.connections = 0
        self.tokens = 0
        self.keyed: list[tuple[SimClient, str]] = []
        self.crashes = 0
        self.trimmed = False
        self.history: list[str] = []
        self.open()

    def _some_queries(self) -> list[str]:
        return self.rng.sample(QUERIES, self.rng.randint(1, len(QUERIES)))

    def fail(self, problem: str) -> None:
        """Raise the violation with what is needed to see it again."""
        flaw = f" --flaw {self.flaw.name}" if self.flaw else ""
        raise Violation(
            f"seed={self.seed}: {problem}\nreplay: python -m tests.simulation {self.seed}{flaw}\n"
            f"last steps: {', '.join(self.history[-12:])}"
        )

    # -- start and crash ---------------------------------------------------------------------

    def open(self) -> None:
        """Start the program on what the disk holds."""
        opened = open_store(
            Path("/simulated"),
            list(self.program.tables.values()),
            now_us=self.clock.now(),
            new_history_id=f"{self.rng.getrandbits(128):032x}",
            durability="relaxed" if self.flaw is Flaw.UNSYNCED_COMMITS else "full",
            limits=LIMITS,
            disk=self.disk,
        )
        self.engine = self._engine(opened)
        kind = EarlyStorage if self.flaw is Flaw.EARLY_ANSWERS else InlineStorage
        self.storage = kind(opened, automatic=False)
        self.host = Host(self.engine, self.storage, self.clock)
        properties.after_start(self)
        start_host(self.host, opened)
        for client in self.clients:
            self._connect(client)

    def _engine(self, opened: Opened) -> Engine:
        engine = load_engine(self.program, opened, limits=LIMITS)
        if self.flaw is Flaw.TIMER_APART:
            engine.__class__ = ApartEngine
        return engine

    def _connect(self, client: SimClient) -> None:
        self.connections += 1
        client.connect(self.host, self.connections)

    def crash(self, *, power: bool) -> None:
        """End the process, or cut the power, and start again."""
        self.crashes += 1
        if power:
            self.disk.crash(self.rng)
        else:
            self.disk.heal()
            self.disk.kill()
        for client in self.clients:
            client.lose()
        if self.rng.random() < 0.5:
            self.clock.advance(self.rng.randint(0, 20 * SECOND))
        self.open()

    def _restart_if_lost(self) -> None:
        """A reactor that has lost its storage stops; someone starts it again."""
        while self.host.is_lost:
            self.disk.heal()
            self.crash(power=self.rng.random() < 0.5)

    # -- steps -------------------------------------------------------------------------------

    def run(self) -> World:
        """All steps, then rest. Raises ``Violation``, also for an error nobody foresaw."""
        try:
            return self._run()
        except Violation:
            raise
        except Exception as error:
            self.fail(f"{type(error).__name__}: {error}")
            raise

    def _run(self) -> World:
        actions = [
            (self.send, 50), (self.turn, 25), (self.pump, 22), (self.tick, 14), (self.project, 6),
            (self.reconnect, 2), (self.checkpoint, 2), (self.trim, 1), (self.break_disk, 2), (self.kill, 1),
            (self.cut_power, 2), (self.come_to_rest, 3),
        ]  # fmt: skip
        choices, weights = [a for a, _ in actions], [w for _, w in actions]
        for action in self.rng.choices(choices, weights, k=self.steps):
            self.history.append(action.__name__)
            action()
            self._restart_if_lost()
        self.come_to_rest()
        self.clock.advance(60 * SECOND)
        self.come_to_rest()
        self.crash(power=True)
        self.come_to_rest()
        return self

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

    def turn(self) -> None:
        """The engine takes a turn."""
        self.host.run_turn()

    def pump(self) -> None:
        """The disk catches up with the log."""
        self.storage.pump()

    def project(self) -> None:
        """The projection catches up."""
        self.storage.pump_projection()

    def tick(self) -> None:
        """Time passes."""
        self.clock.advance(self.rng.choice((1_000, 100_000, 700_000, 3 * SECOND)))
        self.host.mark_alive()

    def reconnect(self) -> None:
        """A client loses its connection and comes back."""
        client = self.rng.choice(self.clients)
        if client.session is not None:
            self.host.disconnect(client.session)
            client.lose()
        self._connect(client)

    def checkpoint(self) -> None:
        """The WALs are moved into their files."""
        if not self.storage.is_failed:
            self.storage.checkpoint()

    def trim(self) -> None:
        """The log lets go of its beginning."""
        if not self.storage.is_failed and self.seed % 2:
            self.trimmed = True
            self.storage.trim(self.clock.now() - self.rng.randint(0, 10 * SECOND))

    def break_disk(self) -> None:
        """The disk fills up, or an operation fails."""
        if self.flaw is not None:
            return
        if self.rng.random() < 0.6:
            self.disk.fail(self.rng.choice(("write", "sync")), "full", self.rng.randint(0, 6), self.rng.randint(1, 3))
        else:
            self.disk.fail(self.rng.choice(("write", "sync")), "io", self.rng.randint(0, 10))

    def kill(self) -> None:
        """The process is killed; what the system has not yet written, it will."""
        self.crash(power=False)

    def cut_power(self) -> None:
        """The machine loses power."""
        self.crash(power=True)

    # -- rest --------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """Run until nothing is waiting and nothing is due, then check everything that must hold."""
        self.disk.heal()
        self._restart_if_lost()
        for _ in range(400):
            was_failed = self.storage.is_failed
            more = self.host.run_turn()
            self.storage.pump()
            if not (more or was_failed or self.storage.waiting or self.host.has_requests):
                break
            if was_failed and self.storage.is_failed:
                break
        if self.engine.halted is not None:
            # An I/O error: only a start tells what the disk has.
            self.crash(power=self.rng.random() < 0.5)
            self.come_to_rest()
            return
        self.storage.pump_projection()
        for client in self.clients:
            if client.session is None:
                self._connect(client)
                self.host.run_turn()
                self.storage.pump()
        properties.at_rest(self)

    def table(self, name: str) -> Table[Any]:
        """A table of the engine."""
        return self.engine.store.tables[name]
