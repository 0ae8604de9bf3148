"""A naive table, SQLite as the judge, and generators of schemas, rows, conditions and queries."""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from random import Random
from typing import Any

from reactor.columns import TYPES, Column, ColumnType, enum_type, log_value, sql_converter
from reactor.live import Delta
from reactor.live.where import kind_class
from reactor.schema import Index, TableSchema, row_class


class Colour(enum.StrEnum):
    """An enum whose values order differently from their names."""

    RED = "zinnober"
    BLUE = "azure"
    GREEN = "Green"


COLOUR = enum_type(Colour)


class FakeTable:
    """The reading side of a table, as plainly as can be."""

    def __init__(self, schema: TableSchema) -> None:
        self.name = schema.name
        self.schema = schema
        self.rows: dict[Any, Any] = {}
        self.key_of: Callable[[Any], Any] = attrgetter(schema.primary_key)
        self.hashed: set[tuple[str, ...]] = set()

    def lookup(self, columns: tuple[str, ...], values: tuple[Any, ...]) -> Sequence[Any]:
        """By scanning."""
        hits = [r for r in self.rows.values() if tuple(getattr(r, c) for c in columns) == values]
        return sorted(hits, key=self.key_of)

    def ensure_hash_index(self, columns: tuple[str, ...]) -> None:
        """Only remembered."""
        self.hashed.add(columns)

    def apply(self, key: Any, new: Any | None) -> tuple[FakeTable, Any, Any, Any]:
        """Put a row in, or take it out, and return the change."""
        old = self.rows.pop(key, None)
        if new is not None:
            self.rows[key] = new
        return (self, key, old, new)


def make_schema(name: str, columns: Sequence[tuple[str, ColumnType, bool]], key: str, *indexes: str) -> TableSchema:
    """A schema from ``(name, type, optional)`` columns."""
    made = tuple(Column(*c) for c in columns)
    return TableSchema(name, made, key, indexes=tuple(Index((i,)) for i in indexes), row_type=row_class(name, made))


class Mirror:
    """The same tables in SQLite, column types as the projection declares them."""

    _AFFINITY: Mapping[type, str] = {int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB"}

    def __init__(self, schemas: Mapping[str, TableSchema]) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.schemas = schemas
        for schema in schemas.values():
            columns = ", ".join(f'"{c.name}" {self._affinity(c.type)}' for c in schema.columns)
            self.db.execute(f'CREATE TABLE "{schema.name}" ({columns})')

    def _affinity(self, kind: ColumnType) -> str:
        return "" if kind.is_integer and kind.sql is bytes else self._AFFINITY[kind.sql]

    def value(self, kind: ColumnType, value: Any) -> Any:
        """A value in memory as SQLite holds it."""
        logged = log_value(kind, value)
        convert = sql_converter(kind)
        made = convert(logged) if convert else logged
        return str(made) if isinstance(made, enum.Enum) else made

    def key(self, schema: TableSchema, key: Any) -> Any:
        """A primary key as SQLite holds it."""
        return self.value(schema.column(schema.primary_key).type, key)

    def apply(self, schema: TableSchema, key: Any, new: Any | None) -> None:
        """Put a row in, or take it out."""
        wanted = self.key(schema, key)
        self.db.execute(f'DELETE FROM "{schema.name}" WHERE "{schema.primary_key}" IS ?', (wanted,))
        if new is not None:
            values = [self.value(c.type, getattr(new, c.name)) for c in schema.columns]
            marks = ", ".join("?" * len(values))
            self.db.execute(f'INSERT INTO "{schema.name}" VALUES ({marks})', values)

    def keys(self, sql: str, schema: TableSchema) -> list[Any]:
        """The primary keys of the rows that SQLite finds, each once."""
        position = schema.key_position
        return sorted({row[position] for row in self.db.execute(sql)}, key=repr)


# -- generators ------------------------------------------------------------------------------------

WIDE = ("u64", "i128", "u128", "i256", "u256")
KINDS: list[ColumnType] = [*TYPES.values(), COLOUR]
_TEXTS = ["", "a", "A", "ab", "Ab", "aé", "É", "é", "%", "a%b", "a_b", "x\0y", "￿", "😀", "it's", "b"]
_INTEGERS = [0, 1, 2, 3, 5, 100]
_FLOATS = [0.0, -0.0, 1.0, 1.5, -2.5, 2.0, 3.0, 0.1, 1e300, float("inf"), float("-inf")]
_BYTES = [b"", b"\0", b"a", b"ab", b"\xff", b"b"]
_JSON: list[Any] = [None, 1, "a", [1, 2], {"a": True}]
_LIKES = ["a%", "%b", "%", "", "a", "A_", "_", "__", "%a%b%", "a\\%%", "%\\", "%é", "É%", "x", "x_", "%%_", "😀"]


def random_kind(rng: Random, *, key: bool = False) -> ColumnType:
    """Any column type; for a key only those that may be one."""
    while True:
        kind = rng.choice(KINDS)
        if not key or kind.name not in ("json", "f32", "f64", "bool", "enum"):
            return kind


def random_schema(rng: Random, name: str) -> TableSchema:
    """A table of one to five columns; column names of the two tables partly coincide."""
    columns = [("id", random_kind(rng, key=True), False)]
    for column in ("zone", "hp", name + "_c", "d")[: rng.randint(1, 4)]:
        columns.append((column, random_kind(rng), rng.random() < 0.5))
    hashed = [c for c, kind, _ in columns[1:] if kind.name != "json" and rng.random() < 0.3]
    return make_schema(name, columns, "id", *hashed)


def random_value(rng: Random, column: Column) -> Any:
    """A value from a small set, so that values meet."""
    kind = column.type
    if column.optional and rng.random() < 0.3:
        return None
    if kind.name == "bool":
        return rng.random() < 0.5
    if kind.is_integer:
        low, high = kind.low or 0, kind.high or 0
        # Below -2^63 the projection's text does not keep the order; see reactor.columns.
        edges = [max(low, -(1 << 63)), high, high - 1]
        return rng.choice([*_INTEGERS, *edges] if rng.random() < 0.3 else _INTEGERS)
    pool: Sequence[Any] = {"bytes": _BYTES, "json": _JSON, "text": _TEXTS, "enum": list(Colour)}.get(kind.name, _FLOATS)
    value = rng.choice(pool)
    if kind.name == "f32" and abs(value) == 1e300:
        return 1.5
    return kind.check(value)


def random_row(rng: Random, schema: TableSchema, key: Any) -> Any:
    """A row with that key."""
    values = [key if c.name == schema.primary_key else random_value(rng, c) for c in schema.columns]
    return schema.row_type(*values)


def _text_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def random_literal(rng: Random, column: Column) -> str:
    """A literal that may be compared with the column, as SQL."""
    if rng.random() < 0.06:
        return "NULL"
    wanted = kind_class(column.type)
    if wanted == "text":
        return _text_literal(rng.choice([t for t in [*_TEXTS, *Colour] if "\0" not in t]))
    if wanted == "bytes":
        return f"X'{rng.choice(_BYTES).hex()}'"
    plain = ["0", "1", "2", "3", "5", "-1", "1.0", "1.5", "TRUE", "false", "(2)", "+3", "- 2", "100"]
    if column.type.name in WIDE:
        return rng.choice(plain)
    edge = ["9223372036854775807", "-9223372036854775808", "9223372036854775808", "99999999999999999999"]
    return rng.choice([*plain, ".5", "2.", "1e2", "15e-1", "0.1", "1e999", "127", "255", *edge])


def _named(rng: Random, column: Column, alias: str | None) -> str:
    name = rng.choice([column.name, column.name.upper(), f'"{column.name}"', f"[{column.name}]"])
    return name if alias is None else f"{alias}.{name}"


def random_atom(rng: Random, schema: TableSchema, alias: str | None) -> str:
    """A condition on one column."""
    column = rng.choice(schema.columns)
    name = _named(rng, column, alias)
    wanted = kind_class(column.type)
    roll = rng.random()
    if wanted == "json" or roll < 0.1:
        return name + rng.choice([" IS NULL", " IS NOT NULL", " is not null", " ISNULL", " NOTNULL"])
    if column.type.name == "bool" and roll < 0.4:
        return name
    if wanted == "text" and roll < 0.4:
        word = rng.choice(["LIKE", "NOT LIKE", "like"])
        tail = rng.choice(["", "", " ESCAPE '\\'", " ESCAPE '%'", " ESCAPE 'a'"])
        return f"{name} {word} {_text_literal(rng.choice(_LIKES))}{tail}"
    if roll < 0.6:
        listed = ", ".join(random_literal(rng, column) for _ in range(rng.randint(0, 3)))
        return f"{name} {rng.choice(['IN', 'NOT IN', 'in'])} ({listed})"
    if roll < 0.75:
        low, high = random_literal(rng, column), random_literal(rng, column)
        return f"{name} {rng.choice(['BETWEEN', 'NOT BETWEEN'])} {low} AND {high}"
    operator = rng.choice(["=", "==", "<>", "!=", "<", "<=", ">", ">=", "=", "="])
    literal = random_literal(rng, column)
    return f"{name} {operator} {literal}" if rng.random() < 0.8 else f"{literal} {operator} {name}"


def random_condition(rng: Random, schema: TableSchema, alias: str | None = None, depth: int = 3) -> str:
    """A condition of AND, OR, NOT and parentheses over one table."""
    if depth == 0 or rng.random() < 0.35:
        return rng.choice(["TRUE", "FALSE", "NULL"]) if rng.random() < 0.03 else random_atom(rng, schema, alias)
    if rng.random() < 0.3:
        return f"NOT ({random_condition(rng, schema, alias, depth - 1)})"
    word = rng.choice([" AND ", " OR ", " and ", "\n or "])
    parts = [random_condition(rng, schema, alias, depth - 1) for _ in range(rng.randint(2, 3))]
    return word.join(f"({p})" if rng.random() < 0.8 else p for p in parts)


def _partners(t: TableSchema, u: TableSchema) -> list[tuple[Column, Column]]:
    def comparable(a: Column, b: Column) -> bool:
        classes = {kind_class(a.type), kind_class(b.type)}
        # An integer past 64 bits is text in SQLite and would be rounded beside a float.
        rounded = {a.type.python, b.type.python} == {int, float} and {a.type.name, b.type.name} & set(WIDE)
        return len(classes) == 1 and "json" not in classes and not rounded

    return [(a, b) for a in t.columns for b in u.columns if comparable(a, b)]


def random_query(rng: Random, schemas: Mapping[str, TableSchema]) -> tuple[str, str]:
    """``(sql, name of the table whose rows it gives)`` over one or two of the tables."""
    t, u = rng.sample(sorted(schemas.values(), key=lambda s: s.name), 2)
    if rng.random() < 0.1:
        u = t
    pairs = _partners(t, u)
    roll = rng.random()
    if roll < 0.4 or not pairs:
        alias, tail = rng.choice([("", ""), ("t", " AS t"), ("T", " t")])
        where = random_condition(rng, t, alias or None) if rng.random() < 0.95 else ""
        return f"SELECT * FROM {t.name}{tail}{' WHERE ' + where if where else ''}", t.name
    x, y = rng.choice(pairs)
    outer = random_condition(rng, t, "a", 2) if rng.random() < 0.6 else ""
    if roll < 0.7:
        inner = random_condition(rng, u, None, 2) if rng.random() < 0.7 else ""
        sub = f"SELECT {y.name} FROM {u.name}{' WHERE ' + inner if inner else ''}"
        both = [f"a.{x.name} IN ({sub})", *([f"({outer})"] if outer else [])]
        rng.shuffle(both)
        return f"SELECT * FROM {t.name} AS a WHERE {' AND '.join(both)}", t.name
    inner = random_condition(rng, u, "b", 2) if rng.random() < 0.7 else ""
    tables = [f"{t.name} AS a", f"{u.name} b"]
    on = [f"a.{x.name}", f"b.{y.name}"]
    rng.shuffle(tables)
    rng.shuffle(on)
    where = " AND ".join(f"({c})" for c in (outer, inner) if c)
    sql = f"SELECT a.* FROM {tables[0]} {rng.choice(['JOIN', 'INNER JOIN'])} {tables[1]} ON {' = '.join(on)}"
    return sql + (f" WHERE {where}" if where else "") + rng.choice(["", ";"]), t.name


# -- a subscriber ------------------------------------------------------------------------------------


class Subscriber:
    """Holds what a client would: the snapshot and then every delta, checked to be minimal and rightly classed."""

    def __init__(self, table: FakeTable, snapshot: list[Any]) -> None:
        self.key_of = table.key_of
        assert [self.key_of(r) for r in snapshot] == sorted(self.key_of(r) for r in snapshot)
        self.rows = {self.key_of(r): r for r in snapshot}
        assert len(self.rows) == len(snapshot)

    def take(self, delta: Delta) -> None:
        """Apply a delta."""
        keys = [self.key_of(r) for r in delta.inserts] + [k for k, _ in delta.updates] + delta.deletes
        assert keys, "an empty delta"
        assert len(set(keys)) == len(keys), "a key twice in one delta"
        for row in delta.inserts:
            assert self.key_of(row) not in self.rows, "an insert of a row that is there"
            self.rows[self.key_of(row)] = row
        for key, row in delta.updates:
            assert self.rows[key] != row, "an update that changes nothing"
            assert self.key_of(row) == key
            self.rows[key] = row
        for key in delta.deletes:
            del self.rows[key]
