"""Tables, groups and a host for the tests of the storage."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from reactor.columns import F32, U8, U64, U128, Duration, Json, Timestamp
from reactor.schema import TableSchema, declare_table, index, primary_key
from reactor.storage import Group, Opened, open_store

_encode = msgspec.msgpack.Encoder().encode


class Item:
    """A small table with an integer key."""

    id: int = primary_key()
    value: int = 0
    name: str = ""


class Mood(enum.StrEnum):
    """An enum column's values."""

    CALM = "calm"
    ANGRY = "angry"


class Everything:
    """One column of every kind of form."""

    key: str = primary_key()
    small: U8
    big: U64
    huge: U128
    ratio: float
    half: F32
    text: str
    raw: bytes
    flag: bool
    at: Timestamp
    took: Duration
    mood: Mood
    tree: Json
    maybe: int | None = None
    maybe_flag: bool | None = None
    maybe_mood: Mood | None = None


class Ticket:
    """Automatic ids of 64 bits without a sign, and indexes."""

    id: U64 = primary_key(auto=True)
    zone: int = 0
    code: str = ""


ITEM = declare_table(Item)
EVERYTHING = declare_table(Everything)
TICKET = declare_table(Ticket, indexes=["zone", index("zone", "code", ordered=True)], unique=["code"])


def group(first_seq: int, commits: Sequence[Sequence[Any]], at_us: int | None = None) -> Group:
    """A group whose commits have these changes; by itself commit ``n`` happens at ``n`` seconds."""
    stored = [
        [seq, seq * 1_000_000 if at_us is None else at_us, "work", "caller", None, list(changes)]
        for seq, changes in enumerate(commits, first_seq)
    ]
    return Group(first_seq, first_seq + len(commits) - 1, _encode(stored))


def item_group(seq: int, key: int, value: int, at_us: int | None = None) -> Group:
    """A group of one commit that sets one item, of table number 1."""
    return group(seq, [[1, [key, value, f"item {key}"]]], at_us)


def opened(directory: Path | None, schemas: Iterable[TableSchema] = (ITEM,), **options: Any) -> Opened:
    """``open_store`` with values for what most tests do not care about."""
    options = {"now_us": 1, "new_history_id": "history-1", **options}
    return open_store(directory, list(schemas), **options)


class Recorder:
    """A host that notes what the storage tells it."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.durable_seq = self.projected_seq = 0

    def durable(self, seq: int) -> None:
        """See ``StorageEvents``."""
        self.durable_seq = seq
        self.told.append(("durable", seq))

    def projected(self, seq: int) -> None:
        """See ``StorageEvents``."""
        self.projected_seq = seq
        self.told.append(("projected", seq))

    def failed(self, kind: str, message: str) -> None:
        """See ``StorageEvents``."""
        self.told.append(("failed", kind))

    def recovered(self) -> None:
        """See ``StorageEvents``."""
        self.told.append(("recovered",))

    def lost(self, message: str) -> None:
        """See ``StorageEvents``."""
        self.told.append(("lost", message))
