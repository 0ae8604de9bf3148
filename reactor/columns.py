"""Column types: what a column may hold, in memory, in the log, in SQL and in JSON.

One ``ColumnType`` answers every question about a value of its kind, so that the rest of the program never
looks at types again. The forms:

=========== ======================== ===================== ==========================
type        in memory                in the log (msgpack)  in SQL (affinity)
=========== ======================== ===================== ==========================
i8 … i64    int                      int                   INTEGER
u8 … u32    int                      int                   INTEGER
u64         int                      int                   integer, or text past 2^63
i128 … u256 int                      decimal text          integer, or text past 2^63
f32, f64    float                    float                 REAL
text        str                      str                   TEXT
bytes       bytes                    bin                   BLOB
bool        bool                     bool                  INTEGER 0/1
timestamp   int, µs since 1970 UTC   int                   INTEGER
duration    int, µs                  int                   INTEGER
enum        ``StrEnum`` member       str                   TEXT
json        None, bool, number, str, the same              TEXT (compact JSON)
            list, dict (not changed
            in place)
=========== ======================== ===================== ==========================

Integers that SQLite cannot hold become zero-padded decimal text, which SQLite sorts after every integer, so
order is kept for all values that are not below -2^63.
"""

from __future__ import annotations

import enum
import struct
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import orjson

from reactor.errors import Refusal

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING"})()
"""Marks a column without a default."""

INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)
_WIDE_DIGITS = 78  # 2^256 has 78 decimal digits

Check = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class ColumnType:
    """One kind of value. ``check`` returns the value to store or raises ``ValueError`` with the reason."""

    name: str
    python: type
    check: Check
    sql: type  # the Python type sqlite-utils maps to an affinity; bytes means "no affinity"
    low: int | None = None
    high: int | None = None
    values: tuple[str, ...] = ()
    enum: type[enum.StrEnum] | None = None

    @property
    def is_integer(self) -> bool:
        """Whether values are whole numbers (timestamps and durations included)."""
        return self.low is not None

    @property
    def is_number(self) -> bool:
        """Whether values compare as numbers."""
        return self.is_integer or self.python is float

    @property
    def is_wide(self) -> bool:
        """Whether values may need more than 64 bits and so travel as decimal text in the log."""
        return self.high is not None and self.high > (1 << 64)

    def to_json(self) -> dict[str, Any]:
        """The type as stored with the data: ``{"type": name}`` and an enum's values."""
        return {"type": self.name, "values": list(self.values)} if self.values else {"type": self.name}


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> Any:
        if type(value) is int and low <= value <= high:
            return value
        if type(value) is not int:
            raise ValueError(f"expected a whole number, got {type(value).__name__}")
        raise ValueError(f"expected a whole number from {low} to {high}")

    return check


def _float(value: Any) -> Any:
    if type(value) is int:
        try:
            value = float(value)
        except OverflowError:
            raise ValueError("expected a number that fits 64 bits") from None
    if type(value) is not float:
        raise ValueError(f"expected a number, got {type(value).__name__}")
    if value != value:
        # SQL stores it as NULL and no order has a place for it, so a restart or an index would change it.
        raise ValueError("expected a number, got NaN")
    return value


def _float32(value: Any) -> Any:
    try:
        # Rounded when stored, so that memory, log and every wire hold the same value.
        return struct.unpack("<f", struct.pack("<f", _float(value)))[0]
    except OverflowError:
        raise ValueError("expected a number that fits 32 bits") from None


def _exactly(python: type, label: str) -> Check:
    def check(value: Any) -> Any:
        if type(value) is python:
            return value
        raise ValueError(f"expected {label}, got {type(value).__name__}")

    return check


def _text(value: Any) -> Any:
    if type(value) is not str:
        if not isinstance(value, str):
            raise ValueError(f"expected text, got {type(value).__name__}")
        value = str.__str__(value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("expected text without lone surrogates") from None
    return value


def _json(value: Any) -> Any:
    try:
        # A round trip: it proves the value can be sent and cuts every tie to the caller's object.
        return orjson.loads(orjson.dumps(value))
    except (orjson.JSONEncodeError, TypeError) as error:
        raise ValueError(f"expected a JSON value: {error}") from None


def _integer_type(name: str, bits: int, signed: bool, sql: type = int) -> ColumnType:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return ColumnType(name, int, _integer(low, high), sql, low, high)


_INTEGERS = [
    _integer_type(
        f"{'i' if signed else 'u'}{bits}",
        bits,
        signed,
        int if bits < 64 or (signed and bits == 64) else bytes,
    )
    for bits in (8, 16, 32, 64, 128, 256)
    for signed in (True, False)
]

TYPES: dict[str, ColumnType] = {
    **{t.name: t for t in _INTEGERS},
    "timestamp": _integer_type("timestamp", 64, True),
    "duration": _integer_type("duration", 64, True),
    "f32": ColumnType("f32", float, _float32, float),
    "f64": ColumnType("f64", float, _float, float),
    "text": ColumnType("text", str, _text, str),
    "bytes": ColumnType("bytes", bytes, _exactly(bytes, "bytes"), bytes),
    "bool": ColumnType("bool", bool, _exactly(bool, "true or false"), int),
    "json": ColumnType("json", object, _json, str),
}

I8 = Annotated[int, TYPES["i8"]]
I16 = Annotated[int, TYPES["i16"]]
I32 = Annotated[int, TYPES["i32"]]
I64 = Annotated[int, TYPES["i64"]]
I128 = Annotated[int, TYPES["i128"]]
I256 = Annotated[int, TYPES["i256"]]
U8 = Annotated[int, TYPES["u8"]]
U16 = Annotated[int, TYPES["u16"]]
U32 = Annotated[int, TYPES["u32"]]
U64 = Annotated[int, TYPES["u64"]]
U128 = Annotated[int, TYPES["u128"]]
U256 = Annotated[int, TYPES["u256"]]
F32 = Annotated[float, TYPES["f32"]]
F64 = Annotated[float, TYPES["f64"]]
Timestamp = Annotated[int, TYPES["timestamp"]]
"""Microseconds since 1970-01-01 UTC."""
Duration = Annotated[int, TYPES["duration"]]
"""Microseconds."""
Json = Annotated[Any, TYPES["json"]]
"""Any JSON value. It is copied when stored; change it by storing a new one."""

_PLAIN = {int: "i64", float: "f64", str: "text", bytes: "bytes", bool: "bool"}


def enum_type(members: type[enum.StrEnum]) -> ColumnType:
    """The column type of a ``StrEnum``; the member's value is what SQL and JSON see."""
    values = tuple(str(m.value) for m in members)
    by_value = {m.value: m for m in members}

    def check(value: Any) -> Any:
        member = by_value.get(value) if isinstance(value, str) else None
        if member is None:
            raise ValueError(f"expected one of {', '.join(values)}")
        return member

    return ColumnType("enum", str, check, str, values=values, enum=members)


def _enum_by_values(values: tuple[str, ...]) -> ColumnType:
    def check(value: Any) -> Any:
        if value in values:
            return value
        raise ValueError(f"expected one of {', '.join(values)}")

    return ColumnType("enum", str, check, str, values=values)


def type_from_json(stored: dict[str, Any]) -> ColumnType:
    """The type written by ``ColumnType.to_json``; an enum comes back as plain text with the same values."""
    if stored["type"] == "enum":
        return _enum_by_values(tuple(stored["values"]))
    return TYPES[stored["type"]]


def type_of_annotation(annotation: Any, where: str) -> tuple[ColumnType, bool]:
    """``(column type, optional)`` of a resolved annotation; raises ``Refusal`` naming ``where`` otherwise."""
    optional = False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        arms = [a for a in typing.get_args(annotation) if a is not type(None)]
        optional = len(arms) < len(typing.get_args(annotation))
        if len(arms) != 1:
            raise Refusal("bad_declaration", f"{where}: a column holds one type, or one type | None")
        annotation = arms[0]
    if typing.get_origin(annotation) is Annotated:
        for extra in annotation.__metadata__:
            if isinstance(extra, ColumnType):
                return extra, optional
        annotation = annotation.__origin__
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        if not issubclass(annotation, enum.StrEnum) or not len(annotation):
            raise Refusal("bad_declaration", f"{where}: an enum column needs a StrEnum with members")
        return enum_type(annotation), optional
    if annotation in (list, dict) or typing.get_origin(annotation) in (list, dict):
        return TYPES["json"], optional
    if annotation in _PLAIN:
        return TYPES[_PLAIN[annotation]], optional
    raise Refusal(
        "bad_declaration",
        f"{where}: {annotation!r} is not a column type; use int, float, str, bytes, bool, a StrEnum, "
        "or one of the types of reactor.columns such as U32, Timestamp, Duration, Json",
    )


@dataclass(frozen=True, slots=True)
class Column:
    """One column of one table. ``check`` also lets ``None`` through where the column is optional."""

    name: str
    type: ColumnType
    optional: bool = False
    default: Any = MISSING

    @property
    def has_default(self) -> bool:
        """Whether an insert may leave the column out."""
        return self.default is not MISSING or self.optional

    def default_value(self) -> Any:
        """The default; ``None`` for an optional column that names none."""
        return None if self.default is MISSING else self.default

    def checker(self) -> Check:
        """A function that returns the value to store or raises ``ValueError``."""
        if not self.optional:
            return self.type.check
        check = self.type.check
        return lambda value: None if value is None else check(value)

    def to_json(self) -> dict[str, Any]:
        """The column as stored with the data."""
        stored: dict[str, Any] = {"name": self.name, **self.type.to_json(), "optional": self.optional}
        if self.default is not MISSING:
            stored["default"] = log_value(self.type, self.default)
        return stored

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Column:
        """The inverse of ``to_json``."""
        kind = type_from_json(stored)
        default = MISSING
        if "default" in stored:
            default = memory_value(kind, stored["default"])
        return cls(stored["name"], kind, stored["optional"], default)


# -- between the forms ----------------------------------------------------------------------


def log_value(kind: ColumnType, value: Any) -> Any:
    """A value in memory as it is written to the log."""
    if value is None:
        return None
    if kind.is_wide:
        return str(value)
    if kind.name == "bytes":
        return bytes(value)
    return value


def memory_value(kind: ColumnType, value: Any) -> Any:
    """A value of the log as it is kept in memory."""
    if value is None:
        return None
    if kind.is_wide:
        return int(value)
    return kind.check(value) if kind.name == "enum" else value


def _sql_integer(value: Any) -> Any:
    number = int(value)
    if INT64_MIN <= number <= INT64_MAX:
        return number
    return f"{number:0{_WIDE_DIGITS}d}"


def sql_converter(kind: ColumnType) -> Check | None:
    """A function from log value to SQL value (``None`` passes through); None when they are the same."""
    if kind.sql is bytes and kind.is_integer:
        return lambda value: None if value is None else _sql_integer(value)
    if kind.name == "json":
        return lambda value: None if value is None else orjson.dumps(value).decode()
    if kind.name == "bool":
        return lambda value: None if value is None else int(value)
    return None


def memory_converter(kind: ColumnType) -> Check | None:
    """A function from SQL value to the value in memory; None when they are the same."""
    if kind.sql is bytes and kind.is_integer:
        return lambda value: int(value) if type(value) is str else value
    if kind.name == "json":
        return lambda value: None if value is None else orjson.loads(value)
    if kind.name == "bool":
        return lambda value: None if value is None else bool(value)
    if kind.enum is not None:
        members: dict[Any, Any] = {None: None, **{m.value: m for m in kind.enum}}
        return members.__getitem__
    return None
