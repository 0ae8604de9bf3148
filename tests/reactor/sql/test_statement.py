"""Text and parameters before SQLite sees them."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.errors import SenderError
from reactor.sql.messages import DEFAULT_CAPS, SqlCaps
from reactor.sql.statement import bound_values, checked_statement


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "select 1;",
        "VALUES (1)",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "EXPLAIN QUERY PLAN SELECT 1",
        "explain /* why */ query -- so\n plan with x as (select 1) select * from x",
        "EXPLAIN SELECT 1",
        " \t\r\n\f;; -- a comment\n/* another; DROP TABLE x */ SELECT 1",
        "-- no end of line in front\nSELECT(1)",
    ],
)
def test_reading_statements_pass(sql: str) -> None:
    """Comments, blanks and semicolons in front do not matter."""
    assert checked_statement(sql, DEFAULT_CAPS) in sql


def test_what_stands_in_front_is_dropped() -> None:
    """SQLite would take a leading semicolon for an empty first statement."""
    assert checked_statement(" ; /* x */ SELECT 1 ; ", DEFAULT_CAPS) == "SELECT 1 ; "


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO t VALUES (1)",
        "update t set a = 1",
        "DELETE FROM t",
        "REPLACE INTO t VALUES (1)",
        "DROP TABLE t",
        "CREATE TEMP TABLE t(a)",
        "ALTER TABLE t ADD b",
        "ATTACH 'x' AS y",
        "DETACH y",
        "PRAGMA table_info(t)",
        "BEGIN",
        "COMMIT",
        "END",
        "ROLLBACK",
        "SAVEPOINT s",
        "RELEASE s",
        "VACUUM INTO 'x'",
        "REINDEX",
        "ANALYZE",
        "EXPLAIN VACUUM",
        "EXPLAIN QUERY PLAN DELETE FROM t",
        "/* SELECT */ DROP TABLE t",
        "--SELECT 1\nDROP TABLE t",
    ],
)
def test_other_statements_are_forbidden(sql: str) -> None:
    """Every other kind of statement is named and refused."""
    with pytest.raises(SenderError) as caught:
        checked_statement(sql, DEFAULT_CAPS)
    assert caught.value.code == "sql_forbidden"


def test_pragma_points_to_describe() -> None:
    """Who asks for PRAGMA table_info wants the columns."""
    with pytest.raises(SenderError, match="reactor describe"):
        checked_statement("PRAGMA table_info(workflow)", DEFAULT_CAPS)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("", "empty"),
        (" ;; ", "empty"),
        ("-- only a comment", "empty"),
        ("/* never closed SELECT 1", "empty"),
        ("EXPLAIN", "empty"),
        ("SELCT 1", "SELCT"),
        ("(SELECT 1)", "begin with SELECT"),
        ("\ufeffSELECT 1", "begin with SELECT"),
        ("ＳＥＬＥＣＴ 1", "begin with SELECT"),
        ("SELECT '\0'", "NUL"),
        ("SELECT '\ud800'", "surrogate"),
    ],
)
def test_bad_text(sql: str, words: str) -> None:
    """What is no statement at all is bad_sql with the reason."""
    with pytest.raises(SenderError, match=words) as caught:
        checked_statement(sql, DEFAULT_CAPS)
    assert caught.value.code == "bad_sql"


def test_length_is_capped() -> None:
    """The cap is in the message; one character less passes."""
    caps = SqlCaps(deadline_s=1, rows=1, result_bytes=1, sql_chars=20)
    assert checked_statement("SELECT 1".ljust(20), caps)
    with pytest.raises(SenderError, match="21 characters; the cap is 20"):
        checked_statement("SELECT 1".ljust(21), caps)


def test_scalars_are_bound() -> None:
    """JSON's scalars pass, true and false as 1 and 0."""
    assert bound_values([None, True, 2, 2.5, "x"]) == [None, 1, 2, 2.5, "x"]
    assert bound_values({"a": 1, "b": None}) == {"a": 1, "b": None}


@pytest.mark.parametrize("number", [(1 << 63) - 1, -(1 << 63)])
def test_64_bit_integers_stay_numbers(number: int) -> None:
    """The ends of the range are still SQLite integers."""
    assert bound_values([number]) == [number]


def test_wide_integers_are_bound_as_stored() -> None:
    """A u64 past 2^63 is zero-padded text in the projection, and so as a parameter."""
    (value,) = bound_values([1 << 63])
    assert isinstance(value, str)
    assert len(value) == 78
    assert int(value) == 1 << 63


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ([1, [2]], "number 2 is a list"),
        ({"a": {"b": 1}}, ":a is a dict"),
        ([b"x"], "number 1 is a bytes"),
        (["\udfff"], "surrogate"),
        ({"\udfff": 1}, "surrogate"),
        ({1: 1}, "name is text"),
    ],
)
def test_other_values_are_refused(params: Any, words: str) -> None:
    """The message says which parameter."""
    with pytest.raises(SenderError, match=words) as caught:
        bound_values(params)
    assert caught.value.code == "bad_sql"
