"""What live queries need of a table: little enough that a test can fake it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from reactor.schema import TableSchema

Predicate = Callable[[Any], bool]
"""A compiled condition: whether it is true (not false, not unknown) for a row."""


class TableView(Protocol):
    """The reading side of a table. Rows have the columns as attributes and are never changed in place."""

    @property
    def name(self) -> str:
        """The table's name."""

    @property
    def schema(self) -> TableSchema:
        """The declaration."""

    @property
    def rows(self) -> Mapping[Any, Any]:
        """Every row by primary key."""

    @property
    def key_of(self) -> Callable[[Any], Any]:
        """A function from row to primary key."""

    def lookup(self, columns: tuple[str, ...], values: tuple[Any, ...]) -> Sequence[Any]:
        """The rows in which ``columns`` equal ``values``, in primary-key order."""

    def ensure_hash_index(self, columns: tuple[str, ...]) -> None:
        """Make lookups over ``columns`` fast from now on."""


Change = tuple[TableView, Any, Any, Any]
"""``(table, primary key, row before or None, row after or None)``; one per row and commit."""


def has_hash_index(schema: TableSchema, column: str) -> bool:
    """Whether the declaration alone makes ``lookup((column,), …)`` cost no scan."""
    if column == schema.primary_key:
        return True
    return any(i.columns == (column,) and (i.unique or not i.ordered) for i in schema.indexes)
