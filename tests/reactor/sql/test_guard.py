"""One statement under fence, limits, deadline and caps, in this process."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
import orjson
import pytest

from reactor.errors import Fault, InvariantError, ReactorError
from reactor.sql.guard import VALUE_BYTES_MAX, Guard
from reactor.sql.inline import InlineSql
from reactor.sql.messages import DEFAULT_CAPS, SqlCaps, SqlRequest, SqlTables
from reactor.sql.reader import open_read_only
from tests.reactor.sql.planted import TABLES, open_writer, plant, refused, rows


def caps(**changes: float) -> SqlCaps:
    """The default caps but for some."""
    return msgspec.structs.replace(DEFAULT_CAPS, **changes)


# -- parameters and messages -----------------------------------------------------------------


def test_parameters(sql: InlineSql) -> None:
    """A list for ?, a dict for :name."""
    assert rows(sql, SqlRequest("SELECT ?, ?", [1, "x"])) == [[1, "x"]]
    assert rows(sql, SqlRequest("SELECT :a, :b", {"a": None, "b": True})) == [[None, 1]]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (SqlRequest("SELECT ?"), "Incorrect number of bindings"),
        (SqlRequest("SELECT :a", {"b": 1}), "binding parameter :a"),
        (SqlRequest("SELECT 1; SELECT 2"), "one statement at a time"),
        (SqlRequest("SELECT 1; DROP TABLE workflow"), "one statement at a time"),
        (SqlRequest("SELECT 1 FROM"), "incomplete input"),
        (SqlRequest("SELECT nope(1)"), "no such function: nope"),
        (SqlRequest("SELECT * FROM workflw"), r"no such table: workflw. Did you mean workflow\? Tables: "),
        (SqlRequest("SELECT staus FROM workflow"), r"Did you mean status\? Columns of workflow: id, workflow_t"),
        (SqlRequest("SELECT w.staus FROM workflow w"), r"no such column: w.staus. Did you mean status\?"),
        (SqlRequest("SELECT CAST(x'ff' AS TEXT)"), "hex"),
        (SqlRequest("SELECT 1", format="xml"), "json, csv, table"),
        (SqlRequest("SELECT " + "(" * 500 + "1" + ")" * 500), "stack overflow"),
        (SqlRequest(" UNION ".join(["SELECT 1"] * 500)), "too many terms"),
        (SqlRequest("SELECT " + "+".join(["1"] * 600)), "depth"),
    ],
)
def test_bad_sql_says_why(sql: InlineSql, request_: SqlRequest, words: str) -> None:
    """SQLite's own words, and the names that exist."""
    with pytest.raises(ReactorError, match=words) as caught:
        sql.run(request_)
    assert caught.value.code == "bad_sql"


def test_hints_keep_secrets(sql: InlineSql) -> None:
    """Only what the sender may see is listed."""
    assert "secret" not in refused(sql, SqlRequest("SELECT * FROM nope")).message
    assert "secret" in refused(sql, SqlRequest("SELECT * FROM nope", owner=True)).message
    assert "word" not in refused(sql, SqlRequest("SELECT nope FROM secret")).message


# -- deadline and caps -----------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n"


def test_deadline_stops_a_running_statement(sql: InlineSql) -> None:
    """An endless recursion ends when its time is over."""
    assert refused(sql, SqlRequest(ENDLESS, caps=caps(deadline_s=0.05))).code == "sql_deadline"


def test_deadline_is_by_the_clock_handed_in(connection: sqlite3.Connection) -> None:
    """A clock of the caller's decides: the same endless statement, and not an instant waited."""
    ticks = iter(range(1_000_000))
    sql = InlineSql(lambda: connection, TABLES, clock=lambda: float(next(ticks)))
    assert refused(sql, SqlRequest(ENDLESS, caps=caps(deadline_s=30))).code == "sql_deadline"
    assert next(ticks) < 200


def test_deadline_stops_preparing(connection: sqlite3.Connection) -> None:
    """SQLite asks the fence again and again while it prepares: there the clock is looked at as well."""
    ticks = iter(range(1_000_000))
    sql = InlineSql(lambda: connection, TABLES, clock=lambda: float(next(ticks)))
    many = "SELECT " + ", ".join(["state"] * 50) + " FROM workflow WHERE id = -1"
    assert refused(sql, SqlRequest(many, caps=caps(deadline_s=20))).code == "sql_deadline"


def test_rows_are_capped(sql: InlineSql) -> None:
    """At the cap the result is whole; past it there is an error, never a part."""
    assert len(rows(sql, SqlRequest("SELECT id FROM workflow", caps=caps(rows=100)))) == 100
    error = refused(sql, SqlRequest("SELECT id FROM workflow", caps=caps(rows=99)))
    assert (error.code, error.details) == ("sql_too_large", {"cap": "rows", "limit": 99})


@pytest.mark.parametrize("name", ["json", "csv"])
def test_result_bytes_are_capped(sql: InlineSql, name: str) -> None:
    """The finished document counts."""
    request = SqlRequest("SELECT id, state FROM workflow", format=name)
    size = len(sql.run(request).content)
    # The document ends with the time it took, whose length varies by a few digits.
    assert sql.run(msgspec.structs.replace(request, caps=caps(result_bytes=size + 8)))
    error = refused(sql, msgspec.structs.replace(request, caps=caps(result_bytes=size - 20)))
    assert (error.code, error.details["cap"]) == ("sql_too_large", "result_bytes")


def test_table_bytes_are_capped(sql: InlineSql) -> None:
    """A table for the terminal is counted before it is laid out."""
    wide = "SELECT printf('%.*c', 60, 'x') FROM workflow"
    assert sql.run(SqlRequest(wide, format="table", caps=caps(result_bytes=6_500)))
    error = refused(sql, SqlRequest(wide, format="table", caps=caps(result_bytes=6_000)))
    assert (error.code, error.details["cap"]) == ("sql_too_large", "result_bytes")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT length(zeroblob(1000000000))",
        "SELECT randomblob(1000000000)",
        "SELECT hex(zeroblob(1000000))",
        "SELECT printf('%.*c', 600000, 'x') || printf('%.*c', 600000, 'x')",
        "SELECT replace(hex(zeroblob(300000)), '0', '0000')",
        "SELECT json_group_array(a.state || b.state || c.state) FROM workflow a, workflow b, workflow c",
        "WITH RECURSIVE r(n, s) AS (SELECT 1, 'a' UNION ALL SELECT n + 1, replace(s, 'a', 'aaaaaaaa') FROM r) "
        "SELECT MAX(length(s)) FROM r",
        "SELECT group_concat(a.state || b.state || c.state) FROM workflow a, workflow b, workflow c",
    ],
)
def test_values_are_capped(sql: InlineSql, statement: str) -> None:
    """No single value grows past the cap."""
    error = refused(sql, SqlRequest(statement))
    assert error.code == "sql_too_large"
    assert error.details == {"cap": "value_bytes", "limit": VALUE_BYTES_MAX}


def test_printf_past_the_cap_is_null(sql: InlineSql) -> None:
    """So SQLite does at any limit; what counts here is that nothing large comes to be."""
    request = SqlRequest("SELECT printf('%1000000000d', 1), format('%.*c', 2000000, 'x')")
    assert rows(sql, request) == [[None, None]]


def test_like_patterns_are_short(sql: InlineSql) -> None:
    """A long pattern is refused before it is matched."""
    error = refused(sql, SqlRequest("SELECT ? LIKE ?", ["a" * 1_000, "%a" * 200]))
    assert (error.code, "pattern too complex" in error.message) == ("bad_sql", True)


def test_a_state_of_one_mebibyte_is_read(sql: InlineSql, connection: sqlite3.Connection) -> None:
    """The largest state a workflow may keep fits, and two of them in one row."""
    connection.execute("UPDATE workflow SET state = ?, result = state WHERE id = 5", ("s" * (1 << 20),))
    connection.execute("UPDATE workflow SET result = state WHERE id = 5")
    ((state, result),) = rows(sql, SqlRequest("SELECT state, result FROM workflow WHERE id = 5"))
    assert state == result == "s" * (1 << 20)


# -- the connection --------------------------------------------------------------------------


def test_the_connection_is_left_as_it_was(sql: InlineSql, connection: sqlite3.Connection) -> None:
    """After a run, failed or not, its owner writes as before; during it nothing can be written."""
    before = connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
    refused(sql, SqlRequest("SELECT * FROM secret"))
    assert not connection.in_transaction
    assert connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH) == before
    connection.execute("INSERT INTO workflow(id) VALUES (1000)")
    assert rows(sql, SqlRequest("SELECT COUNT(*) FROM workflow")) == [[101]]


def test_rows_are_plain_whatever_the_owner_of_the_connection_likes(
    sql: InlineSql, connection: sqlite3.Connection
) -> None:
    """A row factory of the connection's owner does not reach the result."""
    before = connection.execute("PRAGMA query_only").fetchone()
    connection.row_factory = sqlite3.Row
    assert rows(sql, SqlRequest("SELECT id, status FROM workflow WHERE id = 1")) == [[1, "Running"]]
    assert tuple(connection.execute("PRAGMA query_only").fetchone()) == before


def test_a_transaction_under_way_is_an_error_not_a_dirty_read(sql: InlineSql, connection: sqlite3.Connection) -> None:
    """What is not committed is not shown."""
    connection.execute("BEGIN")
    with pytest.raises(Fault) as caught:
        sql.run(SqlRequest("SELECT 1"))
    assert caught.value.code == "sql_unavailable"
    assert connection.in_transaction
    connection.execute("ROLLBACK")


def test_each_run_sees_the_newest_commit(tmp_path: Path) -> None:
    """Through a read-only connection of its own, a commit is visible to the next run."""
    with_writer = open_writer(tmp_path / "p.db")
    plant(with_writer, 10)
    sql = InlineSql(lambda: open_read_only(tmp_path / "p.db"), TABLES)
    count = SqlRequest("SELECT COUNT(*) FROM workflow")
    assert rows(sql, count) == [[10]]
    with_writer.execute("DELETE FROM workflow WHERE id > 3")
    assert rows(sql, count) == [[3]]
    with_writer.close()


def test_a_read_only_connection_cannot_write(tmp_path: Path) -> None:
    """Even without the fence."""
    open_writer(tmp_path / "p.db").execute("CREATE TABLE t(a)").close()
    connection = open_read_only(tmp_path / "p.db")
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()


def test_a_missing_file_is_unavailable(tmp_path: Path) -> None:
    """Not the sender's mistake; and when the file comes, the next run works."""
    path = tmp_path / "p.db"
    sql = InlineSql(lambda: open_read_only(path), TABLES)
    with pytest.raises(Fault) as caught:
        sql.run(SqlRequest("SELECT 1"))
    assert caught.value.code == "sql_unavailable"
    writer = open_writer(path)
    plant(writer, 5)
    assert rows(sql, SqlRequest("SELECT COUNT(*) FROM workflow")) == [[5]]
    writer.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """A damaged projection is our fault, not the sender's."""
    path = tmp_path / "p.db"
    path.write_bytes(b"no database at all, but long enough to have a header" * 100)
    with pytest.raises(Fault) as caught:
        InlineSql(lambda: open_read_only(path), TABLES).run(SqlRequest("SELECT 1 FROM workflow"))
    assert caught.value.code == "sql_unavailable"


def test_elapsed_is_by_the_clock(connection: sqlite3.Connection) -> None:
    """The time in the document is the time of the clock handed in."""
    guard = Guard(connection, TABLES, clock=lambda: 7.0)
    result = guard.run(SqlRequest("SELECT 1"))
    assert (result.elapsed_us, result.rows) == (0, 1)
    assert orjson.loads(result.content)["elapsed_us"] == 0


def test_names_are_unique() -> None:
    """A view that bears a table's name would hide whose rows it shows."""
    with pytest.raises(InvariantError):
        SqlTables(public=("a",), views=(("A", "SELECT 1"),))
