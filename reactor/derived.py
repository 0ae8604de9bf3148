"""Indexes beside a table: a narrow copy of some of its columns in SQL, with a version and a mark.

A list over a table of wide rows needs a few of their columns only. A derived index keeps these in a SQL table of its
own, in the order lists want them. SQLite itself maintains it, in the transaction that writes the rows, so it costs the
reactor process nothing. ``reactor.storage.indexing`` makes it and says when it can be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

from reactor.errors import Refusal
from reactor.schema import TableSchema, check_name

# What can be joined into one line of text without a function: a trigger that calls one makes SQLite copy every page
# it is about to change, which costs more than the index itself.
_KINDS = ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "timestamp", "duration", "text", "enum", "bool")

KEY = "id"
"""The key's name in a derived table, whatever it is called where it comes from."""


@dataclass(frozen=True, slots=True)
class SqlIndex:
    """An SQL index of a derived table. ``columns`` may end in ``" DESC"``, and ``id`` is the key; with ``partial`` it
    holds only rows whose first column is not NULL."""

    columns: tuple[str, ...]
    partial: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns without their direction."""
        return tuple(column.removesuffix(" DESC") for column in self.columns)


@dataclass(frozen=True, slots=True)
class DerivedIndex:
    """The SQL table ``name`` holds ``columns`` of every row of ``table``; a second one, the manifest, tells for each
    row which keys were derived from it and by which ``version`` of this declaration.

    Raise ``version`` whenever what is derived changes: the index is then not trusted until it was filled again.
    """

    name: str
    table: str
    version: int
    columns: tuple[str, ...]
    indexes: tuple[SqlIndex, ...] = ()

    @property
    def manifest(self) -> str:
        """The name of the manifest's SQL table."""
        return f"{self.name}_manifest"

    @property
    def ordering(self) -> tuple[str, ...]:
        """The columns that stand in some SQL index: changing one costs more than changing another."""
        used = {name for index in self.indexes for name in index.names}
        return tuple(column for column in self.columns if column in used)

    def check(self, schema: TableSchema) -> None:
        """``Refusal`` ``bad_declaration`` unless it fits the table it is derived from."""
        where = f"derived index {self.name}"
        check_name(self.name, where)
        key = schema.column(schema.primary_key).type
        if not (schema.auto or (key.is_integer and key.sql is int)):
            raise Refusal("bad_declaration", f"{where}: the primary key of {schema.name} is not a whole number")
        for name in self.columns:
            if name not in schema.column_names or name in (schema.primary_key, KEY):
                raise Refusal("bad_declaration", f"{where}: {schema.name} has no column {name} beside its key")
            if schema.column(name).type.name not in _KINDS:
                kind = schema.column(name).type.name
                raise Refusal("bad_declaration", f"{where}: a {kind} column such as {name} cannot be a key")
        for index in self.indexes:
            for name in index.names:
                if name not in (*self.columns, KEY):
                    raise Refusal("bad_declaration", f"{where}: it is ordered by {name}, which it does not hold")
