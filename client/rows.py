"""Rows as the client shows them: tuples with names.

A table's columns are known only when the server has answered a subscription, so the class of its rows is made
then. A row costs what a tuple costs, compares as a tuple and cannot be changed: only the server changes rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

Key: TypeAlias = Any
"""A primary key in its JSON form: an integer, a text or a boolean."""


class Row(tuple[Any, ...]):
    """One row of a table: ``row.hp``, ``row._asdict()``, ``row[2]``, equal to any tuple of the same values.

    Columns whose name begins with an underscore are reached by ``_asdict()`` only.
    """

    __slots__ = ()
    _table: ClassVar[str] = ""
    _fields: ClassVar[tuple[str, ...]] = ()

    def _asdict(self) -> dict[str, Any]:
        """The row as a new dict, column name to value."""
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        pairs = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=False))
        return f"{self._table}({pairs})"

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def row_class(table: str, columns: Sequence[str]) -> type[Row]:
    """The class for the rows of ``table`` with these columns, in this order."""
    namespace: dict[str, Any] = {"__slots__": (), "_table": table, "_fields": tuple(columns)}
    for place, name in enumerate(columns):
        if not name.startswith("_"):
            namespace[name] = property(itemgetter(place), doc=f"Column {name} of table {table}.")
    return type(f"{table}_row", (Row,), namespace)


class RowShape:
    """How the rows of one table look in this answer: its columns, which one is the key, and their class."""

    __slots__ = ("columns", "key", "key_place", "row_class", "table")

    def __init__(self, table: str, columns: Sequence[str], key: str) -> None:
        self.table = table
        self.columns = tuple(columns)
        self.key = key
        self.key_place = self.columns.index(key)
        self.row_class = row_class(table, self.columns)

    def same_as(self, other: RowShape) -> bool:
        """Whether rows of the two shapes can be compared and mixed."""
        return self.columns == other.columns and self.key == other.key

    def keyed(self, arrays: Iterable[Sequence[Any]]) -> dict[Key, Row]:
        """Rows by primary key from the arrays of a message."""
        place, make = self.key_place, self.row_class
        return {array[place]: make(array) for array in arrays}
