"""One reading statement, run on one connection under limits, deadline and caps.

Layers, each enough for most of what can go wrong: the connection is opened read-only by its owner; for the time
of a run ``query_only`` is on, the authorizer (see ``fence``) knows every table and function that may be used,
SQLite's own limits keep each single operation short, a progress handler watches the deadline, and rows leave
through an encoder that counts bytes. Whatever sorts or groups does so in memory, under the heap limit that the
reader process sets for itself; nothing can fill a disk. What is left, a single slow operation, is ended by the
parent of the reader process.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from reactor.errors import Fault, ReactorError, SenderError
from reactor.sql import failures
from reactor.sql.fence import Fence
from reactor.sql.formats import Encoder, encoder
from reactor.sql.messages import ReportRequest, SqlCaps, SqlRequest, SqlResult, SqlTables, Statement
from reactor.sql.statement import bound_values, checked_statement

# A workflow state of 1 MiB and some JSON around it. instr() and replace() of two values of n bytes take n²/4
# steps, so this is also what keeps one function call within seconds.
VALUE_BYTES_MAX = (1 << 20) + (64 << 10)

_SQLITE_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: VALUE_BYTES_MAX,
    # Characters are capped before; in UTF-8 one has up to four bytes.
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1 << 20,
    # LIKE takes up to (value bytes x pattern bytes) steps.
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 256,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 50_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 500,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 100,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 100,
    sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER: 1_000,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
# Virtual machine steps between two looks at the clock: some 7 us of plain steps, and 3 % of their time.
_STEPS_PER_LOOK = 300

Clock = Callable[[], float]


class Guard:
    """Runs statements on ``connection``, which must not be inside a transaction.

    Outside of ``run`` the connection is as its owner left it, but for the views of ``tables`` (as TEMP views)
    and temporary storage in memory, which drops the TEMP tables it had. ``clock`` gives seconds for deadline and
    elapsed time. ``memory_bytes`` only names, in messages, the heap limit that the process has set.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        tables: SqlTables,
        *,
        clock: Clock = time.monotonic,
        memory_bytes: int = 0,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._memory_bytes = memory_bytes
        views = tuple(name for name, _ in tables.views)
        self._names = {
            True: (*tables.public, *tables.private, *views),
            False: (*tables.public, *views),
        }
        self._visible = {owner: frozenset(n.lower() for n in names) for owner, names in self._names.items()}
        connection.execute("PRAGMA temp_store = MEMORY")
        for name, select in tables.views:
            connection.execute(f'CREATE TEMP VIEW IF NOT EXISTS "{name}" AS {select}')

    def run(self, request: SqlRequest) -> SqlResult:
        """The encoded result of the statement over the newest committed state.

        Raises ``SenderError`` with ``bad_sql``, ``sql_forbidden``, ``sql_deadline`` or ``sql_too_large``, and
        ``Fault`` with ``sql_unavailable`` when the tables cannot be read; the connection is then better
        reopened.
        """
        sql = checked_statement(request.sql, request.caps)
        values = bound_values(request.params)
        rows_to = encoder(request.format)
        started = self._clock()
        deadline = started + request.caps.deadline_s

        def late() -> bool:
            return self._clock() > deadline

        with self._reading():
            fence = self._fence(request.owner, late)
            try:
                with self._fenced(fence, late):
                    count = self._fetch(sql, values, rows_to, request.caps)
            except (sqlite3.Error, sqlite3.Warning, MemoryError, OverflowError, ValueError) as error:
                raise self._explained(error, sql, request, fence) from None
        elapsed_us = round((self._clock() - started) * 1e6)
        content = rows_to.finish(elapsed_us)
        self._check_bytes(len(content), request.caps)
        return SqlResult(content, rows_to.content_type, count, elapsed_us)

    def report(self, request: ReportRequest) -> SqlResult:
        """The rows of a report's statements over the newest committed state, as msgpack.

        The statements are a module's own, so there is no fence; deadline and caps are those of any query. Raises as
        ``run`` does, and the refusal of a statement that found too much.
        """
        started = self._clock()
        deadline = started + request.caps.deadline_s

        def late() -> bool:
            return self._clock() > deadline

        results: list[list[tuple[Any, ...]]] = []
        with self._reading(), self._limited(late):
            for statement in request.statements:
                try:
                    results.append(self._rows(statement, request.caps))
                except (sqlite3.Error, sqlite3.Warning, MemoryError, OverflowError) as error:
                    raise self._report_failed(error, statement, request.caps) from None
        content = msgspec.msgpack.encode(results)
        self._check_bytes(len(content), request.caps)
        return SqlResult(content, "application/msgpack", sum(map(len, results)), round((self._clock() - started) * 1e6))

    def _rows(self, statement: Statement, caps: SqlCaps) -> list[tuple[Any, ...]]:
        rows = self._connection.execute(statement.sql, statement.params).fetchmany(caps.rows + 1)
        if len(rows) > caps.rows:
            raise failures.too_large("rows", caps.rows, f"The report has more than {caps.rows} rows, the cap.")
        if statement.most is not None and rows and rows[0][0] > statement.most:
            told = dict(statement.refusal)
            raise SenderError(told.pop("code"), told.pop("message"), **told)
        return rows

    def _report_failed(self, error: Exception, statement: Statement, caps: SqlCaps) -> ReactorError:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            return failures.deadline_error(caps.deadline_s)
        if isinstance(error, MemoryError) or code == sqlite3.SQLITE_NOMEM:
            return failures.out_of_memory(self._memory_bytes)
        if isinstance(error, sqlite3.Error) and failures.is_store_error(error):
            return failures.unavailable(error)
        return Fault("internal", f"a statement of the report failed: {error}")

    def _fence(self, owner: bool, late: Callable[[], bool]) -> Fence:
        # Also the first read of the transaction: from here on it sees one state.
        schema = "SELECT lower(name) FROM sqlite_master UNION ALL SELECT lower(name) FROM sqlite_temp_master"
        existing = frozenset(name for (name,) in self._connection.execute(schema))
        # Once made ready, these two no longer ask the authorizer to write the schema table.
        self._connection.execute("SELECT 1 FROM json_each('[]'), json_tree('[]')").close()
        return Fence(self._visible[owner], existing, owner=owner, late=late)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """A read transaction of its own, so that each run sees the newest commit, and one state only."""
        connection = self._connection
        try:
            connection.execute("BEGIN")
            try:
                yield
            finally:
                # Out of memory ends the transaction by itself.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise failures.unavailable(error) from None

    @contextmanager
    def _fenced(self, fence: Fence, late: Callable[[], bool]) -> Iterator[None]:
        connection = self._connection
        with self._limited(late):
            connection.set_authorizer(fence)
            try:
                yield
            finally:
                connection.set_authorizer(None)

    @contextmanager
    def _limited(self, late: Callable[[], bool]) -> Iterator[None]:
        connection = self._connection
        (query_only,) = connection.execute("PRAGMA query_only").fetchone()
        connection.execute("PRAGMA query_only = ON")
        before = {limit: connection.setlimit(limit, value) for limit, value in _SQLITE_LIMITS.items()}
        connection.set_progress_handler(late, _STEPS_PER_LOOK)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)
            for limit, value in before.items():
                connection.setlimit(limit, value)
            connection.execute(f"PRAGMA query_only = {query_only}")

    def _fetch(self, sql: str, values: object, rows_to: Encoder, caps: SqlCaps) -> int:
        cursor = self._connection.cursor()
        cursor.row_factory = None
        count = size = 0
        try:
            cursor.execute(sql, values)  # type: ignore[arg-type]
            rows_to.start([column[0] for column in cursor.description or ()])
            for row in cursor:
                count += 1
                if count > caps.rows:
                    raise failures.too_large(
                        "rows",
                        caps.rows,
                        f"The result has more than {caps.rows} rows, the cap; add LIMIT, or a narrower WHERE.",
                    )
                size += rows_to.add(row)
                if size > caps.result_bytes:
                    self._check_bytes(size, caps)
            return count
        finally:
            cursor.close()

    @staticmethod
    def _check_bytes(size: int, caps: SqlCaps) -> None:
        if size > caps.result_bytes:
            raise failures.too_large(
                "result_bytes",
                caps.result_bytes,
                f"The result is larger than {caps.result_bytes} bytes, the cap; select fewer columns or rows.",
            )

    def _explained(self, error: Exception, sql: str, request: SqlRequest, fence: Fence) -> ReactorError:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        if fence.too_late or code == sqlite3.SQLITE_INTERRUPT:
            return failures.deadline_error(request.caps.deadline_s)
        if fence.refused or code == sqlite3.SQLITE_AUTH:
            return SenderError("sql_forbidden", fence.refused or f"SQLite refused: {error}.")
        if isinstance(error, MemoryError) or code == sqlite3.SQLITE_NOMEM:
            return failures.out_of_memory(self._memory_bytes)
        if code == sqlite3.SQLITE_TOOBIG:
            return failures.too_large(
                "value_bytes",
                VALUE_BYTES_MAX,
                f"A value in the query is longer than {VALUE_BYTES_MAX} bytes, the cap for one value.",
            )
        if isinstance(error, sqlite3.Error) and failures.is_store_error(error):
            return failures.unavailable(error)
        return failures.statement_error(error, sql, self._names[request.owner], self._columns_of)

    def _columns_of(self, name: str) -> list[str]:
        try:
            found = self._connection.execute("SELECT name FROM pragma_table_xinfo(?)", (name,)).fetchall()
        except sqlite3.Error:
            return []  # a view that does not compile has no columns to name
        return [str(column) for (column,) in found]


def is_broken(error: Exception) -> bool:
    """Whether the connection should be reopened after this error."""
    return isinstance(error, Fault) or getattr(error, "details", {}).get("cap") == "memory_bytes"
