"""A projection planted by hand: the workflow tables under the names that monitoring queries use."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import orjson
import pytest

from reactor.errors import ReactorError
from reactor.sql.inline import InlineSql
from reactor.sql.messages import SqlRequest, SqlTables

TABLES = SqlTables(
    public=("workflow", "workflow_timer", "workflow_event"),
    private=("secret",),
    views=(
        ("active", "SELECT id, status FROM workflow WHERE status IN ('Running', 'Suspended')"),
        ("leak", "SELECT word FROM secret"),
    ),
)

_SCHEMA = """
CREATE TABLE workflow(id INTEGER PRIMARY KEY, workflow_type TEXT, entity_id INTEGER, correlation_id TEXT,
    status TEXT, current_step TEXT, state TEXT, result TEXT, error_message TEXT, created_at INTEGER,
    updated_at INTEGER);
CREATE INDEX workflow_entity ON workflow(entity_id);
CREATE INDEX workflow_correlation ON workflow(correlation_id);
CREATE INDEX workflow_type ON workflow(workflow_type);
CREATE INDEX workflow_status ON workflow(status);
CREATE TABLE workflow_timer(scheduled_id INTEGER PRIMARY KEY, workflow_id INTEGER, scheduled_at INTEGER,
    cancelled INTEGER);
CREATE INDEX workflow_timer_workflow ON workflow_timer(workflow_id);
CREATE TABLE workflow_event(id INTEGER PRIMARY KEY, workflow_id INTEGER, timestamp INTEGER, kind TEXT);
CREATE INDEX workflow_event_workflow ON workflow_event(workflow_id);
CREATE TABLE secret(word TEXT PRIMARY KEY);
CREATE TABLE reactor_meta(key TEXT PRIMARY KEY, value TEXT);
INSERT INTO secret VALUES ('xyzzy');
"""
TYPES = ("npc_patrol", "combat", "buff", "respawn", "production")
STATUSES = ("Running", "Suspended", "Completed", "Failed", "Cancelled")
STUCK_ID = 1
NOW_US = 1_000_000_000


def plant(connection: sqlite3.Connection, workflows: int = 1_000) -> None:
    """Fill an empty database: statuses in turn, a live timer for each active row but ``STUCK_ID``."""
    connection.executescript(_SCHEMA)
    connection.execute("BEGIN")
    for n in range(1, workflows + 1):
        # Row 1 is Running; its only timer is cancelled.
        status = STATUSES[(n - 1) % 5]
        values = (n, TYPES[n % 5], n // 10, f"raid-{n % 50}", status, "wait", "{}", None, None, n, n)
        connection.execute("INSERT INTO workflow VALUES (?,?,?,?,?,?,?,?,?,?,?)", values)
        if status in STATUSES[:2]:
            timer = (n, n, NOW_US + (n - workflows // 2) * 1_000, int(n == STUCK_ID))
            connection.execute("INSERT INTO workflow_timer VALUES (?,?,?,?)", timer)
        connection.execute("INSERT INTO workflow_event VALUES (?,?,?,?)", (n, n % 100, n * 7 % 1009, "step"))
    connection.execute("COMMIT")


def open_writer(path: Path | str = ":memory:") -> sqlite3.Connection:
    """A connection in WAL mode that commits by itself, as the projection's writer has one."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def inline(connection: sqlite3.Connection, tables: SqlTables = TABLES) -> InlineSql:
    """SQL over that very connection, in this process."""
    return InlineSql(lambda: connection, tables)


def rows(sql: InlineSql, request: SqlRequest) -> list[list[object]]:
    """The rows of a JSON result."""
    found: list[list[object]] = orjson.loads(sql.run(request).content)["rows"]
    return found


def refused(sql: InlineSql, request: SqlRequest) -> ReactorError:
    """The error of a request that must fail; the next request must be answered."""
    with pytest.raises(ReactorError) as caught:
        sql.run(request)
    assert rows(sql, SqlRequest("SELECT COUNT(*) FROM workflow")) == [[100]]
    return caught.value
