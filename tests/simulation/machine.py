"""A program on simulated ground: the real engine, host, log and projection; a clock and a disk that a seed moves.

What is simulated on it, ``World`` or ``Guild``, says which module runs, what clients send, and what must hold.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeVar

from reactor.assembly import compose, load_engine, start_host
from reactor.clock import SimulatedClock
from reactor.engine import Engine
from reactor.host import Host
from reactor.limits import Limits
from reactor.module import Module
from reactor.storage import InlineStorage, Opened, open_store
from reactor.table import Table
from tests.simulation.disk import SimulatedDisk

LIMITS = Limits(timers_per_turn_max=8, calls_per_turn_max=16, id_block=4, resume_changes_max=300)
SECOND = 1_000_000
Durability = Literal["full", "relaxed"]
TURNS_TO_REST = 400


class Violation(AssertionError):
    """A property does not hold."""


Self = TypeVar("Self", bound="Machine")


class Machine:
    """One run. ``steps`` random steps, then everything is brought to rest and checked once more."""

    command = ""
    """What the replay command calls this kind of run."""

    def __init__(self, seed: int, flaw: enum.Enum | None = None, steps: int = 120) -> None:
        self.seed = seed
        self.flaw = flaw
        self.steps = steps
        self.rng = Random(seed)
        self.clock = SimulatedClock()
        self.disk = SimulatedDisk(self.rng.choice((512, 4096)), powersafe=self.rng.random() < 0.8)
        self.program = compose(self.make_module())
        self.connections = 0
        self.crashes = 0
        self.trimmed = False
        self.history: list[str] = []

    # -- what a kind of run decides ------------------------------------------------------------

    def make_module(self) -> Module:
        """The module that runs."""
        raise NotImplementedError

    def actions(self) -> Sequence[tuple[Callable[[], None], float]]:
        """What may happen in a step, with weights."""
        raise NotImplementedError

    def after_start(self) -> None:
        """Check what a start has loaded, before anything runs."""

    def connect_all(self) -> None:
        """Connect the clients that are not."""

    def lose_all(self) -> None:
        """The connections are gone."""

    def at_rest(self) -> None:
        """Check everything that must hold when nothing is waiting and nothing is due."""

    def make_engine(self, opened: Opened) -> Engine:
        """The engine over what was opened."""
        return load_engine(self.program, opened, limits=LIMITS)

    storage_kind: type[InlineStorage] = InlineStorage
    durability: Durability = "full"

    def fail(self, problem: str) -> None:
        """Raise the violation with what is needed to see it again."""
        flaw = f" --flaw {self.flaw.name}" if self.flaw else ""
        raise Violation(
            f"seed={self.seed}: {problem}\nreplay: python -m tests.simulation {self.command}{self.seed}{flaw}\n"
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
            durability=self.durability,
            limits=LIMITS,
            disk=self.disk,
            indexes=list(self.program.indexes.values()),
        )
        self.engine = self.make_engine(opened)
        self.storage = self.storage_kind(opened, automatic=False)
        self.host = Host(self.engine, self.storage, self.clock)
        self.after_start()
        start_host(self.host, opened)
        self.connect_all()

    def crash(self, *, power: bool) -> None:
        """End the process, or cut the power, and start again."""
        self.crashes += 1
        if power:
            self.disk.crash(self.rng)
        else:
            self.disk.heal()
            self.disk.kill()
        self.lose_all()
        if self.rng.random() < 0.5:
            self.clock.advance(self.rng.randint(0, 20 * SECOND))
        self.open()

    def _restart_if_lost(self) -> None:
        """A reactor that has lost its storage stops; someone starts it again."""
        while self.host.is_lost:
            self.disk.heal()
            self.crash(power=self.rng.random() < 0.5)

    # -- steps -------------------------------------------------------------------------------

    def run(self: Self) -> Self:
        """All steps, then rest. Raises ``Violation``, also for an error nobody foresaw."""
        try:
            self._run()
        except Violation:
            raise
        except Exception as error:
            self.fail(f"{type(error).__name__}: {error}")
        return self

    def _run(self) -> None:
        self.open()
        actions = self.actions()
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
        self._run_out()
        if self.engine.halted is not None:
            # An I/O error: only a start tells what the disk has.
            self.crash(power=self.rng.random() < 0.5)
            self.come_to_rest()
            return
        self.connect_all()
        self._run_out()
        self.storage.pump_projection()
        self.at_rest()

    def _run_out(self) -> None:
        for _ in range(TURNS_TO_REST):
            was_failed = self.storage.is_failed
            more = self.host.run_turn()
            self.storage.pump()
            if not (more or was_failed or self.storage.waiting or self.host.has_requests):
                break
            if was_failed and self.storage.is_failed:
                break

    def table(self, name: str) -> Table[Any]:
        """A table of the engine."""
        return self.engine.store.tables[name]
