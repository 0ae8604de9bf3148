"""The thread of the writer process that keeps the projection up with the log.

It may use little of the machine while calls are coming in: the projection is not what they wait for. So it
works at once when nothing has come in for a few milliseconds or when someone asked for a seq, and otherwise
in bursts that leave it at rest most of the time. Longer rests mean larger bursts, in which more versions of
a row fall together.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from reactor.errors import Refusal
from reactor.storage.api import Group
from reactor.storage.backlog import Backlog
from reactor.storage.connection import Connection, DiskError
from reactor.storage.projection import Projection

QUIET_S = 0.005
"""No new group for this long counts as idle. Calls made one at a time come faster than that."""
LAG_S = 0.1
"""How long a commit waits under load before a burst takes it along, if the budget allows."""
BUSY_SHARE = 0.3
"""The share of one core that bursts may take under load."""
CHECKPOINT_ROWS = 20_000
"""Row writes after which the WAL is moved into the file: at most one page each, 80 MB."""
CHECKPOINT_QUIET_ROWS = 1_000
CHECKPOINT_QUIET_S = 1.0
"""That many row writes are moved when nothing has come in for this long."""
CHECKPOINT_AGE_S = 30.0
"""Whatever is written is durable, and its log record may go, this soon after."""
RETRY_S = 1.0
"""The pause after a full disk, and after a checkpoint that a reader kept from its end."""


class Projector(threading.Thread):
    """Keeps ``projection`` up with what it is fed. Opened on the main thread, used on this one only.

    ``projected(seq)`` is called on this thread when the projection has moved, and on the caller's when it is
    asked for what is there already. ``broken(error)``: it cannot go on, the thread ends.
    """

    def __init__(
        self,
        projection: Projection,
        open_log: Callable[[], Connection],
        projected: Callable[[int], None],
        broken: Callable[[DiskError | Refusal], None],
    ) -> None:
        super().__init__(name="projector")
        self._projection, self._open_log = projection, open_log
        self._projected, self._broken = projected, broken
        # Guarded by this lock; the others belong to this thread, except that anyone may read `durable_seq`.
        self._changed = threading.Condition()
        self._backlog = Backlog(projection.reached_seq, projection.schema.schema_no)
        self._wanted_seq = 0
        self._alive: tuple[int, int] | None = None
        self._closing: str | None = None
        self._first_s = self._last_s = 0.0

        self._log: Connection | None = None
        self._rest_until_s = self._retry_after_s = self._checkpoint_after_s = 0.0
        self._dirty_since_s: float | None = None
        self._working = False

    @property
    def durable_seq(self) -> int:
        """The log may be trimmed up to here."""
        return self._projection.durable_seq

    # -- for the main thread -----------------------------------------------------------------

    def feed(self, groups: Sequence[Group]) -> None:
        """Take groups that are durable in the log."""
        with self._changed:
            idle = not self._backlog and not self._working
            self._backlog.add(groups)
            self._last_s = time.monotonic()
            if idle:
                # Under load the thread looks by itself; waking it for each group would cost each call.
                self._first_s = self._last_s
                self._changed.notify()

    def ask(self, seq: int) -> None:
        """Go to ``seq``, or as far as the log if that is less, without waiting for a quiet moment."""
        with self._changed:
            reached = self._backlog.reached_seq
            if reached < min(seq, self._backlog.fed_seq):
                self._wanted_seq = max(self._wanted_seq, seq)
                self._changed.notify()
                return
        self._projected(reached)

    def mark_alive(self, wall_us: int, world_us: int) -> None:
        """Store a heartbeat."""
        with self._changed:
            self._alive = (wall_us, world_us)
            self._changed.notify()

    def close(self, *, finish: bool) -> None:
        """End the thread; with ``finish`` everything fed is projected and moved into the file before."""
        with self._changed:
            self._closing = "finish" if finish else "now"
            self._changed.notify()
        self.join()

    # -- on this thread ----------------------------------------------------------------------

    def run(self) -> None:
        """Work until closed."""
        # What was found at the start becomes durable, too, so that its log records may go.
        self._dirty_since_s = time.monotonic()
        try:
            while self._wait():
                self._work()
            self._write_alive()
            if self._closing == "finish":
                while self._backlog:
                    self._apply()
                self._projection.checkpoint()
        except (DiskError, Refusal) as error:
            self._broken(error)
        finally:
            self._projection.connection.close()
            if self._log is not None:
                self._log.close()

    def _wait(self) -> bool:
        """Wait for something to do; False when closed."""
        with self._changed:
            self._working = False
            while not self._closing:
                due_s = self._due_s()
                wait_s = None if due_s is None else due_s - time.monotonic()
                if wait_s is not None and wait_s <= 0:
                    self._working = True
                    return True
                self._changed.wait(wait_s)
            return False

    def _due_s(self) -> float | None:
        """When to work next, None for not before something changes."""
        due = []
        if self._alive is not None:
            due.append(0.0)
        if self._backlog:
            asked = self._wanted_seq > self._backlog.reached_seq
            under_load = max(self._first_s + LAG_S, self._rest_until_s)
            due.append(0.0 if asked else min(self._last_s + QUIET_S, under_load))
        checkpoint_s = self._checkpoint_due_s()
        if checkpoint_s is not None:
            due.append(checkpoint_s)
        return max(min(due), self._retry_after_s) if due else None

    def _work(self) -> None:
        started_s = time.monotonic()
        try:
            self._write_alive()
            if self._apply():
                self._projected(self._backlog.reached_seq)
            self._checkpoint_if_due()
        except DiskError as error:
            if error.kind != "full":
                raise
            # The log has it all, and the space may come back.
            self._retry_after_s = time.monotonic() + RETRY_S
        now_s = time.monotonic()
        self._rest_until_s = now_s + (now_s - started_s) * (1 / BUSY_SHARE - 1)

    def _write_alive(self) -> None:
        with self._changed:
            alive, self._alive = self._alive, None
        if alive is not None:
            self._projection.mark_alive(*alive)

    def _apply(self) -> bool:
        """Project one batch; whether there was any."""
        with self._changed:
            batch = self._backlog.batch()
        if batch is None:
            self._log = self._log or self._open_log()
            batch = self._backlog.from_log(self._log)
        if not batch:
            return False
        self._projection.apply(batch)
        with self._changed:
            self._backlog.done(self._projection.reached_seq)
        if self._dirty_since_s is None:
            self._dirty_since_s = time.monotonic()
        return True

    def _checkpoint_due_s(self) -> float | None:
        rows = self._projection.wal_rows
        if rows >= CHECKPOINT_ROWS:
            return self._checkpoint_after_s
        if self._dirty_since_s is None:
            return None
        due_s = self._dirty_since_s + CHECKPOINT_AGE_S
        if rows >= CHECKPOINT_QUIET_ROWS:
            due_s = min(due_s, self._last_s + CHECKPOINT_QUIET_S)
        return max(due_s, self._checkpoint_after_s)

    def _checkpoint_if_due(self) -> None:
        due_s, now_s = self._checkpoint_due_s(), time.monotonic()
        if due_s is None or due_s > now_s:
            return
        if self._projection.checkpoint():
            self._dirty_since_s = None
        else:
            self._checkpoint_after_s = now_s + RETRY_S
