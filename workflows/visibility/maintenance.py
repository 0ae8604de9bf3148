"""`reactor backfill-visibility` as functions: the index over workflows filled, dropped or looked at, without a server.

Each holds the data directory while it works and brings the tables up to the log first, so it sees every answered call.
No code of the game's module runs. All raise ``Refusal``: ``data_in_use`` while a server has the directory,
``storage_unsafe`` if there are no data, and whatever a start would raise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from reactor.maintenance import store_alone
from reactor.storage import Opened
from reactor.storage.backfill import (
    Backfill,
    Verified,
    Walked,
    drop_index,
    lacks_conditional_commits,
    verify_index,
)
from reactor.storage.connection import Connection
from workflows.tables import WORKFLOW_SCHEMA
from workflows.visibility.index import INDEX

Capability = Callable[[Connection], str | None]
"""Why a store cannot commit conditionally; None if it can."""


class Incapable(Exception):
    """The store cannot write a row on the condition that another is unchanged; the text says why."""


class Now(NamedTuple):
    """What the machine must tell: the time in µs, and an id that was never used."""

    at_us: int
    new_id: str


@contextlib.contextmanager
def _opened(directory: Path, now: Now) -> Iterator[Opened]:
    with store_alone(
        directory, now_us=now.at_us, new_history_id=now.new_id, declared=[WORKFLOW_SCHEMA], indexes=[INDEX]
    ) as opened:
        yield opened


def backfill(
    directory: Path,
    now: Now,
    *,
    each: Callable[[int], None] = lambda processed: None,
    between: Callable[[int], None] = lambda workflow_id: None,
    resuming: Callable[[int, int], None] = lambda after, processed: None,
    capability: Capability = lacks_conditional_commits,
) -> Walked:
    """Index every workflow and write the mark; see ``reactor.storage.backfill``. ``Incapable`` if the store cannot.

    ``each(processed)`` is called after each workflow, ``between(id)`` between reading one and its commit,
    ``resuming(after_id, processed)`` if it goes on where an earlier run was broken off.
    """
    with _opened(directory, now) as opened:
        connection = opened.projection.connection
        reason = capability(connection)
        if reason is not None:
            raise Incapable(reason)
        run = Backfill(
            connection, INDEX, WORKFLOW_SCHEMA, history=opened.history_id, new_run=now.new_id, now_us=now.at_us,
            each=each, between=between, resuming=resuming,
        )  # fmt: skip
        return run.run()


def drop(directory: Path, now: Now, *, between: Callable[[str], None] = lambda step: None) -> int:
    """Take the index away, mark first; returns how many index rows there were. Workflows are not touched."""
    with _opened(directory, now) as opened:
        return drop_index(opened.projection.connection, INDEX, between)


def verify(directory: Path, now: Now, *, deep: bool = False) -> Verified:
    """Compare the index with the workflows; mends nothing."""
    with _opened(directory, now) as opened:
        return verify_index(opened.projection.connection, INDEX, WORKFLOW_SCHEMA, deep=deep)
