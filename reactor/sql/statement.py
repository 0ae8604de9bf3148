"""A statement's text and parameters, looked at before SQLite sees them.

The authorizer is what keeps a statement from writing. Looking at its first word as well gives the better
message, and stops `VACUUM INTO`, which SQLite lets a read-only connection do.
"""

from __future__ import annotations

import re
from typing import Any

from reactor.columns import TYPES, sql_converter
from reactor.errors import refuse
from reactor.sql.messages import Params, SqlCaps

_READING = {"SELECT", "WITH", "VALUES"}
_OTHER = {
    *("ALTER", "ANALYZE", "ATTACH", "BEGIN", "COMMIT", "CREATE", "DELETE", "DETACH", "DROP", "END", "INSERT"),
    *("PRAGMA", "REINDEX", "RELEASE", "REPLACE", "ROLLBACK", "SAVEPOINT", "UPDATE", "VACUUM"),
}
_SKIPPED = re.compile(r"(?:[ \t\n\f\r;]+|--[^\n]*|/\*.*?(?:\*/|\Z))*", re.DOTALL)
_WORD = re.compile(r"\w+")
_EXPLAIN = re.compile(r"EXPLAIN\b", re.IGNORECASE)
_QUERY_PLAN = re.compile(r"QUERY\b", re.IGNORECASE), re.compile(r"PLAN\b", re.IGNORECASE)

_wide_integer = sql_converter(TYPES["i256"])


def checked_statement(sql: str, caps: SqlCaps) -> str:
    """The text to run: no leading comments and semicolons; ``SenderError`` unless it begins like a query.

    Raises ``bad_sql`` for text that is empty, too long, not Unicode or holds NUL, and ``sql_forbidden`` for
    statements that do something other than read.
    """
    if len(sql) > caps.sql_chars:
        refuse("bad_sql", f"The statement has {len(sql)} characters; the cap is {caps.sql_chars}.")
    if "\0" in sql:
        refuse("bad_sql", "The statement holds a NUL character; write char(0) where you need one.")
    _encodable(sql, "The statement")
    start = _skip(sql, 0)
    word_at = start
    explain = _EXPLAIN.match(sql, start)
    if explain:
        word_at = _skip(sql, explain.end())
        for part in _QUERY_PLAN:
            found = part.match(sql, word_at)
            word_at = _skip(sql, found.end()) if found else word_at
    _check_word(sql, word_at)
    return sql[start:]


def _skip(sql: str, at: int) -> int:
    found = _SKIPPED.match(sql, at)
    return found.end() if found else at


def _check_word(sql: str, at: int) -> None:
    if at >= len(sql):
        refuse("bad_sql", "The statement is empty; write for example SELECT COUNT(*) FROM workflow.")
    found = _WORD.match(sql, at)
    word = found.group().upper() if found else sql[at]
    if word in _READING:
        return
    if word == "PRAGMA":
        refuse("sql_forbidden", "PRAGMA is not available here; `reactor describe` shows tables, columns, indexes.")
    if word in _OTHER:
        refuse("sql_forbidden", f"{word} is not available here: SQL only reads. To change rows, call a reducer.")
    refuse(
        "bad_sql",
        f"The statement begins with {word[:40]!r}; begin with SELECT, WITH, VALUES or EXPLAIN QUERY PLAN.",
    )


def _encodable(text: str, what: str) -> None:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            refuse("bad_sql", f"{what} holds half of a surrogate pair, which is not Unicode text.")


def bound_values(params: Params) -> Params:
    """The parameters as SQLite takes them; ``bad_sql`` names the one that is not a JSON scalar.

    Whole numbers past 64 bits become the text that such columns hold in the projection, so they compare
    equal.
    """
    if isinstance(params, dict):
        return {_name(name): _bound(value, f":{name}") for name, value in params.items()}
    return [_bound(value, f"number {n}") for n, value in enumerate(params, 1)]


def _name(name: Any) -> str:
    if not isinstance(name, str):
        refuse("bad_sql", f"A parameter's name is text, not {type(name).__name__}.")
    _encodable(name, "A parameter's name")
    return name


def _bound(value: Any, which: str) -> Any:
    if value is None or isinstance(value, float):
        return value
    if isinstance(value, int):
        return _wide_integer(int(value)) if _wide_integer else value
    if isinstance(value, str):
        _encodable(value, f"Parameter {which}")
        return str(value)
    return refuse(
        "bad_sql",
        f"Parameter {which} is a {type(value).__name__}; it can be null, true, false, a number or text.",
    )
