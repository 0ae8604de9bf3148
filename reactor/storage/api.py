"""What the reactor asks of its storage, and what the storage tells it.

The host appends groups of commits; the storage answers, in order, how far the log is durable and how far the
projection has come. ``InlineStorage`` does the work on the caller's thread, ``ProcessStorage`` in a process
of its own; both tell the host on the host's thread only.

A group's payload is msgpack: a list of commits ``[seq, at_us, reducer, caller, request_key, changes]`` where
``changes`` is flat: ``n, row, n, row, -n, key, ...``; ``n`` is a stored table number followed by the whole
row after the change, ``-n`` is followed by the key of a row that was deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

FORMAT_VERSION = 1
"""The version of everything written to a data directory. A directory of another version is refused."""

FailureKind = Literal["full", "io"]
Durability = Literal["full", "relaxed"]


class Group(NamedTuple):
    """Commits that become durable together: ``first_seq`` to ``last_seq`` without a gap."""

    first_seq: int
    last_seq: int
    payload: bytes


def joined(groups: Sequence[Group]) -> Group:
    """Neighbouring groups, oldest first, as one."""
    if len(groups) == 1:
        return groups[0]
    first, last = groups[0].first_seq, groups[-1].last_seq
    # Each payload is a msgpack array: its elements follow a head whose length depends on their number.
    parts = [group.payload[_head_bytes(group.last_seq - group.first_seq + 1) :] for group in groups]
    return Group(first, last, b"".join([_head(last - first + 1), *parts]))


def _head_bytes(count: int) -> int:
    return 1 if count < 16 else 3 if count < 1 << 16 else 5


def _head(count: int) -> bytes:
    if count < 16:
        return bytes([0x90 | count])
    return b"\xdc" + count.to_bytes(2, "big") if count < 1 << 16 else b"\xdd" + count.to_bytes(4, "big")


class Alive(NamedTuple):
    """The last heartbeat: what the wall clock and the world clock said, in µs."""

    wall_us: int
    world_us: int


class StorageEvents(Protocol):
    """Implemented by the host; called on the host's thread only, never from inside ``append``
    (except by an inline storage in automatic mode)."""

    def durable(self, seq: int) -> None:
        """Everything up to ``seq`` is durable."""

    def failed(self, kind: FailureKind, message: str) -> None:
        """Nothing can be written now. ``full``: no group after the last durable one is stored. ``io``: they
        are in doubt, and the storage stays like this until the next start. In both cases the host takes
        its pending commits back, calls ``reset`` and appends nothing before ``recovered``."""

    def recovered(self) -> None:
        """Writable again; the next group starts after the last durable seq."""

    def projected(self, seq: int) -> None:
        """Everything up to ``seq`` is in the SQL tables."""

    def lost(self, message: str) -> None:
        """The storage is gone for good: the host must stop."""


class Storage(Protocol):
    """A log with its projection. Calls return at once unless they say otherwise."""

    @property
    def history_id(self) -> str:
        """Names the line of history that seqs count in; a restored or diverged store has a new one."""

    def start(self, events: StorageEvents) -> None:
        """Begin; ``events`` are called from now on."""

    def append(self, group: Group) -> None:
        """Store ``group``; answered by ``events.durable``. Groups come in order and without a gap."""

    def reset(self) -> None:
        """The host has undone its pending commits after ``failed``; groups still on their way are void."""

    def project(self, seq: int) -> None:
        """Bring the projection to ``seq`` now; answered by ``events.projected``, at once if it is there."""

    def mark_alive(self, wall_us: int, world_us: int) -> None:
        """Note that the reactor is up. Not synced: it survives a killed process, not always a power cut."""

    def trim(self, keep_after_us: int, bytes_max: int | None = None) -> None:
        """Drop log records older than ``keep_after_us`` and, oldest first, what exceeds ``bytes_max``; never
        a record that the projection does not durably hold."""

    def close(self) -> None:
        """Store and project everything, note a clean stop, release the files. May take a while."""
