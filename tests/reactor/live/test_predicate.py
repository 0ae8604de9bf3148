"""Compiled conditions: LIKE that cannot run away, constants that cannot become code, NULL."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reactor.columns import TYPES
from reactor.live import parse_live_query
from reactor.live.like import PATTERN_CHARS_MAX, like_matcher
from tests.reactor.live.support import make_schema

_SQLITE = sqlite3.connect(":memory:")
_LETTERS = st.text(st.sampled_from("aAbB%_\\éÉſKk\nı"), max_size=8)


def _like(text: str, pattern: str, escape: str | None) -> bool:
    return bool(like_matcher(pattern, escape)(text))


@settings(max_examples=1500, deadline=None)
@given(
    st.text(st.sampled_from("aAbB%_\\éÉſKk\0\nı"), max_size=8),
    _LETTERS,
    st.sampled_from([None, "\\", "%", "_", "a", "é"]),
)
@example("É", "é", None)
@example("\N{KELVIN SIGN}", "k", None)
@example("ab\0c", "a_", None)
def test_like_is_sqlites(text: str, pattern: str, escape: str | None) -> None:
    """Wildcards, escapes (also % and _ as escapes), ASCII case and the end at a NUL are SQLite's."""
    if escape is None:
        (expected,) = _SQLITE.execute("SELECT ? LIKE ?", (text, pattern)).fetchone()
    else:
        (expected,) = _SQLITE.execute("SELECT ? LIKE ? ESCAPE ?", (text, pattern, escape)).fetchone()
    assert _like(text, pattern, escape) == bool(expected)


@pytest.mark.parametrize("pattern", ["%a" * (PATTERN_CHARS_MAX // 2) + "b", "%" + "a_" * 250 + "%b", "%a%_%a%_%b" * 20])
def test_a34_a_hostile_like_costs_no_more_than_its_length(pattern: str) -> None:
    """A34: a pattern made to backtrack is answered at once."""
    started = time.perf_counter()
    assert not _like("a" * 20_000, pattern, None)
    assert time.perf_counter() - started < 2.0


SCHEMA = make_schema(
    "t",
    [
        ("id", TYPES["i64"], False),
        ("x", TYPES["i64"], True),
        ("f", TYPES["f64"], False),
        ("j", TYPES["json"], False),
        ("class", TYPES["i64"], False),
        ("s", TYPES["text"], False),
    ],
    "id",
)


def _matches(condition: str, **values: Any) -> bool:
    row = {"id": 1, "x": 1, "f": 1.0, "j": None, "class": 1, "s": ""} | values
    found = parse_live_query(f"SELECT * FROM t WHERE {condition}", {"t": SCHEMA}).matches(SCHEMA.row_type(**row))
    assert type(found) is bool
    return found


@pytest.mark.parametrize(
    "condition",
    ["x = 1", "x <> 1", "x < 1", "NOT x < 1", "x IN (1)", "x NOT IN (1, 2)", "x BETWEEN 0 AND 9", "x = NULL"],
)
def test_a_comparison_with_null_is_never_true(condition: str) -> None:
    """Neither the condition nor its negation holds for NULL."""
    assert not _matches(condition, x=None)
    assert not _matches(f"NOT ({condition})", x=None)
    assert _matches(f"x IS NULL OR ({condition})", x=None)


def test_json_null_is_null_also_where_the_column_is_not_optional() -> None:
    """A json column may hold JSON's null, which is SQL's NULL."""
    assert _matches("j IS NULL", j=None)
    assert _matches("j IS NOT NULL", j=0)


def test_a_column_named_like_a_python_keyword_works() -> None:
    """Column names are the author's, not Python's."""
    assert _matches("class = 1 AND class < 2")
    assert not _matches("class > 1")


def test_no_text_of_a_query_becomes_code() -> None:
    """Constants are bound, never interpolated."""
    hostile = "') or __import__(\"os\").abort() or ('\\"
    assert _matches("s = '" + hostile.replace("'", "''") + "'", s=hostile)
    assert not _matches("s = '" + hostile.replace("'", "''") + "'", s="x")
