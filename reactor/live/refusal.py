"""How a live query is refused: which part, and what is supported instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NoReturn

from reactor.columns import Column
from reactor.errors import refuse
from reactor.schema import TableSchema

SUPPORTED = (
    "A live query is SELECT * FROM t [WHERE …], SELECT t.* FROM t JOIN u ON t.x = u.y [WHERE …], or "
    "SELECT * FROM t WHERE x IN (SELECT y FROM u [WHERE …]); conditions compare a column with a literal by "
    "= <> < <= > >= IN BETWEEN LIKE IS [NOT] NULL and join with AND OR NOT. Any other SELECT can be asked once "
    "with sql."
)


def unsupported(part: str, reason: str) -> NoReturn:
    """Refuse ``part`` of a live query because of ``reason`` (a sentence without its full stop)."""
    refuse("unsupported_query", f"{reason}. {SUPPORTED}", part=part)


def unknown_table(name: str, schemas: Mapping[str, TableSchema]) -> NoReturn:
    """Refuse a table that does not exist, listing those that do."""
    known = sorted(schemas)
    refuse(
        "unknown_table",
        f"There is no table {name}; the tables are {', '.join(known) or 'none'}.",
        table=name,
        tables=known,
    )


def unknown_column(name: str, table: str, columns: Iterable[Column]) -> NoReturn:
    """Refuse a column that does not exist, listing those that do."""
    known = [c.name for c in columns]
    refuse(
        "unknown_column",
        f"{table} has no column {name}; its columns are {', '.join(known)}.",
        table=table,
        column=name,
        columns=known,
    )
