"""The monitoring queries people run, over a planted projection."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator

import orjson
import pytest

from reactor.sql.inline import InlineSql
from reactor.sql.messages import SqlRequest
from tests.reactor.sql.planted import NOW_US, STUCK_ID, TABLES, TYPES, inline, open_writer, plant, rows

BY_STATUS = "SELECT status, COUNT(*) AS count FROM workflow GROUP BY status"
STUCK = """
    SELECT w.id, w.workflow_type, w.entity_id, w.status, w.current_step, w.updated_at
    FROM workflow w
    LEFT JOIN workflow_timer t ON t.workflow_id = w.id AND t.cancelled = 0
    WHERE w.status IN ('Running', 'Suspended') AND t.scheduled_id IS NULL
"""
BACKLOG = "SELECT COUNT(*) FROM workflow_timer WHERE NOT cancelled AND scheduled_at < :now"
FAILED = "SELECT COUNT(*) FROM workflow WHERE status = 'Failed'"
BY_TYPE = "SELECT workflow_type, COUNT(*) FROM workflow GROUP BY workflow_type ORDER BY workflow_type"
ACTIVE = "SELECT COUNT(*) FROM workflow WHERE status NOT IN ('Completed', 'Failed', 'Cancelled')"


@pytest.fixture(scope="module")
def connection() -> Iterator[sqlite3.Connection]:
    """100,000 workflows."""
    writer = open_writer()
    plant(writer, 100_000)
    yield writer
    writer.close()


@pytest.fixture(scope="module")
def sql(connection: sqlite3.Connection) -> InlineSql:
    """SQL over them."""
    return inline(connection)


def test_empty_tables_count_zero() -> None:
    """A06: right after the first start both tables exist and count zero."""
    writer = open_writer()
    plant(writer, 0)
    sql = inline(writer)
    for table in ("workflow", "workflow_timer"):
        assert rows(sql, SqlRequest(f"SELECT COUNT(*) FROM {table}")) == [[0]]
    writer.close()


def test_count_by_status(sql: InlineSql) -> None:
    """A100."""
    found = sorted(map(str, rows(sql, SqlRequest(BY_STATUS))))
    assert found == [str([s, 20_000]) for s in ("Cancelled", "Completed", "Failed", "Running", "Suspended")]


def test_stuck(sql: InlineSql) -> None:
    """A101: the planted row, whose only timer is cancelled, and no other."""
    assert rows(sql, SqlRequest(STUCK)) == [[STUCK_ID, TYPES[1], 0, "Running", "wait", 1]]


def test_one_liners(sql: InlineSql) -> None:
    """A102: backlog, failed, by type, active."""
    assert rows(sql, SqlRequest(BACKLOG, {"now": NOW_US})) == [[19_999]]
    assert rows(sql, SqlRequest(FAILED)) == [[20_000]]
    assert rows(sql, SqlRequest(BY_TYPE)) == [[kind, 20_000] for kind in sorted(TYPES)]
    assert rows(sql, SqlRequest(ACTIVE)) == [[40_000]]


@pytest.mark.parametrize("query", [BY_STATUS, BACKLOG, FAILED, BY_TYPE, ACTIVE, STUCK])
def test_fast_at_100k_rows(connection: sqlite3.Connection, query: str) -> None:
    """A102: under 50 ms. Counted in time of the core, which other work on this machine does not change."""
    sql = InlineSql(lambda: connection, TABLES, clock=time.process_time)
    request = SqlRequest(query, {"now": NOW_US})
    assert min(sql.run(request).elapsed_us for _ in range(3)) < 50_000


def test_alert_rules_as_queries(sql: InlineSql) -> None:
    """A103: failure rate, and active rows untouched for long, in one statement each."""
    rate = "SELECT 100.0 * SUM(status = 'Failed') / COUNT(*) FROM workflow"
    assert rows(sql, SqlRequest(rate)) == [[20.0]]
    untouched = f"SELECT COUNT(*) FROM ({ACTIVE.replace('COUNT(*)', 'id')} AND updated_at < ? - 3600000000)"
    assert rows(sql, SqlRequest(untouched, [3_600_000_101])) == [[40]]


def test_recent_events(sql: InlineSql) -> None:
    """A104: the newest first."""
    request = SqlRequest("SELECT * FROM workflow_event ORDER BY timestamp DESC LIMIT 20")
    document = orjson.loads(sql.run(request).content)
    assert document["columns"] == ["id", "workflow_id", "timestamp", "kind"]
    assert [row[2] for row in document["rows"]] == [1008] * 20


def test_events_of_one_workflow(sql: InlineSql) -> None:
    """A104: in time order, all of them."""
    request = SqlRequest("SELECT timestamp FROM workflow_event WHERE workflow_id = ? ORDER BY timestamp", [7])
    found = [row[0] for row in rows(sql, request)]
    assert len(found) == 1_000
    assert found == sorted(found)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("workflow", "entity_id"),
        ("workflow", "correlation_id"),
        ("workflow", "workflow_type"),
        ("workflow", "status"),
        ("workflow_timer", "workflow_id"),
    ],
)
def test_lookups_use_an_index(sql: InlineSql, table: str, column: str) -> None:
    """A49: EXPLAIN QUERY PLAN is open to everyone and shows the index."""
    request = SqlRequest(f"EXPLAIN QUERY PLAN SELECT * FROM {table} WHERE {column} = ?", [5])
    assert "USING INDEX" in str(rows(sql, request)[0][3])


def test_point_lookup(connection: sqlite3.Connection) -> None:
    """A49: under a millisecond at 100k rows."""
    sql = InlineSql(lambda: connection, TABLES, clock=time.process_time)
    request = SqlRequest("SELECT * FROM workflow WHERE entity_id = ?", [77])
    assert min(sql.run(request).elapsed_us for _ in range(5)) < 1_000
    assert sql.run(request).rows == 10
