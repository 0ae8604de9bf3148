"""The log, its projection, and the processes that keep them."""

from reactor.storage.api import (
    FORMAT_VERSION,
    Alive,
    Durability,
    FailureKind,
    Group,
    Storage,
    StorageEvents,
    joined,
)
from reactor.storage.connection import OS_DISK, Connection, Disk, DiskError
from reactor.storage.inline import InlineStorage
from reactor.storage.opening import Opened, open_store
from reactor.storage.process import ProcessStorage

__all__ = [
    "FORMAT_VERSION",
    "OS_DISK",
    "Alive",
    "Connection",
    "Disk",
    "DiskError",
    "Durability",
    "FailureKind",
    "Group",
    "InlineStorage",
    "Opened",
    "ProcessStorage",
    "Storage",
    "StorageEvents",
    "joined",
    "open_store",
]
