"""A store opened by itself, without its module and without a server: for commands that mend data at rest.

No code of a module runs. The tables are those that were stored; ``declared`` may bring newer versions of some.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from reactor.datadir import hold_directory
from reactor.derived import DerivedIndex
from reactor.errors import Refusal
from reactor.schema import TableSchema
from reactor.storage.api import Durability
from reactor.storage.connection import OS_DISK
from reactor.storage.opening import LOG_FILE, Opened, Paths, open_log, open_store


@contextlib.contextmanager
def store_alone(
    directory: Path,
    *,
    now_us: int,
    new_history_id: str,
    declared: Sequence[TableSchema] = (),
    indexes: Sequence[DerivedIndex] = (),
) -> Iterator[Opened]:
    """The store in ``directory``, held for this process and brought up to its log; closed in good order at the end.

    Raises ``Refusal``: ``data_in_use`` if a server has it, ``storage_unsafe`` if there is none, ``schema_conflict`` if
    it lacks a table that ``declared`` names, and whatever opening it raises.
    """
    if not (directory / LOG_FILE).is_file():
        raise Refusal("storage_unsafe", f"{directory} holds no data of a reactor; name a data directory")
    held = hold_directory(directory, now_us=now_us)
    try:
        schemas, durability = _stored(directory, declared)
        opened = open_store(
            directory, schemas, now_us=now_us, new_history_id=new_history_id, durability=durability, indexes=indexes
        )
        try:
            yield opened
        except BaseException:
            opened.release()
            raise
        opened.projection.checkpoint()
        opened.log.checkpoint()
        opened.log.set_meta(clean=1)
        opened.release()
    finally:
        held.release()


def _stored(directory: Path, declared: Sequence[TableSchema]) -> tuple[list[TableSchema], Durability]:
    log = open_log(Paths(directory), "full", OS_DISK, anew=True)
    try:
        tables = {schema.name: schema for schema in log.schema.tables.values()}
        durability: Durability = "relaxed" if log.meta.get("durability") == "relaxed" else "full"
    finally:
        log.connection.close()
    for schema in declared:
        if schema.name not in tables:
            raise Refusal("schema_conflict", f"{directory} has no table {schema.name}: it is of another module")
        tables[schema.name] = schema
    return list(tables.values()), durability
