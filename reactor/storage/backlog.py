"""What the projector has still to do: groups in memory, and beyond a bound only where in the log they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from reactor.storage.api import Group
from reactor.storage.connection import Connection
from reactor.storage.records import records_between

BATCH_BYTES = 16 << 20
BACKLOG_BYTES_MAX = 64 << 20

Batch = list[tuple[int, bytes]]


class Backlog:
    """Groups that are durable in the log and not yet projected. Not thread-safe: its owner holds a lock, but
    ``from_log`` is called without it."""

    def __init__(self, reached_seq: int, schema_no: int) -> None:
        self.fed_seq = reached_seq
        self.reached_seq = reached_seq
        self._schema_no = schema_no
        self._groups: deque[Group] = deque()
        self._bytes = 0
        self._forgotten = False

    def __bool__(self) -> bool:
        return self.fed_seq > self.reached_seq

    def add(self, groups: Sequence[Group]) -> None:
        """Note groups; past ``BACKLOG_BYTES_MAX`` their payloads are left to the log."""
        self.fed_seq = groups[-1].last_seq
        self._forgotten = self._forgotten or self._bytes > BACKLOG_BYTES_MAX
        if not self._forgotten:
            self._groups.extend(groups)
            self._bytes += sum(len(group.payload) for group in groups)

    def batch(self) -> Batch | None:
        """The oldest groups, about ``BATCH_BYTES`` of them; None when they must be read ``from_log``."""
        batch: Batch = []
        size = 0
        for group in self._groups:
            batch.append((self._schema_no, group.payload))
            size += len(group.payload)
            if size >= BATCH_BYTES:
                break
        return batch or (None if self._forgotten else [])

    def from_log(self, connection: Connection) -> Batch:
        """The same, read from the log; ``DiskError`` or ``Refusal data_damaged`` if that fails."""
        batch: Batch = []
        size = 0
        for record in records_between(connection, self.reached_seq, self.fed_seq):
            batch.append((record.schema_no, record.payload))
            size += len(record.payload)
            if size >= BATCH_BYTES:
                break
        return batch

    def done(self, reached_seq: int) -> None:
        """Everything up to ``reached_seq`` is projected."""
        self.reached_seq = reached_seq
        while self._groups and self._groups[0].last_seq <= reached_seq:
            self._bytes -= len(self._groups.popleft().payload)
        if reached_seq >= self.fed_seq:
            self._forgotten = False
