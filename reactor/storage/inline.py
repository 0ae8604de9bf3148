"""Storage on the caller's own thread: for tests, the simulation and tiny games.

By itself (``automatic``) each ``append`` is stored, synced and told at once. Otherwise it waits for ``pump``, which
writes and syncs everything waiting, and ``pump_projection``, which applies it: the simulation decides when.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable

from reactor.errors import InvariantError, invariant
from reactor.storage.api import Group, StorageEvents
from reactor.storage.connection import Connection, DiskError
from reactor.storage.log import Log
from reactor.storage.opening import Opened


class InlineStorage:
    """A ``Storage`` that does everything inside the call, on the connections of ``opened``."""

    def __init__(self, opened: Opened, *, automatic: bool = True) -> None:
        self._log = opened.log
        self._projection = opened.projection
        self._history_id = opened.history_id
        self._automatic = automatic
        self._events: StorageEvents | None = None
        self._waiting: list[Group] = []
        self._unprojected: deque[Group] = deque()
        self._failure: str | None = None
        self._was_reset = False

    @property
    def history_id(self) -> str:
        """See ``Storage``."""
        return self._history_id

    @property
    def durable_seq(self) -> int:
        """Everything up to here is durable."""
        return self._log.last_seq

    @property
    def projected_seq(self) -> int:
        """Everything up to here is in the SQL tables."""
        return self._projection.reached_seq

    @property
    def waiting(self) -> int:
        """How many groups wait for ``pump``."""
        return len(self._waiting)

    @property
    def is_failed(self) -> bool:
        """Whether nothing can be written at the moment."""
        return self._failure is not None

    @property
    def log(self) -> Log:
        """The log, to be read."""
        return self._log

    def projection_connection(self) -> Connection:
        """The connection that holds the SQL tables, for statements on this thread. Its ``raw`` is the library's
        own. Only reading statements may be run, and run to their end."""
        return self._projection.connection

    def start(self, events: StorageEvents) -> None:
        """See ``Storage``."""
        self._events = events

    def append(self, group: Group) -> None:
        """See ``Storage``."""
        if self._failure is not None:
            return
        self._waiting.append(group)
        if self._automatic:
            self.pump()
            self.pump_projection()

    def reset(self) -> None:
        """See ``Storage``."""
        self._waiting.clear()
        self._was_reset = True

    def pump(self) -> None:
        """Store what waits, in one synced transaction, and tell; while the disk is full, try whether it still is."""
        if self._failure is not None:
            self._probe()
        elif self._waiting:
            groups, self._waiting = self._waiting, []
            try:
                self._log.append(groups)
            except DiskError as error:
                self._fail(error)
                return
            self._unprojected.extend(groups)
            self._told.durable(self._log.last_seq)
            if self._log.wants_checkpoint:
                self._tidy(self._log.checkpoint)

    def _fail(self, error: DiskError) -> None:
        if error.kind in ("full", "io"):
            self._failure = error.kind
            self._was_reset = False
            self._told.failed("full" if error.kind == "full" else "io", error.message)
        else:
            self._failure = "lost"
            self._told.lost(f"the log cannot be written: {error.message}")

    def _probe(self) -> None:
        if self._failure != "full" or not self._was_reset:
            return
        try:
            self._log.probe()
        except DiskError as error:
            if error.kind != "full":
                self._fail(error)
            return
        self._failure = None
        self._told.recovered()

    def pump_projection(self) -> None:
        """Apply what is durable and not yet projected, and tell. A full disk leaves it for the next time."""
        if not self._unprojected:
            return
        schema_no = self._log.schema_no
        try:
            self._projection.apply((schema_no, group.payload) for group in self._unprojected)
        except DiskError as error:
            if error.kind != "full":
                self._fail(error)
            return
        self._unprojected.clear()
        self._told.projected(self._projection.reached_seq)

    def project(self, seq: int) -> None:
        """See ``Storage``."""
        invariant(seq <= self._log.last_seq, "only what is durable can be projected")
        if seq <= self._projection.reached_seq:
            self._told.projected(self._projection.reached_seq)
        else:
            self.pump_projection()

    def checkpoint(self) -> None:
        """Move both WALs into their files."""
        self._tidy(self._projection.checkpoint)
        self._tidy(self._log.checkpoint)

    def _tidy(self, action: Callable[[], object]) -> None:
        """Do what need not be done now: a full disk leaves it for later, an I/O error ends writing."""
        if self._failure is not None:
            return
        try:
            action()
        except DiskError as error:
            if error.kind != "full":
                self._fail(error)

    def mark_alive(self, wall_us: int, world_us: int) -> None:
        """See ``Storage``."""
        # A heartbeat that cannot be written is only an older heartbeat.
        with contextlib.suppress(DiskError):
            self._projection.mark_alive(wall_us, world_us)

    def trim(self, keep_after_us: int, bytes_max: int | None = None) -> None:
        """See ``Storage``."""
        self._tidy(self._projection.checkpoint)
        self._tidy(lambda: self._trim(keep_after_us, bytes_max))

    def _trim(self, keep_after_us: int, bytes_max: int | None) -> None:
        self._log.trim(keep_after_us, bytes_max, self._projection.durable_seq)
        while self._log.trim_some():
            pass

    def close(self) -> None:
        """See ``Storage``."""
        if self._failure is None:
            self.pump()
            self.pump_projection()
        if not self._unprojected:
            self.checkpoint()
            self._tidy(lambda: self._log.set_meta(clean=1))
        self.release()

    def release(self) -> None:
        """Close the files as they are, as if the process had ended."""
        for connection in (self._projection.connection, self._log.connection):
            with contextlib.suppress(DiskError):
                connection.close()

    @property
    def _told(self) -> StorageEvents:
        if self._events is None:
            raise InvariantError("the storage was not started")
        return self._events
