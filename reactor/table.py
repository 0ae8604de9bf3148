"""A table in memory: typed rows by primary key, with indexes, and a journal of what a call did to it.

Rows are frozen; a change replaces the row. Every change is entered in the journal that the tables share, so
that a failed call can be undone exactly and a finished one becomes a commit. Outside a call the journal
refuses entries: nothing can change a table behind the log's back.

Results that hold several rows come in primary-key order. That makes a reducer's behaviour depend on the
data alone, not on the history of a dict, so a run can be repeated after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import Any, Generic, TypeVar

import orjson
from msgspec.structs import replace

from reactor import indexes
from reactor.columns import log_value, memory_value
from reactor.errors import ConstraintError, SenderError, invariant
from reactor.rowbuilder import compile_builder, sharing
from reactor.schema import TableSchema

Row = TypeVar("Row")

_TOLD_CHARS_MAX = 100

Change = tuple["Table[Any]", Any, Any, Any]
"""``(table, primary key, row before or None, row after or None)``."""


class Table(Generic[Row]):
    """One table. Reading is free; ``insert``, ``update``, ``delete`` need a running call.

    Raises ``ConstraintError`` (codes ``bad_value``, ``unique_violation``) naming table, column and value.
    """

    def __init__(self, schema: TableSchema, number: int, journal: Journal, ids: IdSource) -> None:
        self.redeclare(schema)
        self.name = schema.name
        self.number = number
        self.rows: dict[Any, Row] = {}
        # Bound once: looking a row up is the commonest thing a reducer does.
        self.get: Callable[[Any], Row | None] = self.rows.get
        """``get(key)``: the row with this primary key, or None."""
        self.key_of: Callable[[Any], Any] = attrgetter(schema.primary_key)
        self._key_name = schema.primary_key
        self._key_high = schema.column(schema.primary_key).type.high or 0
        self._journal = journal
        self._ids = ids
        self._unique: list[indexes.UniqueIndex] = []
        self._indexes: list[indexes.AnyIndex] = []
        self._by_columns: dict[tuple[str, ...], indexes.UniqueIndex | indexes.HashIndex] = {}
        self._ordered: dict[tuple[str, ...], indexes.OrderedIndex] = {}
        self._indexed_columns: frozenset[str] = frozenset()
        for spec in schema.indexes:
            if spec.ordered:
                self._add_index(indexes.build(spec.columns, ordered=True, unique=False))
            if spec.unique or not spec.ordered:
                self._add_index(indexes.build(spec.columns, ordered=False, unique=spec.unique))
        self.is_plain = not any(c.type.is_wide for c in schema.columns)
        """Whether rows and keys go to the log as they are."""
        self.is_scheduled = schema.scheduled is not None
        self._json = [c.name for c in schema.columns if c.type.name == "json"]

    def redeclare(self, schema: TableSchema) -> None:
        """Make the rows of ``schema`` from now on. It has the columns and indexes of the one before, if there was one;
        rows that were made before are the caller's to replace."""
        self.schema = schema
        self.row_type: Any = schema.row_type
        self._build = compile_builder(schema)
        self._checks = {c.name: c.checker() for c in schema.columns}

    def _add_index(self, made: indexes.AnyIndex) -> None:
        self._indexes.append(made)
        if isinstance(made, indexes.OrderedIndex):
            self._ordered[made.columns] = made
        else:
            self._by_columns[made.columns] = made
            if isinstance(made, indexes.UniqueIndex):
                self._unique.append(made)
        self._indexed_columns = self._indexed_columns.union(made.columns)

    # -- reading ---------------------------------------------------------------------------

    def require(self, key: Any) -> Row:
        """The row with this primary key; ``SenderError`` ``not_found`` if there is none."""
        row = self.rows.get(key)
        if row is None:
            raise SenderError("not_found", f"{self.name} has no row with {self._key_name} {key!r}", table=self.name)
        return row

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, key: object) -> bool:
        return key in self.rows

    def __iter__(self) -> Iterator[Row]:
        """Every row, in primary-key order. The table may be changed meanwhile; the order is of the start."""
        rows = self.rows
        for key in sorted(rows):
            if key in rows:
                yield rows[key]

    def where(self, **values: Any) -> list[Row]:
        """The rows whose columns equal all of ``values``, in primary-key order; uses an index if one fits."""
        for name in values:
            self._column_exists(name)
        return self.lookup(tuple(values), tuple(values.values()))

    def first(self, **values: Any) -> Row | None:
        """The row with the lowest primary key among ``where(**values)``, or None."""
        found = self.where(**values)
        return found[0] if found else None

    def count(self, **values: Any) -> int:
        """How many rows ``where(**values)`` would return."""
        if not values:
            return len(self.rows)
        index = self._by_columns.get(tuple(values))
        if index is None or None in values.values():
            return len(self.where(**values))
        wanted = tuple(values.values()) if len(values) > 1 else next(iter(values.values()))
        return index.count(wanted) if isinstance(index, indexes.HashIndex) else len(index.find(wanted))

    def range(
        self,
        column: str,
        low: Any = None,
        high: Any = None,
        *,
        include: tuple[bool, bool] = (True, True),
        reverse: bool = False,
        limit: int | None = None,
        **prefix: Any,
    ) -> Iterator[Row]:
        """Rows by an ordered index: ``prefix`` columns equal, ``column`` between ``low`` and ``high``.

        ``limit`` takes the first so many and looks at no more. ``None`` leaves a side open; rows in which an indexed
        column is NULL are not found. They come in the order of ``column``, then of the primary key. Raises
        ``SenderError`` ``unknown_column`` when no ordered index starts with these columns.
        """
        wanted = (*prefix, column)
        for columns, index in self._ordered.items():
            if columns[: len(wanted)] == wanted:
                keys = index.range(tuple(prefix.values()), low, high, include, reverse)
                return iter([self.rows[key] for key in islice(keys, limit)])
        raise SenderError(
            "unknown_column",
            f"{self.name} has no ordered index that starts with {', '.join(wanted)}; declare one with "
            f"index({', '.join(map(repr, wanted))}, ordered=True)",
            table=self.name,
        )

    def lookup(self, columns: tuple[str, ...], values: tuple[Any, ...]) -> list[Row]:
        """The rows in which ``columns`` equal ``values`` (None finds NULL), in primary-key order."""
        rows = self.rows
        if columns == (self._key_name,):
            row = rows.get(values[0])
            return [] if row is None else [row]
        if None not in values:
            index = self._by_columns.get(columns)
            if index is not None:
                keys: Iterable[Any] = index.find(values if len(columns) > 1 else values[0])
                return [rows[key] for key in sorted(keys)]
            narrowed = self._narrow(columns, values)
            if narrowed is not None:
                return narrowed
        return self._filter((rows[key] for key in sorted(rows)), columns, values)

    def _narrow(self, columns: tuple[str, ...], values: tuple[Any, ...]) -> list[Row] | None:
        """Use an index over some of the columns and test the rest row by row."""
        given = dict(zip(columns, values, strict=True))
        if self._key_name in given:
            return self._filter(self.lookup((self._key_name,), (given[self._key_name],)), columns, values)
        best = max((c for c in self._by_columns if all(name in given for name in c)), key=len, default=None)
        if best is None:
            return None
        rest = tuple(name for name in columns if name not in best)
        found = self.lookup(best, tuple(given[name] for name in best))
        return self._filter(found, rest, tuple(given[name] for name in rest)) if rest else found

    @staticmethod
    def _filter(rows: Iterable[Row], columns: tuple[str, ...], values: tuple[Any, ...]) -> list[Row]:
        if len(columns) == 1:
            get, wanted = attrgetter(columns[0]), values[0]
            return [row for row in rows if get(row) == wanted]
        get = attrgetter(*columns)
        return [row for row in rows if get(row) == values]

    # -- changing --------------------------------------------------------------------------

    def insert(self, /, **columns: Any) -> Row:
        """Add a row and return it; columns with a default, and an automatic id, may be left out."""
        try:
            row: Row = self._build(**columns)
        except TypeError:
            self._explain_arguments(columns)
            raise
        except ValueError as reason:
            raise self._bad_value(columns, reason) from None
        key = self.key_of(row)
        if self.schema.auto:
            if key == 0:
                key = self._next_id()
                row = self._with_key(row, key)
            else:
                self._check_chosen(key)
                self._ids.skip(self, key)
        if key in self.rows:
            raise self._duplicate((self._key_name,), key)
        for index in self._unique:
            value = index.value_of(row)
            if value is not None and value in index.entries:
                raise self._duplicate(index.columns, value)
        self._journal.append((self, key, None, row))
        try:
            self.rows[key] = row
            for each in self._indexes:
                each.add(row, key)
        except BaseException:
            self._journal.torn = True
            raise
        return row

    def update(self, target: Any, /, **changes: Any) -> Row:
        """Change columns of a row, named by itself or its primary key; return the row as it is then.

        The changes are applied to the row as it stands now, also when ``target`` is an older copy of it.
        Raises ``SenderError`` ``not_found`` when the row is gone.
        """
        key = self.key_of(target) if type(target) is self.row_type else target
        old: Any = self.rows.get(key)
        if old is None:
            self.require(key)
        checks = self._checks
        try:
            for name, value in changes.items():
                changes[name] = checks[name](value)
        except ValueError as reason:
            raise self._bad_value({name: value}, reason) from None
        except KeyError:
            self._column_exists(name)
            raise
        new: Any = replace(old, **changes)
        if self._key_name in changes and changes[self._key_name] != key:
            moved: Row = self._rekey(key, new)
            return moved
        if new == old and self.same(old, new):
            unchanged: Row = old
            return unchanged
        if not self._indexed_columns.isdisjoint(changes):
            self._check_moves(key, old, new)
            self._journal.append((self, key, old, new))
            try:
                self._reindex(key, old, new)
            except BaseException:
                self._journal.torn = True
                raise
        else:
            self._journal.append((self, key, old, new))
        self.rows[key] = new
        changed: Row = new
        return changed

    def delete(self, target: Any, /) -> bool:
        """Remove a row, named by itself or its primary key; False if it was not there."""
        key = self.key_of(target) if type(target) is self.row_type else target
        old = self.rows.get(key)
        if old is None:
            return False
        self._journal.append((self, key, old, None))
        try:
            del self.rows[key]
            for index in self._indexes:
                index.remove(old, key)
        except BaseException:
            self._journal.torn = True
            raise
        return True

    def reserve_id(self) -> int:
        """The id that the caller's next insert is to name, taken before the row is complete."""
        return self._next_id()

    def _next_id(self) -> int:
        key = self._ids.next_id(self)
        if key > self._key_high:
            raise ConstraintError(
                "bad_value",
                f"{self.name} has no automatic ids left: {self._key_name} goes to {self._key_high}",
                table=self.name,
                column=self._key_name,
            )
        return key

    def _check_chosen(self, key: int) -> None:
        if key < 0 and self.is_scheduled:
            # The order among timers due together is that of their ids, oldest first, from 1.
            raise ConstraintError(
                "bad_value",
                f"{self.name}.{self._key_name} cannot be {key}: ids of scheduled rows start at 1",
                table=self.name,
                column=self._key_name,
                value=repr(key),
            )

    def same(self, old: Any, new: Any) -> bool:
        """Whether two rows are equal in every form; 1, 1.0 and true in a JSON value are three things."""
        if old != new:
            return False
        return all(orjson.dumps(getattr(old, name)) == orjson.dumps(getattr(new, name)) for name in self._json)

    def _with_key(self, row: Any, key: Any) -> Row:
        numbered: Row = replace(row, **{self._key_name: key})
        return numbered

    def _rekey(self, key: Any, new: Any) -> Any:
        old = self.rows[key]
        self.delete(key)
        try:
            return self.insert(**{name: getattr(new, name) for name in self.schema.column_names})
        except BaseException:
            # A reducer may catch the error and go on: then nothing has happened.
            self.insert(**{name: getattr(old, name) for name in self.schema.column_names})
            raise

    def _check_moves(self, key: Any, old: Any, new: Any) -> None:
        for index in self._unique:
            value = index.value_of(new)
            if value is not None and index.entries.get(value, key) != key:
                raise self._duplicate(index.columns, value)

    def _reindex(self, key: Any, old: Any, new: Any) -> None:
        for index in self._indexes:
            if index.value_of(old) != index.value_of(new):
                index.remove(old, key)
                index.add(new, key)

    # -- for the store, the log and subscriptions --------------------------------------------

    def set_row(self, key: Any, old: Row | None, new: Row | None) -> None:
        """Put the row for ``key`` from ``old`` to ``new`` without checks: for undo and for loading."""
        if old is not None:
            for index in self._indexes:
                index.remove(old, key)
        if new is None:
            self.rows.pop(key, None)
            return
        self.rows[key] = new
        for index in self._indexes:
            index.add(new, key)

    def load(self, rows: Iterable[Sequence[Any]], numbers: dict[int, int] | None = None) -> None:
        """Fill the empty table with rows in memory form; raises ``ConstraintError`` on a duplicate.

        ``numbers``: see ``reactor.rowbuilder.sharing``.
        """
        invariant(not self.rows, f"table {self.name} is loaded once")
        make, key_of, held = self.row_type, self.key_of, self.rows
        for values in sharing(self.schema, rows, numbers):
            row = make(*values)
            held[key_of(row)] = row
        for index in self._indexes:
            self._fill(index)

    def _fill(self, index: indexes.AnyIndex) -> None:
        add = index.add
        for key, row in self.rows.items():
            if isinstance(index, indexes.UniqueIndex):
                value = index.value_of(row)
                if value is not None and value in index.entries:
                    raise self._duplicate(index.columns, value)
            add(row, key)

    def ensure_hash_index(self, columns: tuple[str, ...]) -> None:
        """Make lookups over ``columns`` fast from now on; derived, in memory only."""
        if columns in self._by_columns or columns == (self._key_name,):
            return
        made = indexes.HashIndex(columns)
        self._fill(made)
        self._add_index(made)

    def log_row(self, row: Row) -> Any:
        """The row as the log and the wire write it: itself, unless it has integers past 64 bits."""
        if self.is_plain:
            return row
        return [log_value(c.type, getattr(row, c.name)) for c in self.schema.columns]

    def row_from_log(self, values: Sequence[Any]) -> Row:
        """The row that ``log_row`` wrote, after a trip through msgpack."""
        columns = self.schema.columns
        made: Row = self.row_type(*(memory_value(c.type, v) for c, v in zip(columns, values, strict=True)))
        return made

    def log_key(self, key: Any) -> Any:
        """A primary key as the log writes it."""
        return log_value(self.schema.column(self._key_name).type, key)

    @property
    def index_list(self) -> Sequence[indexes.AnyIndex]:
        """The indexes, for checks."""
        return self._indexes

    # -- errors ------------------------------------------------------------------------------

    def _column_exists(self, name: str) -> None:
        if name not in self._checks:
            raise ConstraintError(
                "unknown_column",
                f"{self.name} has no column {name}; its columns are {', '.join(self.schema.column_names)}",
                table=self.name,
                column=name,
            )

    def _explain_arguments(self, columns: dict[str, Any]) -> None:
        for name in columns:
            self._column_exists(name)
        for column in self.schema.columns:
            auto = self.schema.auto and column.name == self._key_name
            if column.name not in columns and not column.has_default and not auto:
                raise ConstraintError(
                    "bad_value",
                    f"{self.name}.{column.name} has no default, so an insert must give it",
                    table=self.name,
                    column=column.name,
                )

    def _bad_value(self, columns: dict[str, Any], reason: ValueError) -> ConstraintError:
        for name, value in columns.items():
            try:
                self._checks[name](value)
            except ValueError as exact:
                shown = repr(value)[:100]
                return ConstraintError(
                    "bad_value",
                    f"{self.name}.{name} cannot be {shown}: {exact}",
                    table=self.name,
                    column=name,
                    value=_told(value),
                )
        return ConstraintError("bad_value", f"{self.name}: {reason}", table=self.name)

    def _duplicate(self, columns: tuple[str, ...], value: Any) -> ConstraintError:
        named = ", ".join(columns)
        return ConstraintError(
            "unique_violation",
            f"{self.name} already has a row with {named} = {repr(value)[:100]}",
            table=self.name,
            column=named,
            value=_told(value),
        )


def _told(value: Any) -> Any:
    """A value as an error's details carry it: itself where it is short and plain, else its text."""
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and value.bit_length() < 64):
        return value
    return str(value) if isinstance(value, str) and len(value) <= _TOLD_CHARS_MAX else repr(value)[:_TOLD_CHARS_MAX]


class Journal:
    """The changes of the running call, oldest first.

    ``append`` is an attribute, not a method: while a call runs it is the list's own append, so an entry costs
    no extra call; between calls it refuses, so nothing can change a table behind the log's back.
    """

    __slots__ = ("append", "entries", "has_callbacks", "torn")

    def __init__(self) -> None:
        self.entries: list[Change] = []
        self.torn = False
        self.has_callbacks = False
        self.append: Callable[[Change], None] = _refuse_entry

    def open(self) -> None:
        """Start a call."""
        if self.append is not _refuse_entry:
            invariant(False, "a call is already running")
        self.append = self.entries.append

    @property
    def is_open(self) -> bool:
        """Whether a call is running."""
        return self.append is not _refuse_entry

    def on_undo(self, callback: Callable[[], object]) -> None:
        """Enter a callback among the changes; undoing them runs it in its turn."""
        self.append((_CALLBACKS, callback, None, None))
        self.has_callbacks = True

    def drop_callbacks(self) -> None:
        """Leave the changes alone: what stands is not undone by this call any more."""
        self.entries = [entry for entry in self.entries if entry[0] is not _CALLBACKS]
        self.has_callbacks = False

    def close(self) -> list[Change]:
        """End the call; returns what it did."""
        done = self.entries
        self.entries = []
        self.torn = False
        self.append = _refuse_entry
        return done


class _Callbacks:
    """Stands in the journal where a table does, so that undoing needs no second kind of entry."""

    name = "of callbacks"

    @staticmethod
    def set_row(callback: Callable[[], object], old: None, new: None) -> None:
        """Run the callback."""
        callback()


_CALLBACKS: Any = _Callbacks()


def _refuse_entry(change: Change) -> None:
    invariant(False, f"table {change[0].name} was changed outside a reducer call")


def refuse_while_undoing(change: Change) -> None:
    """In place of ``Journal.append`` while entries are undone: one added then would stay when those are removed."""
    invariant(False, f"table {change[0].name} was changed by a callback while changes are being undone")


class IdSource:
    """Hands out automatic ids; ``reactor.store`` reserves them in blocks."""

    def next_id(self, table: Table[Any]) -> int:
        """The next id of ``table``."""
        raise NotImplementedError

    def skip(self, table: Table[Any], used: int) -> None:
        """Note that ``used`` was chosen by the caller and must not be handed out."""
        raise NotImplementedError
