"""Table declarations: columns, keys and indexes, checked when they are declared.

``TableSchema`` is a value: the declaration of one table, ready to be stored as JSON beside the data and
compared with the declaration of a later start. ``additions`` tells what a later start adds, or refuses.
"""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from reactor.columns import MISSING, Column, log_value, type_of_annotation
from reactor.errors import Refusal

Fill = Callable[[dict[str, Any]], Any]
"""From a stored row, as a dict in memory form, to the value of a column that it does not have yet."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_RESERVED = {"sqlite", "reactor_meta", "reactor_index_mark", "reactor_index_cursor"}


@dataclass(frozen=True, slots=True)
class Index:
    """An index over one or more columns. ``ordered`` allows ranges; the others find equal values only."""

    columns: tuple[str, ...]
    ordered: bool = False
    unique: bool = False

    def to_json(self) -> dict[str, Any]:
        """The index as stored with the data."""
        return {"columns": list(self.columns), "ordered": self.ordered, "unique": self.unique}


def index(*columns: str, ordered: bool = False, unique: bool = False) -> Index:
    """Declare an index: ``indexes=[index("zone", "hp", ordered=True)]``."""
    return Index(tuple(columns), ordered, unique)


@dataclass(frozen=True, slots=True)
class PrimaryKey:
    """Marks the primary key column in a declaration; see ``primary_key``."""

    auto: bool = False


def primary_key(*, auto: bool = False) -> Any:
    """Mark a column as the primary key: ``id: int = primary_key(auto=True)``.

    ``auto=True``: an insert that leaves the column out, or gives 0, gets the next id. Ids start at 1, are
    reserved in blocks, and are never handed out twice, also not after a crash (which may leave a gap).
    """
    return PrimaryKey(auto)


@dataclass(frozen=True, slots=True)
class TableSchema:
    """The declaration of one table.

    ``public`` tables may be read by every client, others only by the database's owner. ``scheduled`` names
    the reducer that a due row of this table runs. ``row_type`` is the frozen row class; its fields are
    the columns in order and it is encoded as an array. ``filled`` computes columns of rows that are older than they.
    """

    name: str
    columns: tuple[Column, ...]
    primary_key: str
    auto: bool = False
    public: bool = False
    indexes: tuple[Index, ...] = ()
    scheduled: str | None = None
    row_type: Any = field(default=None, compare=False)
    filled: Mapping[str, Fill] = field(default_factory=dict, compare=False)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(c.name for c in self.columns)

    @property
    def key_position(self) -> int:
        """Where in a row the primary key stands."""
        return self.column_names.index(self.primary_key)

    def column(self, name: str) -> Column:
        """The column of that name; ``KeyError`` if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """The declaration as stored with the data."""
        return {
            "name": self.name,
            "columns": [c.to_json() for c in self.columns],
            "primary_key": self.primary_key,
            "auto": self.auto,
            "public": self.public,
            "indexes": [i.to_json() for i in self.indexes],
            "scheduled": self.scheduled,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> TableSchema:
        """The declaration that ``to_json`` wrote, with a row class of its own."""
        columns = tuple(Column.from_json(c) for c in stored["columns"])
        return cls(
            name=stored["name"],
            columns=columns,
            primary_key=stored["primary_key"],
            auto=stored["auto"],
            public=stored["public"],
            indexes=tuple(Index(tuple(i["columns"]), i["ordered"], i["unique"]) for i in stored["indexes"]),
            scheduled=stored["scheduled"],
            row_type=row_class(stored["name"], columns),
        )


def row_class(
    name: str, columns: Sequence[Column], namespace: dict[str, Any] | None = None, module: str | None = None
) -> Any:
    """A frozen row class with the columns as fields.

    Rows hold no cycles, so they stay out of the garbage collector's sight (``gc=False``): a million rows
    then cost it nothing. ``array_like`` makes a row a plain array in the log and on the wire.
    """
    return msgspec.defstruct(
        name,
        [(c.name, Any) for c in columns],
        frozen=True,
        gc=False,
        array_like=True,
        namespace=namespace or {},
        module=module,
    )


def snake_case(name: str) -> str:
    """``EntityEffect`` -> ``entity_effect``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _bad(where: str, reason: str) -> Refusal:
    return Refusal("bad_declaration", f"{where}: {reason}")


def check_name(name: str, where: str) -> str:
    """The name if it may name a table, column or reducer; ``Refusal`` otherwise."""
    if not _NAME.match(name) or name.startswith("sqlite_") or name in _RESERVED:
        raise _bad(where, f"{name!r} is not a usable name; use a-z, 0-9 and _, starting with a letter, at most 63")
    return name


def declare_table(
    cls: type,
    *,
    name: str | None = None,
    public: bool = False,
    indexes: Iterable[str | Index] = (),
    unique: Iterable[str | Sequence[str]] = (),
    scheduled: str | None = None,
    scope: Mapping[str, Any] | None = None,
    filled: Mapping[str, Fill] | None = None,
) -> TableSchema:
    """The schema declared by a class whose annotations are the columns; ``Refusal`` gives the reason.

    ``filled``: column -> function of the row (a dict) that computes it for rows stored before the column existed, or
    while it could still be NULL. It must depend on the row alone: the row may be read from the log more than once.
    """
    table = check_name(name or snake_case(cls.__name__), f"table {cls.__name__}")
    columns, key, auto = _declared_columns(cls, table, scope or {})
    declared = [i if isinstance(i, Index) else Index((i,)) for i in indexes]
    declared += [Index((u,) if isinstance(u, str) else tuple(u), unique=True) for u in unique]
    schema = TableSchema(
        name=table,
        columns=columns,
        primary_key=key,
        auto=auto,
        public=public,
        indexes=_checked_indexes(declared, columns, table),
        scheduled=scheduled,
        row_type=row_class(cls.__name__, columns, _kept_members(cls, columns), cls.__module__),
        filled=_checked_fills(filled or {}, columns, table),
    )
    if scheduled is not None:
        _check_scheduled(schema)
    return schema


def _checked_fills(filled: Mapping[str, Fill], columns: Sequence[Column], table: str) -> dict[str, Fill]:
    names = [c.name for c in columns]
    for name in filled:
        if name not in names:
            raise _bad(f"table {table}, filled", f"there is no column {name}; the columns are {', '.join(names)}")
    return dict(filled)


def _kept_members(cls: type, columns: Sequence[Column]) -> dict[str, Any]:
    """The methods, properties and docstring of the author's class: rows carry them too."""
    names = {c.name for c in columns}
    kept = {}
    for key, value in vars(cls).items():
        ordinary = callable(value) or isinstance(value, property | staticmethod | classmethod)
        if key == "__doc__" or (ordinary and not key.startswith("__") and key not in names):
            kept[key] = value
    return kept


def _declared_columns(cls: type, table: str, scope: Mapping[str, Any]) -> tuple[tuple[Column, ...], str, bool]:
    module = sys.modules.get(cls.__module__)
    try:
        hints = typing.get_type_hints(cls, vars(module) if module else {}, {**scope, **vars(cls)}, include_extras=True)
    except (NameError, TypeError) as error:
        raise _bad(f"table {table}", f"a column's annotation cannot be resolved: {error}") from None
    columns: list[Column] = []
    key: tuple[str, bool] | None = None
    for name, annotation in hints.items():
        where = f"table {table}, column {name}"
        check_name(name, where)
        kind, optional = type_of_annotation(annotation, where)
        default = vars(cls).get(name, MISSING)
        if isinstance(default, PrimaryKey):
            if key is not None:
                raise _bad(where, f"{key[0]} is already the primary key; a table has one")
            _check_key(kind, optional, default.auto, where)
            key, default = (name, default.auto), MISSING
        elif default is not MISSING and default is not None:
            try:
                default = kind.check(default)
            except ValueError as reason:
                raise _bad(where, f"the default {default!r} does not fit: {reason}") from None
        elif default is None and not optional:
            raise _bad(where, "the default is None but the column is not optional; declare it `type | None`")
        columns.append(Column(name, kind, optional, default))
    if not columns:
        raise _bad(f"table {table}", "it declares no columns")
    if key is None:
        raise _bad(f"table {table}", "it needs a primary key: mark one column with `= primary_key()`")
    return tuple(columns), key[0], key[1]


def _check_key(kind: Any, optional: bool, auto: bool, where: str) -> None:
    if optional:
        raise _bad(where, "a primary key cannot be optional")
    if auto and (not kind.is_integer or kind.high < (1 << 31) - 1):
        raise _bad(where, "an automatic id needs an integer column of 32 bits or more")
    if kind.name in ("json", "f32", "f64"):
        raise _bad(where, f"a {kind.name} column cannot be the primary key")


def _checked_indexes(declared: list[Index], columns: Sequence[Column], table: str) -> tuple[Index, ...]:
    by_name = {c.name: c for c in columns}
    seen: set[tuple[tuple[str, ...], bool]] = set()
    for spec in declared:
        where = f"table {table}, index on {', '.join(spec.columns) or 'nothing'}"
        if not spec.columns or len(set(spec.columns)) != len(spec.columns):
            raise _bad(where, "name each column once, and at least one")
        for name in spec.columns:
            if name not in by_name:
                raise _bad(where, f"there is no column {name}; the columns are {', '.join(by_name)}")
            if by_name[name].type.name == "json":
                raise _bad(where, "a json column cannot be indexed; keep what you look up in its own column")
        if (spec.columns, spec.ordered) in seen:
            raise _bad(where, "it is declared twice")
        seen.add((spec.columns, spec.ordered))
    return tuple(declared)


SCHEDULED_COLUMNS = {
    "scheduled_id": ("i64", "u64", "i32", "u32"),
    "scheduled_at": ("timestamp",),
}
"""What every scheduled table declares. `reactor.timers` describes the optional columns."""

SCHEDULED_OPTIONAL = {
    "clock": ("text",),
    "interval": ("duration",),
    "catch_up": ("enum", "text"),
    "drop_after": ("duration",),
    "generation": ("u32", "i64", "u64", "i32"),
    "cancelled": ("bool",),
    "missed": ("i64", "u32", "u64", "i32"),
    "priority": ("u8", "i32", "i64", "u32"),
}


def _check_scheduled(schema: TableSchema) -> None:
    where = f"scheduled table {schema.name}"
    kinds = {c.name: c.type.name for c in schema.columns}
    for name, allowed in SCHEDULED_COLUMNS.items():
        if kinds.get(name) not in allowed:
            raise _bad(where, f"it needs a column {name} of type {allowed[0]}")
    for name, allowed in SCHEDULED_OPTIONAL.items():
        if name in kinds and kinds[name] not in allowed:
            raise _bad(where, f"its column {name} must be of type {' or '.join(allowed)}")
    if schema.primary_key != "scheduled_id" or not schema.auto:
        raise _bad(where, "its primary key must be `scheduled_id: int = primary_key(auto=True)`")


# -- a later start ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Additions:
    """What a later declaration adds to stored data: all of it can be taken without touching a row twice."""

    tables: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    indexes_changed: tuple[str, ...] = ()
    settings_changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tables or self.columns or self.indexes_changed or self.settings_changed)


def additions(stored: Mapping[str, TableSchema], declared: Mapping[str, TableSchema]) -> Additions:
    """What ``declared`` adds to ``stored``; raises ``Refusal`` listing every change that is not additive.

    Taken: new tables, new columns that are optional, have a default or are filled, new or dropped plain indexes, new
    unique indexes (the rows are checked when loaded), new enum values, another visibility.
    """
    problems: list[str] = []
    columns: list[tuple[str, str]] = []
    indexes: list[str] = []
    settings: list[str] = []
    for name, old in stored.items():
        new = declared.get(name)
        if new is None:
            problems.append(f"table {name} is gone; declare it again, or export it and start a new data directory")
            continue
        problems += _table_problems(old, new)
        known = set(old.column_names)
        columns += [(name, c.name) for c in new.columns if c.name not in known]
        if {_index_key(i) for i in old.indexes} != {_index_key(i) for i in new.indexes}:
            indexes.append(name)
        if (old.public, old.auto, old.scheduled) != (new.public, new.auto, new.scheduled) or _types(old) != _types(new):
            settings.append(name)
    if problems:
        raise Refusal(
            "schema_conflict",
            "the stored data does not fit the declared tables: " + "; ".join(problems),
            problems=problems,
        )
    return Additions(tuple(n for n in declared if n not in stored), tuple(columns), tuple(indexes), tuple(settings))


def _index_key(spec: Index) -> tuple[tuple[str, ...], bool, bool]:
    return spec.columns, spec.ordered, spec.unique


def _types(schema: TableSchema) -> list[tuple[str, tuple[str, ...], bool]]:
    return [(c.name, c.type.values, c.optional) for c in schema.columns]


def _table_problems(old: TableSchema, new: TableSchema) -> list[str]:
    problems = []
    known = {c.name: c for c in new.columns}
    for column in old.columns:
        now = known.pop(column.name, None)
        at = f"{old.name}.{column.name}"
        if now is None:
            problems.append(f"column {at} is gone; keep it, optional, until nothing reads it")
        elif now.type.name != column.type.name:
            problems.append(f"column {at} was {column.type.name} and is now {now.type.name}; add a new column instead")
        elif column.optional and not now.optional and column.name not in new.filled:
            problems.append(f"column {at} may hold NULL in stored rows; keep it optional")
        elif not set(column.type.values) <= set(now.type.values):
            gone = sorted(set(column.type.values) - set(now.type.values))
            problems.append(f"column {at} lost the enum values {', '.join(gone)}; keep them")
    for column in known.values():
        if not column.has_default and column.name not in new.filled:
            problems.append(f"column {old.name}.{column.name} is new and needs a default for the rows that exist")
    if old.primary_key != new.primary_key:
        problems.append(f"the primary key of {old.name} was {old.primary_key}; it cannot change")
    return problems


def stored_default(column: Column) -> Any:
    """The value a new column has in rows written before it existed, in log form."""
    return log_value(column.type, column.default_value())


def fills_needed(stored: TableSchema, declared: TableSchema, filled: Mapping[str, Fill]) -> dict[str, Fill]:
    """The fills that rows of ``stored`` need to become rows of ``declared``."""
    before = {c.name: c for c in stored.columns}
    return {
        c.name: filled[c.name]
        for c in declared.columns
        if c.name in filled and (c.name not in before or (before[c.name].optional and not c.optional))
    }


def fill(schema: TableSchema, values: Sequence[Any], fills: Mapping[str, Fill]) -> list[tuple[str, Any]]:
    """``(column, value)`` of what ``fills`` compute for a row in memory form, where it has NULL or the default.

    ``Refusal`` ``schema_conflict`` if a value does not fit its column.
    """
    row = dict(zip(schema.column_names, values, strict=True))
    found = []
    for name, compute in fills.items():
        if row[name] is None or row[name] == schema.column(name).default:
            try:
                found.append((name, schema.column(name).checker()(compute(dict(row)))))
            except Exception as error:
                raise Refusal(
                    "schema_conflict",
                    f"column {schema.name}.{name} cannot be computed for the stored row {row[schema.primary_key]!r}: "
                    f"{error}; mend the function given in filled",
                ) from error
    return found
