"""Opening a store: what a start does before the first call.

1. The log is opened; its format and its newest schema are checked against the declared tables. What an unclean
   end left in a WAL is written anew before (see ``Disk.write_anew``).
2. The projection is opened; a lost, damaged or foreign one is built anew from the log, if that reaches back
   to the first commit.
3. The declared tables are taken over: a new schema version in the log first, then the SQL tables.
4. The log's records after the projection are applied to it.
5. The log notes that the store is in use: whoever finds that note next knows the stop was not clean.

A refusal leaves every record of the log as it was, and no data is deleted: a projection that cannot be used is
set aside under another name.

**Relaxed durability** answers calls before they are synced. A power cut may then lose answered commits, and the
log and the projection each keep an amount of their own. After an unclean stop nobody can say whether that
happened, so the store continues under a new ``history_id``: clients that resume see that their seqs mean
something else and load anew. If the projection kept more than the log, it is the better truth and the log
starts again after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactor.columns import memory_value
from reactor.derived import DerivedIndex
from reactor.errors import Refusal, invariant
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.schema import Fill, TableSchema, additions
from reactor.storage.api import Alive, Durability
from reactor.storage.connection import OS_DISK, Disk, DiskError
from reactor.storage.indexing import adopt_indexes
from reactor.storage.log import Log, StoredSchema
from reactor.storage.projection import Projection, damaged_projection, decode_commits
from reactor.storage.records import Record

LOG_FILE = "log.db"
PROJECTION_FILE = "projection.db"
_FOLD_BYTES = 16 << 20
_HISTORIES_MAX = 100

Recent = list[tuple[int, list[tuple[str, Any]]]]


@dataclass
class Opened:
    """A store that is ready to run, and what it holds.

    ``recent``: the newest commits, oldest first, each with the changed ``(table name, key)``; its last entry is
    ``last_seq``, and it ends before the first record that cannot be read. ``clean``: whether the last stop
    was orderly. ``fresh``: whether there was no store before. ``warnings``: what the operator should know.
    ``alive``: the last heartbeat. ``last_at_us``: the time of the newest commit. ``numbers``: table name -> its
    number in the log. ``trusted``: the derived indexes that cover every row.
    """

    log: Log
    projection: Projection
    directory: Path | None
    disk: Disk
    durability: Durability
    clean: bool
    fresh: bool
    recent: Recent
    warnings: list[str]
    schemas: tuple[TableSchema, ...]
    trusted: frozenset[DerivedIndex] = frozenset()

    def __post_init__(self) -> None:
        # As they were found: the log and the projection go on.
        self.history_id: str = self.log.meta["history_id"]
        self.last_seq: int = self.log.last_seq
        self.last_at_us: int = max(self.log.last_at_us, self.projection.reached_at_us)
        self.alive: Alive | None = self.projection.alive
        self.numbers = {schema.name: number for number, schema in self.log.schema.tables.items()}

    def rows(self, table: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a declared table in memory form and declared order, by ascending key.

        To be read before a storage takes the store over.
        """
        return self.projection.rows(next(s for s in self.schemas if s.name == table))

    def release(self) -> None:
        """Close the files without noting a clean stop."""
        _close(self.log, self.projection)


def open_store(
    directory: Path | None,
    schemas: Sequence[TableSchema],
    *,
    now_us: int,
    new_history_id: str,
    durability: Durability = "full",
    limits: Limits = DEFAULT_LIMITS,
    disk: Disk = OS_DISK,
    indexes: Sequence[DerivedIndex] = (),
) -> Opened:
    """Recover the store in ``directory`` (None: a new one in memory) for the declared ``schemas``.

    ``new_history_id`` is used when a new line of history begins. Raises ``Refusal`` (``data_version``,
    ``data_damaged``, ``schema_conflict``, ``storage_unsafe``) and closes the files.
    """
    log = open_log(Paths(directory), durability, disk, anew=True)
    projection: Projection | None = None
    warnings: list[str] = []
    fresh = not log.schemas
    clean = fresh or bool(log.meta.get("clean"))
    try:
        stored = {schema.name: schema for schema in log.schema.tables.values()}
        additions(stored, {schema.name: schema for schema in schemas})
        projection = _usable_projection(Paths(directory), log, disk, warnings)
        _settle_history(log, projection, clean, new_history_id, warnings)
        filled = {schema.name: schema.filled for schema in schemas if schema.filled}
        _take_over(log, projection, numbered(log.schema, schemas), filled, now_us)
        # Before the fold: what it brings is then in the indexes, too.
        trusted = adopt_indexes(projection.connection, indexes, schemas, now_us)
        _fold(log, projection)
        recent = read_recent(log, schemas, limits.resume_changes_max, warnings)
        log.set_meta(clean=0, durability=durability)
    except BaseException as error:
        _close(log, projection)
        if isinstance(error, DiskError):
            raise _refusal(error, "the store") from error
        raise
    return Opened(log, projection, directory, disk, durability, clean, fresh, recent, warnings, tuple(schemas), trusted)


def _close(log: Log, projection: Projection | None) -> None:
    for part in (log, projection):
        if part is not None:
            with contextlib.suppress(DiskError):
                part.connection.close()


class Paths:
    """Where the files of a store lie; in memory if there is no directory."""

    def __init__(self, directory: Path | None) -> None:
        self.log = ":memory:" if directory is None else str(directory / LOG_FILE)
        self.projection = ":memory:" if directory is None else str(directory / PROJECTION_FILE)


def open_log(paths: Paths, durability: Durability, disk: Disk, *, anew: bool = False) -> Log:
    """The log, created if there is no store yet; with ``anew`` see ``Disk.write_anew``."""
    if not disk.exists(paths.log) and disk.exists(paths.projection):
        raise Refusal(
            "data_damaged",
            "log.db is missing beside projection.db, so commits may be missing from the tables. Put both back"
            " from the same backup, or begin a new data directory.",
        )
    try:
        if anew:
            disk.write_anew(paths.log)
        return Log(disk.connect(paths.log), durability)
    except DiskError as error:
        raise _refusal(error, LOG_FILE) from error


def _refusal(error: DiskError, what: str) -> Refusal:
    if error.kind == "damaged":
        return Refusal(
            "data_damaged",
            f"{what} cannot be read: {error.message}. Put log.db and projection.db back from the same backup.",
        )
    return Refusal(
        "storage_unsafe",
        f"{what} cannot be opened for writing: {error.message}. Check the free space of the data directory and"
        " who may write there.",
    )


# -- the projection ----------------------------------------------------------------------------


def _usable_projection(paths: Paths, log: Log, disk: Disk, warnings: list[str]) -> Projection:
    """The projection if it belongs to this log, else an empty one that the log can fill."""
    reason = "it is missing"
    if disk.exists(paths.projection):
        projection, reason = _open_projection(paths, log, disk)
        if projection is not None:
            return projection
    # With no record ever trimmed the log can rebuild everything; a new store has nothing to rebuild.
    if log.trimmed_to > 0:
        raise damaged_projection(f"{reason}, and the log begins only at commit {log.trimmed_to + 1}")
    if log.last_seq > 0:
        warnings.append(f"projection.db was built anew from the log: {reason}")
    disk.set_aside(paths.projection)
    return Projection(disk.connect(paths.projection))


def _open_projection(paths: Paths, log: Log, disk: Disk) -> tuple[Projection | None, str]:
    connection = None
    try:
        disk.write_anew(paths.projection)
        connection = disk.connect(paths.projection)
        projection = Projection(connection)
        histories = {log.meta.get("history_id"), *log.meta.get("histories_before", "").split()}
        if not projection.meta:
            reason = "it is empty"
        elif projection.meta.get("history_id") not in histories:
            reason = "it belongs to another history"
        else:
            return projection, ""
    except DiskError as error:
        if error.kind != "damaged":
            raise
        reason = f"it is damaged ({error.message})"
    if connection is not None:
        connection.close()
    return None, reason


def _settle_history(log: Log, projection: Projection, clean: bool, new_history_id: str, warnings: list[str]) -> None:
    """Decide which line of history goes on; see the top of this module."""
    history_id = log.meta.get("history_id")
    ahead = projection.reached_seq > log.last_seq
    if history_id is None:
        log.set_meta(history_id=new_history_id)
    elif not clean and log.meta.get("durability") == "relaxed":
        # The projection learns of a new history without a sync, so it may be several behind.
        known = [*log.meta.get("histories_before", "").split(), history_id]
        before = {"history_id": new_history_id, "histories_before": " ".join(known[-_HISTORIES_MAX:])}
        warnings.append("the last stop was not clean and durability was relaxed: answered calls may be lost")
        if ahead:
            log.clear(projection.reached_seq, **before)
        else:
            log.set_meta(**before)
    elif ahead:
        raise Refusal(
            "data_damaged",
            f"the log ends at commit {log.last_seq} but projection.db holds commit {projection.reached_seq}:"
            " answered commits are missing from log.db. Put both files back from the same backup.",
            log_seq=log.last_seq,
            projection_seq=projection.reached_seq,
        )


def numbered(before: StoredSchema, schemas: Sequence[TableSchema]) -> StoredSchema:
    """The declared tables as the next version: known names keep their number, new ones get the next."""
    numbers = {schema.name: number for number, schema in before.tables.items()}
    for schema in schemas:
        numbers.setdefault(schema.name, max(numbers.values(), default=0) + 1)
    return StoredSchema(before.schema_no + 1, {numbers[schema.name]: schema for schema in schemas})


def _take_over(
    log: Log,
    projection: Projection,
    declared: StoredSchema,
    filled: Mapping[str, Mapping[str, Fill]],
    now_us: int,
) -> None:
    """Make ``declared`` the schema of the log and the projection, unless it is already."""
    taken = not log.schemas or log.schema.to_json() != declared.to_json()
    if taken:
        log.add_schema(declared, now_us)
    try:
        projection.adopt(log.schemas, log.schema_no, filled, history_id=log.meta["history_id"])
    except Refusal:
        # A value could not be computed. The tables are as they were; so the log has to be, for the old module.
        if taken:
            log.drop_schema()
        raise


def _fold(log: Log, projection: Projection) -> None:
    """Apply what the log has and the projection has not."""
    batch: list[tuple[int, bytes]] = []
    size = 0
    for record in log.records_after(projection.reached_seq):
        batch.append((record.schema_no, record.payload))
        size += len(record.payload)
        if size >= _FOLD_BYTES:
            projection.apply(batch)
            batch, size = [], 0
    projection.apply(batch)
    invariant(projection.reached_seq == log.last_seq, "the fold reaches the end of the log")


# -- what resuming subscriptions need ----------------------------------------------------------


def read_recent(log: Log, schemas: Sequence[TableSchema], changes_max: int, warnings: list[str]) -> Recent:
    """The changed keys of the newest commits, at most about ``changes_max`` of them.

    Everything read here is in the tables already, so a damaged record costs resumes, not the start.
    """
    keys_of = _key_readers(log.schemas, schemas)
    recent: Recent = []
    count, expected = 0, log.last_seq
    for record in log.records_backwards():
        if record.damaged or record.last_seq != expected:
            reason = record.damaged or f"commits up to {expected} are missing before it"
            warnings.append(_not_needed(record, reason))
            break
        for commit in reversed(decode_commits(record.payload)):
            keys = keys_of(record.schema_no, commit[5])
            recent.append((commit[0], keys))
            count += len(keys)
        expected = record.first_seq - 1
        if count >= changes_max:
            break
    recent.reverse()
    return recent


def _not_needed(record: Record, reason: str) -> str:
    return (
        f"log record {record.first_seq} to {record.last_seq} cannot be used: {reason}. The tables already hold"
        " these commits; subscriptions cannot resume from before them."
    )


def _key_readers(
    history: Mapping[int, StoredSchema], schemas: Sequence[TableSchema]
) -> Callable[[int, list[Any]], list[tuple[str, Any]]]:
    current = {schema.name: schema.column(schema.primary_key).type for schema in schemas}
    shapes = {
        (no, number): (schema.name, schema.key_position, current[schema.name])
        for no, version in history.items()
        for number, schema in version.tables.items()
    }

    def keys(schema_no: int, changes: list[Any]) -> list[tuple[str, Any]]:
        found = []
        values = iter(changes)
        for number, value in zip(values, values, strict=True):
            name, position, kind = shapes[schema_no, abs(number)]
            found.append((name, memory_value(kind, value[position] if number > 0 else value)))
        return found

    return keys
