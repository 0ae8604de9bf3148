"""What operators do to the guild: another version of its module, and upkeep of its index while it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reactor.assembly import compose
from reactor.errors import ReactorError
from reactor.module import Module
from reactor.reloading import reload
from reactor.storage import Opened, open_store
from reactor.storage.backfill import Backfill, drop_index
from tests.simulation.guild_calendar import GuildCalendar
from tests.simulation.guild_game import make_guild
from tests.simulation.machine import LIMITS
from workflows.tables import WORKFLOW_SCHEMA
from workflows.visibility.index import INDEX


class CutError(Exception):
    """The process ends here."""


class GuildCare(GuildCalendar):
    """``version`` of the module runs. ``is_marked``: whether the index must be trusted, None if nobody knows."""

    def __init__(self, seed: int, flaw: Any = None, steps: int = 240) -> None:
        self.version = 1
        self.is_marked: bool | None = True
        super().__init__(seed, flaw, steps)

    def make_module(self) -> Module:
        """See ``guild_game``."""
        self.module = make_guild(self.version)
        return self.module

    def reload(self) -> None:
        """The other version takes the place of the one that runs, between two turns."""
        before = self.module
        self.version = 3 - self.version
        program = compose(self.make_module())
        try:
            reload(self.host, program)
        except ReactorError as error:
            self.version, self.module = 3 - self.version, before
            if self.engine.halted is None:
                self.fail(f"REQ-12: a reload was refused: {error.message}")
            return
        self.program = program

    def mend_index(self) -> None:
        """Stop, drop or fill the index over workflows, perhaps broken off in the middle, and start again."""
        self.disk.heal()
        self.disk.kill()
        self.lose_all()
        works = self.rng.choice(("drop", "fill", "drop fill", "drop fill", "drop fill")).split()
        # A drop has three steps; what is filled after it may be broken off at any row.
        left = self.rng.choice((1_000, self.rng.randrange(3), self.rng.randint(3, 16), self.rng.randint(3, 16)))

        def count(_: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise CutError

        opened = self._opened()
        try:
            for work in works:
                self.is_marked = None
                self._mend(opened, work, count)
        except CutError:
            self.crash(power=self.rng.random() < 0.5)
            return
        opened.release()
        self.open()

    def _opened(self) -> Opened:
        return open_store(
            Path("/simulated"),
            list(self.program.tables.values()),
            now_us=self.clock.now(),
            new_history_id=f"{self.rng.getrandbits(128):032x}",
            limits=LIMITS,
            disk=self.disk,
            indexes=[INDEX],
        )

    def _mend(self, opened: Opened, work: str, count: Any) -> None:
        connection = opened.projection.connection
        if work == "drop":
            drop_index(connection, INDEX, count)
            # An index over nothing covers it.
            self.is_marked = False if connection.execute("SELECT 1 FROM workflow LIMIT 1") else None
            return
        walked = Backfill(
            connection,
            INDEX,
            WORKFLOW_SCHEMA,
            history=opened.history_id,
            new_run=f"{self.rng.getrandbits(128):032x}",
            now_us=self.clock.now(),
            each=count,
        ).run()
        if walked.mark is None:
            self.fail(f"B07: nobody else writes, and a backfill met conflicts: {walked.samples}")
        self.is_marked = True
