"""``reactor.columns``: what each column type holds, and its forms in memory, log, SQL and JSON."""

from __future__ import annotations

import enum
import math
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.columns import (
    TYPES,
    U64,
    Column,
    ColumnType,
    Json,
    Timestamp,
    enum_type,
    log_value,
    memory_converter,
    memory_value,
    sql_converter,
    type_from_json,
    type_of_annotation,
)
from reactor.errors import Refusal


class Colour(enum.StrEnum):
    """An enum column."""

    RED = "red"
    BLUE = "blue"


class _Text(str):
    __slots__ = ()


INTEGERS = [kind for kind in TYPES.values() if kind.is_integer]


@pytest.mark.parametrize("kind", INTEGERS, ids=lambda kind: kind.name)
def test_integer_bounds(kind: ColumnType) -> None:
    """The bounds are in, one further is out, and neither floats nor booleans pass for integers."""
    assert kind.low is not None
    assert kind.high is not None
    bits = 64 if kind.name in ("timestamp", "duration") else int(kind.name[1:])
    signed = kind.name[0] != "u"
    assert (kind.low, kind.high) == ((-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1))
    for value in (kind.low, kind.high):
        assert kind.check(value) == value
    for wrong in (kind.low - 1, kind.high + 1, 1.0, True, "1", None):
        with pytest.raises(ValueError, match="whole number"):
            kind.check(wrong)


@pytest.mark.parametrize(
    ("name", "good", "wrong"),
    [
        ("f64", [0.5, math.inf, -0.0], ["1", None, True, math.nan, 10**400]),
        ("f32", [0.5, math.inf], ["1", None, math.nan, 1e300, 10**400]),
        ("text", ["", "é😀", "x\0y"], [b"x", None, 1, "\ud800", _Text("\udfff")]),
        ("bytes", [b"", b"\xff"], ["x", bytearray(b"x"), None]),
        ("bool", [True, False], [1, 0, None, "true"]),
        ("json", [None, 1, "a", [1, {"a": 2.5}]], [{1: 2}, object(), "\ud800", 1 << 70, {"a": {1}}]),
    ],
)
def test_what_other_types_take(name: str, good: list[Any], wrong: list[Any]) -> None:
    """Each type takes its own values and explains every other."""
    kind = TYPES[name]
    for value in good:
        assert kind.check(value) == value
    for value in wrong:
        with pytest.raises(ValueError, match="expected"):
            kind.check(value)


def test_numbers_are_stored_as_they_will_be_read() -> None:
    """f32 is rounded when stored; an int in a float column becomes a float; text is plain text."""
    assert TYPES["f32"].check(0.1) == pytest.approx(0.1, rel=1e-7)
    assert TYPES["f32"].check(0.1) != 0.1
    assert TYPES["f32"].check(TYPES["f32"].check(0.1)) == TYPES["f32"].check(0.1)
    assert type(TYPES["f64"].check(3)) is float
    assert type(TYPES["text"].check(_Text("a"))) is str


def test_json_is_cut_loose_from_the_callers_object() -> None:
    """What the caller changes later does not change the row."""
    mine = {"list": [1]}
    stored = TYPES["json"].check(mine)
    mine["list"].append(2)
    assert stored == {"list": [1]}
    assert TYPES["json"].check((1, 2)) == [1, 2]


def test_json_too_deep_to_store_is_refused() -> None:
    """A value that no reader could decode is not stored."""
    deep: Any = []
    for _ in range(2000):
        deep = [deep]
    with pytest.raises(ValueError, match="expected a JSON value"):
        TYPES["json"].check(deep)


def test_enums() -> None:
    """A member or its value is stored as the member; anything else names the members."""
    kind = enum_type(Colour)
    assert kind.check("red") is Colour.RED
    assert kind.check(Colour.BLUE) is Colour.BLUE
    for wrong in ("green", 1, None):
        with pytest.raises(ValueError, match="red, blue"):
            kind.check(wrong)


def test_a_stored_enum_comes_back_without_its_class() -> None:
    """Old data can be read when the class has gone."""
    kind = type_from_json(enum_type(Colour).to_json())
    assert kind.values == ("red", "blue")
    assert kind.check("red") == "red"
    with pytest.raises(ValueError, match="one of red"):
        kind.check("green")


@pytest.mark.parametrize(
    ("annotation", "name", "optional"),
    [
        (int, "i64", False),
        (float | None, "f64", True),
        (str, "text", False),
        (bytes, "bytes", False),
        (bool, "bool", False),
        (U64, "u64", False),
        (Timestamp | None, "timestamp", True),
        (Json, "json", False),
        (list[int], "json", False),
        (dict[str, int] | None, "json", True),
        (Colour, "enum", False),
        (Annotated[int, "a note"], "i64", False),
    ],
)
def test_annotations(annotation: Any, name: str, optional: bool) -> None:
    """Annotations an author writes."""
    kind, is_optional = type_of_annotation(annotation, "here")
    assert (kind.name, is_optional) == (name, optional)


class _Empty(enum.StrEnum):
    pass


@pytest.mark.parametrize("annotation", [int | str, complex, set[int], enum.Enum, enum.IntEnum, _Empty, None, "x"])
def test_annotations_that_are_no_columns(annotation: Any) -> None:
    """The refusal names the place."""
    with pytest.raises(Refusal, match="table t, column c"):
        type_of_annotation(annotation, "table t, column c")


def _values(kind: ColumnType) -> st.SearchStrategy[Any]:
    if kind.is_integer:
        return st.integers(kind.low, kind.high)
    json: st.SearchStrategy[Any] = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
    return {
        "f32": st.floats(width=32, allow_nan=False),
        "f64": st.floats(allow_nan=False),
        "text": st.text(),
        "bytes": st.binary(),
        "bool": st.booleans(),
        "json": json.filter(lambda value: "inf" not in repr(value)),
        "enum": st.sampled_from(list(Colour)),
    }[kind.name]


@given(st.data())
def test_every_form_gives_the_value_back(data: st.DataObject) -> None:
    """Memory to log to memory, and memory to SQL to memory, for every type and value."""
    kind = data.draw(st.sampled_from([*TYPES.values(), enum_type(Colour)]))
    value = kind.check(data.draw(_values(kind)))
    logged = msgspec.msgpack.decode(msgspec.msgpack.encode(log_value(kind, value)))
    assert memory_value(kind, logged) == value
    to_sql, from_sql = sql_converter(kind), memory_converter(kind)
    stored = logged if to_sql is None else to_sql(logged)
    assert stored is None or isinstance(stored, int | float | str | bytes)
    assert type(stored) is not int or -(2**63) <= stored < 2**63
    assert (stored if from_sql is None else from_sql(stored)) == value


@given(st.sampled_from(INTEGERS), st.data())
def test_wide_integers_keep_their_order_in_sql(kind: ColumnType, data: st.DataObject) -> None:
    """SQLite sorts numbers before text, and zero-padded text like numbers: order holds from -2^63 up."""
    assert kind.low is not None
    low, high = sorted(data.draw(st.lists(st.integers(max(kind.low, -(2**63)), kind.high), min_size=2, max_size=2)))
    convert = sql_converter(kind) or (lambda value: value)
    forms = [convert(log_value(kind, value)) for value in (low, high)]
    keys = [(isinstance(form, str), form) for form in forms]
    assert keys == sorted(keys)


def test_columns_as_stored() -> None:
    """A column survives being stored, with its default, also one of a wide type."""
    for column in (
        Column("a", TYPES["u256"], default=1 << 200),
        Column("b", TYPES["text"], optional=True),
        Column("c", TYPES["timestamp"]),
        Column("d", TYPES["json"], default={"x": [1]}),
    ):
        back = Column.from_json(column.to_json())
        assert (back.name, back.type.name, back.optional, back.default) == (
            column.name,
            column.type.name,
            column.optional,
            column.default,
        )
    assert Column("b", TYPES["i8"], optional=True).has_default
    assert not Column("b", TYPES["i8"]).has_default
    assert Column("b", TYPES["i8"], optional=True).checker()(None) is None
    with pytest.raises(ValueError, match="whole number"):
        Column("b", TYPES["i8"]).checker()(None)
