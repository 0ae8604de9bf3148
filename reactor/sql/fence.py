"""Which tables and functions a statement may touch: SQLite asks the fence while it prepares one.

Both lists say what is allowed. A table nobody declared, a virtual table, a function of a later SQLite: closed
until someone opens it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

_SCALARS = """
abs acos acosh asin asinh atan atan2 atanh ceil ceiling char coalesce concat concat_ws cos cosh current_date
current_time current_timestamp date datetime degrees exp floor format glob hex ifnull iif instr julianday length
like likelihood likely ln log log10 log2 lower ltrim max min mod nullif octet_length pi pow power printf quote
radians random randomblob replace round rtrim sign sin sinh soundex sqlite_version sqrt strftime substr substring
subtype tan tanh time timediff trim trunc typeof unhex unicode unixepoch unlikely upper zeroblob
"""
_AGGREGATES = """
avg count cume_dist dense_rank first_value group_concat lag last_value lead nth_value ntile percent_rank rank
row_number string_agg sum total
"""
_JSON = """
json json_array json_array_length json_error_position json_extract json_group_array json_group_object json_insert
json_object json_patch json_quote json_remove json_replace json_set json_type json_valid -> ->>
"""
_FUNCTIONS = frozenset(_SCALARS.split()) | frozenset(_AGGREGATES.split()) | frozenset(_JSON.split())
_TABLE_FUNCTIONS = frozenset({"json_each", "json_tree"})
_OWNER_TABLES = frozenset(
    {
        *("sqlite_master", "sqlite_schema", "sqlite_temp_master", "sqlite_temp_schema"),
        *("sqlite_sequence", "sqlite_stat1", "sqlite_stat4", "reactor_meta"),
    }
)
_SYSTEM_PREFIXES = ("sqlite_", "pragma_")

_DESCRIBE = "; `reactor describe` shows tables, columns, indexes"

_READ = sqlite3.SQLITE_READ
_PLAIN = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})


class Fence:
    """The authorizer of one run. ``refused`` says in one sentence what it stopped, None if nothing.

    ``visible``: lower-case names that may be read. ``existing``: lower-case names of every real table and
    view. ``late`` tells whether the deadline has passed: preparing has no other place to be stopped.
    """

    def __init__(
        self,
        visible: frozenset[str],
        existing: frozenset[str],
        *,
        owner: bool,
        late: Callable[[], bool],
    ) -> None:
        self._visible = visible | _TABLE_FUNCTIONS | (_OWNER_TABLES if owner else frozenset())
        self._existing = existing
        self._owner = owner
        self._late = late
        self.refused: str | None = None
        self.too_late = False

    def __call__(
        self, action: int, first: str | None, second: str | None, _database: str | None, _within: str | None
    ) -> int:
        """SQLite's question; the answer is ``SQLITE_OK`` or ``SQLITE_DENY``."""
        if self._late():
            self.too_late = True
            return sqlite3.SQLITE_DENY
        if action in _PLAIN:
            return sqlite3.SQLITE_OK
        if action == _READ:
            return self._read((first or "").lower(), second or "")
        if action == sqlite3.SQLITE_FUNCTION:
            name = (second or "").lower()
            return sqlite3.SQLITE_OK if name in _FUNCTIONS else self._refuse(f"The function {name} is not open")
        if action == sqlite3.SQLITE_UPDATE and (first or "").startswith("sqlite_"):
            # What SQLite asks first when a virtual table that we have not made ready is named.
            return self._refuse("Only tables, json_each and json_tree can be read" + _DESCRIBE)
        return self._refuse("SQL only reads; to change rows, call a reducer")

    def _read(self, table: str, column: str) -> int:
        if table in self._visible:
            return sqlite3.SQLITE_OK
        if table.startswith(_SYSTEM_PREFIXES):
            return self._refuse(f"The table {table} is not open to you" + _DESCRIBE)
        # Without a column SQLite passes the name as written in the FROM clause, which may be a WITH
        # table of the statement itself; such a name is nobody's secret unless a real table bears it.
        if not column and table not in self._existing:
            return sqlite3.SQLITE_OK
        reason = "is not one of the declared tables" if self._owner else "is private: only the owner may read it"
        return self._refuse(f"The table {table} {reason}")

    def _refuse(self, reason: str) -> int:
        # The first reason is the statement's own; later ones follow from it.
        self.refused = self.refused or f"{reason}."
        return sqlite3.SQLITE_DENY
