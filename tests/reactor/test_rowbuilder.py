"""``reactor.rowbuilder``: the generated insert checks exactly as the columns do."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.columns import TYPES, Column, Timestamp, enum_type
from reactor.rowbuilder import compile_builder, sharing
from reactor.schema import TableSchema, declare_table, primary_key, row_class


class Colour(enum.StrEnum):
    """An enum column."""

    RED = "red"


_KINDS = [*TYPES.values(), enum_type(Colour)]
_ANYTHING: list[Any] = [
    None, True, 0, 1, -1, 127, 128, 255, 256, 1 << 63, 1 << 64, 1 << 255, 1 << 256, 0.5, float("inf"), float("nan"),
    "", "red", "é", "\ud800", b"", [], {"a": 1}, {1: 2}, object(),
]  # fmt: skip


@given(st.sampled_from(_KINDS), st.booleans(), st.sampled_from(_ANYTHING))
def test_built_rows_hold_what_the_column_check_returns(kind: Any, optional: bool, value: Any) -> None:
    """The fast path takes and refuses the same values as ``Column.checker``."""
    column = Column("c", kind, optional)
    columns = (Column("id", TYPES["i64"]), column)
    schema = TableSchema("t", columns, "id", row_type=row_class("T", columns))
    build = compile_builder(schema)
    try:
        expected = column.checker()(value)
    except ValueError:
        with pytest.raises(ValueError, match="expected"):
            build(id=1, c=value)
    else:
        assert repr(build(id=1, c=value).c) == repr(expected)


_NAMES = {
    "build": int, "type": str, "int": float, "str": bytes, "bool": bool, "float": str | None, "bytes": int | None,
    "self": int, "columns": int,
}  # fmt: skip
_DEFAULTS = {"build": primary_key(), "type": "t", "int": 1.5, "str": b"", "bool": True}


def test_columns_may_be_called_like_builtins() -> None:
    """A column named ``type`` is the commonest of all in a game."""
    names = type("Names", (), {"__annotations__": _NAMES, **_DEFAULTS})
    build = compile_builder(declare_table(names))
    row = build(build=1, type="boss", int=2, bytes=3, self=4, columns=5)
    assert (row.type, row.int, row.str, row.bool, row.float, row.bytes, row.self, row.columns) == (
        "boss", 2.0, b"", True, None, 3, 4, 5,
    )  # fmt: skip


def test_missing_and_unknown_columns() -> None:
    """Both are a ``TypeError``, which the table explains."""

    class Plain:
        id: int = primary_key(auto=True)
        hp: int
        tags: list = []  # type: ignore[type-arg]

    build = compile_builder(declare_table(Plain))
    assert build(hp=1).id == 0
    assert build(hp=1).tags is not build(hp=1).tags, "a default is copied for each row"
    with pytest.raises(TypeError):
        build()
    with pytest.raises(TypeError):
        build(hp=1, nope=2)


def test_equal_numbers_of_several_tables_are_one_object() -> None:
    """REQ-21: an id and what refers to it, read from storage apart; never a time, which hardly repeats."""
    numbers: dict[int, int] = {}
    schema = declare_table(_Referring, name="referring")
    first = next(iter(sharing(schema, [(int("1000"), int("7000"), int("9000"))], numbers)))
    second = next(iter(sharing(schema, [(int("1001"), int("1000"), int("9000"))], numbers)))
    assert first[0] is second[1]
    assert first[2] is not second[2]
    assert sorted(numbers) == [1000, 1001, 7000]


class _Referring:
    id: int = primary_key()
    other: int | None
    at: Timestamp
