"""Which tables and functions a statement may touch, and for whom."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest

from reactor.errors import ReactorError
from reactor.sql.inline import InlineSql
from reactor.sql.messages import SqlRequest
from tests.reactor.sql.planted import refused, rows

PRIVATE = [
    "SELECT * FROM secret",
    "SELECT COUNT(*) FROM secret",
    "SELECT COUNT(*) FROM SeCrEt",
    'SELECT COUNT(*) FROM "secret"',
    "SELECT COUNT(*) FROM main.secret",
    "SELECT rowid FROM secret",
    "SELECT 1 FROM secret s",
    "SELECT (SELECT word FROM secret)",
    "SELECT * FROM (SELECT * FROM secret)",
    "SELECT COUNT(*) FROM (SELECT 1 FROM secret)",
    "WITH x AS (SELECT word FROM secret) SELECT * FROM x",
    "WITH x AS (SELECT word FROM secret) SELECT COUNT(*) FROM x",
    "SELECT w.id FROM workflow w JOIN secret s ON s.word = w.state",
    "SELECT id FROM workflow WHERE EXISTS (SELECT 1 FROM secret)",
    "SELECT id FROM workflow WHERE id IN secret",
    "SELECT id FROM workflow ORDER BY (SELECT word FROM secret)",
    "SELECT 1 UNION SELECT word FROM secret",
    "SELECT * FROM leak",
    "SELECT COUNT(*) FROM leak",
    "EXPLAIN QUERY PLAN SELECT * FROM secret",
    "SELECT * FROM sqlite_master",
    "SELECT COUNT(*) FROM sqlite_schema",
    "SELECT sql FROM main.sqlite_schema",
    "SELECT * FROM sqlite_temp_master",
    "SELECT * FROM reactor_meta",
    "SELECT COUNT(*) FROM reactor_meta",
    "SELECT * FROM undeclared",
    "SELECT COUNT(*) FROM undeclared",
]


@pytest.mark.parametrize("statement", PRIVATE)
def test_private_is_private(sql: InlineSql, connection: sqlite3.Connection, statement: str) -> None:
    """A111: no way round to a table that is not public, whatever the shape of the statement."""
    connection.execute("CREATE TABLE undeclared(a)")
    assert refused(sql, SqlRequest(statement)).code == "sql_forbidden"


@pytest.mark.parametrize("statement", PRIVATE[:-2])
def test_the_owner_reads_everything(sql: InlineSql, statement: str) -> None:
    """The same statements, asked by the owner."""
    assert sql.run(SqlRequest(statement, owner=True))


def test_the_owner_reads_declared_tables_only(sql: InlineSql, connection: sqlite3.Connection) -> None:
    """A table nobody declared is no one's."""
    connection.execute("CREATE TABLE undeclared(a)")
    error = refused(sql, SqlRequest("SELECT COUNT(*) FROM undeclared", owner=True))
    assert error.code == "sql_forbidden"
    assert "not one of the declared" in error.message


def test_what_the_connection_already_uses_stays_closed(sql: InlineSql, connection: sqlite3.Connection) -> None:
    """Temporary tables and virtual tables of whoever else uses the connection, asked for without a column."""
    sql.run(SqlRequest("SELECT 1"))  # TEMP tables from before the first run are gone
    connection.execute("CREATE TEMP TABLE scratch(a)")
    connection.execute("SELECT COUNT(*) FROM sqlite_stmt").fetchall()
    connection.execute("SELECT COUNT(*) FROM dbstat").fetchall()
    for table in ("scratch", "temp.scratch", "sqlite_stmt", "dbstat"):
        assert refused(sql, SqlRequest(f"SELECT COUNT(*) FROM {table}")).code == "sql_forbidden", table


def test_nothing_is_written_even_without_the_fence(
    sql: InlineSql, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer holds by itself."""
    monkeypatch.setattr("reactor.sql.fence.Fence.__call__", lambda *_: sqlite3.SQLITE_OK)
    with pytest.raises(ReactorError, match="readonly"):
        sql.run(SqlRequest("WITH x AS (VALUES (1)) DELETE FROM workflow"))
    monkeypatch.undo()
    assert rows(sql, SqlRequest("SELECT COUNT(*) FROM workflow")) == [[100]]


def test_a_statement_of_the_owner_opens_nothing_for_others(sql: InlineSql) -> None:
    """The connection may remember prepared statements; each sender is asked anew."""
    request = SqlRequest("SELECT word FROM secret", owner=True)
    assert rows(sql, request) == [["xyzzy"]]
    assert refused(sql, msgspec.structs.replace(request, owner=False)).code == "sql_forbidden"
    assert rows(sql, request) == [["xyzzy"]]


def test_a_view_over_public_tables_is_public(sql: InlineSql) -> None:
    """A view needs no permission beyond that of its tables."""
    assert rows(sql, SqlRequest("SELECT COUNT(*) FROM active")) == [[40]]


def test_with_names_are_free(sql: InlineSql) -> None:
    """A WITH table may have any name that no real table bears."""
    assert rows(sql, SqlRequest("WITH mine(a) AS (VALUES (1), (2)) SELECT COUNT(*) FROM mine")) == [[2]]


def test_json_tables_work_also_after_a_schema_change(sql: InlineSql, connection: sqlite3.Connection) -> None:
    """json_each is ready on the first use and after another table appeared."""
    request = SqlRequest("SELECT SUM(e.value), COUNT(t.key) FROM json_each('[1,2]') e, json_tree('[1,2]') t")
    before = rows(sql, request)
    connection.execute("CREATE TABLE later(a)")
    assert rows(sql, request) == before


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM pragma_table_info('secret')",
        "SELECT COUNT(*) FROM pragma_database_list",
        "SELECT * FROM dbstat",
        "SELECT COUNT(*) FROM sqlite_stmt",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('simple')",
        "SELECT sqlite_compileoption_get(1)",
        "SELECT id FROM workflow WHERE load_extension(state)",
        "WITH x AS (SELECT 1) DELETE FROM workflow",
        "WITH x AS (SELECT 1) INSERT INTO workflow(id) SELECT 7 FROM x",
        "WITH x AS (SELECT 1) UPDATE workflow SET state = 1",
    ],
)
@pytest.mark.parametrize("owner", [False, True])
def test_forbidden_for_everyone(sql: InlineSql, statement: str, owner: bool) -> None:
    """Virtual tables, functions that reach outside, and writes behind a WITH: not even the owner."""
    assert refused(sql, SqlRequest(statement, owner=owner)).code == "sql_forbidden"


def test_the_full_language_reads(sql: InlineSql) -> None:
    """Windows, recursion, JSON, dates, CASE and VALUES are SQLite's own."""
    request = SqlRequest(
        "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 5) "
        "SELECT i, SUM(i) OVER (ORDER BY i), CASE WHEN i > 3 THEN 'big' END, json_object('i', i) ->> '$.i', "
        "strftime('%Y', i, 'unixepoch') FROM n ORDER BY i DESC LIMIT 1"
    )
    assert rows(sql, request) == [[5, 15, "big", 5, "1970"]]
