"""SQLite's errors as ours: a stable code, SQLite's own words, and what to try instead."""

from __future__ import annotations

import difflib
import re
import sqlite3
from collections.abc import Callable, Sequence

from reactor.errors import Fault, ReactorError, SenderError

_NO_TABLE = re.compile(r"no such table: (?:(?:main|temp)\.)?(.+)")
_NO_COLUMN = re.compile(r"no such column: (?:.*\.)?(.+)")
_LISTED_MAX = 40

_STORE_CODES = frozenset(
    {
        *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY),
        *(sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL),
        *(sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_FULL),
    }
)


def deadline_error(deadline_s: float) -> SenderError:
    """The query ran longer than it may."""
    return SenderError(
        "sql_deadline",
        f"The query was stopped after {deadline_s:g} s, its deadline; narrow the WHERE or use an indexed column "
        "(EXPLAIN QUERY PLAN shows which are used).",
        deadline_s=deadline_s,
    )


def too_large(cap: str, limit: int, what: str) -> SenderError:
    """The query needs more than ``limit``; ``cap`` is ``rows``, ``result_bytes``, ``value_bytes``, ``memory_bytes``."""
    return SenderError("sql_too_large", what, cap=cap, limit=limit)


def out_of_memory(memory_bytes: int) -> SenderError:
    """The query needs more working memory than the reader has."""
    return too_large(
        "memory_bytes",
        memory_bytes,
        f"The query needs more working memory than {memory_bytes} bytes, the cap; sort, group or join fewer rows.",
    )


def unavailable(reason: object) -> Fault:
    """The projection cannot be read at the moment."""
    return Fault("sql_unavailable", f"The SQL reader cannot read the tables at the moment: {reason}.")


def is_store_error(error: sqlite3.Error) -> bool:
    """Whether the file or its state is the cause, not the statement: the connection is better reopened."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _STORE_CODES


def statement_error(
    error: Exception, sql: str, names: Sequence[str], columns_of: Callable[[str], Sequence[str]]
) -> ReactorError:
    """The error of a statement that SQLite, or Python's binding, would not run.

    ``names`` are the tables and views the sender may see; ``columns_of`` gives the columns of one of them.
    """
    message = str(error).rstrip(".") or type(error).__name__
    if "one statement at a time" in message:
        return SenderError("bad_sql", "Send one statement at a time; several are not supported.")
    if "decode to UTF-8" in message:
        return SenderError("bad_sql", "A text value is not valid UTF-8; read it as hex(value) or as a BLOB.")
    return SenderError("bad_sql", f"{message}.{_hint(message, sql, names, columns_of)}")


def _hint(message: str, sql: str, names: Sequence[str], columns_of: Callable[[str], Sequence[str]]) -> str:
    table = _NO_TABLE.search(message)
    if table:
        return _closest(table[1], names) + f" Tables: {_listed(names)}."
    column = _NO_COLUMN.search(message)
    if column:
        words = {w.lower() for w in re.findall(r"\w+", sql)}
        used = [(name, list(columns_of(name))) for name in names if name.lower() in words]
        lists = "".join(f" Columns of {name}: {_listed(columns)}." for name, columns in used)
        return _closest(column[1], [c for _, columns in used for c in columns]) + lists
    return ""


def _closest(wanted: str, there_are: Sequence[str]) -> str:
    found = difflib.get_close_matches(wanted.lower(), there_are, n=1)
    return f" Did you mean {found[0]}?" if found else ""


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_LISTED_MAX]) or "none"
    return f"{shown} and {len(names) - _LISTED_MAX} more" if len(names) > _LISTED_MAX else shown
