"""SQL for people in the caller's own process and thread: for tests, simulation and in-memory databases."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

from reactor.errors import ReactorError
from reactor.sql import failures
from reactor.sql.guard import Clock, Guard, is_broken
from reactor.sql.messages import ReportRequest, SqlRequest, SqlResult, SqlTables


class InlineSql:
    """Runs each request at once. ``connection_factory`` opens the connection when it is first needed.

    The connection may be the projection's own (an in-memory database has no other), as long as no transaction
    is open on it when ``run`` is called; every run leaves it as it was. There is no second process here to end
    a single long operation, nor a heap limit: use ``process.SqlReader`` where strangers may ask.
    """

    def __init__(
        self,
        connection_factory: Callable[[], sqlite3.Connection],
        tables: SqlTables,
        *,
        clock: Clock = time.monotonic,
    ) -> None:
        self._connect = connection_factory
        self._tables = tables
        self._clock = clock
        self._guard: Guard | None = None

    def run(self, request: SqlRequest | ReportRequest) -> SqlResult:
        """The result; raises what ``Guard.run`` and ``Guard.report`` raise."""
        try:
            if self._guard is None:
                self._guard = Guard(self._connect(), self._tables, clock=self._clock)
            return self._guard.report(request) if isinstance(request, ReportRequest) else self._guard.run(request)
        except sqlite3.Error as error:
            raise failures.unavailable(error) from None
        except ReactorError as error:
            if is_broken(error):
                self._guard = None
            raise

    async def query(self, request: SqlRequest | ReportRequest) -> SqlResult:
        """``run``, in the shape of ``SqlReader.query``; it does not wait, so it holds up the caller's loop."""
        return self.run(request)
