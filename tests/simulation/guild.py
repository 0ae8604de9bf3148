"""One simulated run of the workflow engine: random commands over all it offers, on simulated ground.

What clients were promised is checked after every start, and everything else at rest: every signal and every task's
result had its effect once, scripts replay, the invariants of the workflow tables hold, memory, log, projection and
timers agree. The ``GuildFlaw`` that may be given breaks the program on purpose.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from reactor.storage.backfill import Backfill
from reactor.storage.connection import transaction
from reactor.storage.indexing import Mark, write_mark
from tests.simulation import guild_course, guild_properties
from tests.simulation.guild_care import GuildCare
from workflows.signalling import Signalling
from workflows.tasks.leases import Leases
from workflows.visibility.index import INDEX


class GuildFlaw(enum.Enum):
    """A defect planted on purpose."""

    SIGNAL_APART = "a signal is consumed in a commit of its own"
    TOKEN_DROPPED = "whoever names a task may finish it"
    DEDUP_SKIPPED = "a signal sent twice under one id counts twice"
    MARK_FIRST = "a backfill writes the mark of the index before the rows"


class Guild(GuildCare):
    """The state of one run."""

    command = "guild "

    def __init__(self, seed: int, flaw: GuildFlaw | None = None, steps: int = 240) -> None:
        super().__init__(seed, flaw, steps)
        # Signals that were taken and whose rows are still there: the flaw SIGNAL_APART.
        self.left_over: dict[int, None] = {}

    def actions(self) -> list[tuple[Callable[[], None], float]]:
        """Mostly commands and turns."""
        return [
            (self.start, 12), (self.start_with, 12), (self.signal_or_start, 4), (self.send, 18), (self.update, 10),
            (self.send_again, 14), (self.control, 11), (self.label, 4), (self.work, 26), (self.world, 10),
            (self.announce, 6), (self.schedule, 9), (self.group, 8), (self.stop_group, 2), (self.reload, 1.5),
            (self.turn, 30), (self.pump, 26), (self.tick, 22), (self.project, 5), (self.break_disk, 1),
            (self.mend_index, 2), (self.kill, 1), (self.cut_power, 2), (self.come_to_rest, 2),
        ]  # fmt: skip

    def run(self) -> Guild:
        """With the flaw in place."""
        with self._broken():
            super().run()
        return self

    def _run(self) -> None:
        super()._run()
        guild_course.assert_course(self)

    @contextlib.contextmanager
    def _broken(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            if self.flaw is GuildFlaw.SIGNAL_APART:
                stack.enter_context(mock.patch("workflows.scripts.waits.take", self._take_and_leave))
            elif self.flaw is GuildFlaw.TOKEN_DROPPED:
                stack.enter_context(mock.patch.object(Leases, "_held", staticmethod(_newest_delivery)))
            elif self.flaw is GuildFlaw.DEDUP_SKIPPED:
                stack.enter_context(mock.patch.object(Signalling, "_send_once", _send_anew))
            elif self.flaw is GuildFlaw.MARK_FIRST:
                stack.enter_context(mock.patch.object(Backfill, "_walk", _mark_then_walk))
            yield

    def _take_and_leave(self, ctx: Any, workflow_id: int, name: str) -> Any:
        for message in ctx.db.workflow_message.lookup(("workflow_id", "name"), (workflow_id, name)):
            if message.id not in self.left_over:
                self.left_over[message.id] = None
                return message
        return None

    def turn(self) -> None:
        """A turn of the engine; with the flaw, what was taken before it is removed in it."""
        if self.left_over and self.flaw is GuildFlaw.SIGNAL_APART:
            ids, self.left_over = list(self.left_over), {}
            self.clients[0].call("remove", "clean", ids)
        super().turn()

    # -- clients -----------------------------------------------------------------------------

    def connect_all(self) -> None:
        """Connect the clients that are not."""
        for client in self.clients:
            if client.session is None:
                self.connections += 1
                client.connect(self.host, self.connections)

    def lose_all(self) -> None:
        """The connections are gone."""
        self.left_over = {}
        for client in self.clients:
            client.lose()

    def after_start(self) -> None:
        """What was promised is there."""
        guild_properties.promises_kept(self)
        guild_properties.effects_happened_once(self)
        guild_properties.lists_are_whole(self)

    def at_rest(self) -> None:
        """See ``guild_properties``."""
        guild_properties.at_rest(self)


def _newest_delivery(ctx: Any, task_id: int, token: str) -> tuple[Any, Any]:
    task = ctx.db.task.require(task_id)
    return task, ctx.db.task_attempt.require(task.attempt_id)


def _send_anew(self: Signalling, ctx: Any, workflow_id: int, name: str, payload: Any, signal_id: str) -> Any:
    return self.send(ctx, workflow_id, name, payload)


_walk = Backfill._walk


def _mark_then_walk(self: Any) -> None:
    with transaction(self._connection):
        write_mark(self._connection, INDEX.name, Mark(INDEX.version, 0, 0))
    _walk(self)
