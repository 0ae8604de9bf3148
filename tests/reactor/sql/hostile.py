"""Statements meant to harm, and the codes they may end with. Over the planted tables."""

from __future__ import annotations

ENDLESS = "WITH RECURSIVE r(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM r) "


def doubled(levels: int) -> str:
    """WITH tables that each name the one before twice: 2^levels of them when written out."""
    tables = ["a0 AS (SELECT 1 x)"]
    tables += [f"a{n} AS (SELECT l.x FROM a{n - 1} l JOIN a{n - 1} r ON l.x = r.x)" for n in range(1, levels)]
    return f"WITH {', '.join(tables)} SELECT COUNT(*) FROM a{levels - 1}"


# Where it depends on the machine which bound is met first.
EITHER = {"sql_deadline", "sql_too_large"}

# name -> (statement, codes it may end with)
HOSTILE: dict[str, tuple[str, set[str]]] = {
    "attach": ("ATTACH '/tmp/x.db' AS x", {"sql_forbidden"}),
    "pragma": ("PRAGMA journal_mode = DELETE", {"sql_forbidden"}),
    "pragma function": ("SELECT * FROM pragma_database_list", {"sql_forbidden"}),
    "load_extension": ("SELECT load_extension('/tmp/x.so')", {"sql_forbidden"}),
    "vacuum into": ("VACUUM INTO '/tmp/x.db'", {"sql_forbidden"}),
    "insert": ("INSERT INTO workflow(id) VALUES (0)", {"sql_forbidden"}),
    "insert with": ("WITH x AS (VALUES (0)) INSERT INTO workflow(id) SELECT * FROM x", {"sql_forbidden"}),
    "create temp": ("CREATE TEMP TABLE t AS SELECT * FROM workflow", {"sql_forbidden"}),
    "two statements": ("SELECT 1; DELETE FROM workflow", {"bad_sql"}),
    "hidden statement": ("SELECT 1; -- x\n/* y */ DROP TABLE workflow", {"bad_sql"}),
    "nul": ("SELECT 1\0; DROP TABLE workflow", {"bad_sql"}),
    "surrogate": ("SELECT '\ud800'", {"bad_sql"}),
    "blanks of unicode": ("SELECT\u00a01", {"bad_sql"}),
    "schema": ("SELECT * FROM sqlite_master", {"sql_forbidden"}),
    "private": ("SELECT COUNT(*) FROM (SELECT * FROM secret)", {"sql_forbidden"}),
    "private view": ("SELECT * FROM leak", {"sql_forbidden"}),
    "recursion": (ENDLESS + "SELECT COUNT(*) FROM r", {"sql_deadline"}),
    "recursion sorted": (ENDLESS + "SELECT n FROM r ORDER BY -n", EITHER),
    "recursion kept": (
        "WITH RECURSIVE r(n) AS (VALUES (1) UNION SELECT n + 1 FROM r) SELECT COUNT(*) FROM r",
        EITHER,
    ),
    "recursion out": (ENDLESS + "SELECT n FROM r", EITHER),
    "cross join": ("SELECT COUNT(*) FROM workflow a, workflow b, workflow c", {"sql_deadline"}),
    "cross join sorted": (
        "SELECT a.id FROM workflow a, workflow b, workflow c ORDER BY a.id || b.id || c.id",
        EITHER,
    ),
    "cross join grouped": (
        "SELECT a.id * 1000000 + b.id * 1000 + c.id k, COUNT(*) FROM workflow a, workflow b, workflow c GROUP BY k",
        EITHER,
    ),
    "cross join window": (
        "SELECT MAX(s) FROM (SELECT SUM(a.id) OVER (ORDER BY b.id) s FROM workflow a, workflow b, workflow c)",
        EITHER,
    ),
    "like": (
        "SELECT COUNT(*) FROM workflow "
        "WHERE printf('%.*c', 1000000 - id, 'a') LIKE '%' || printf('%.*c', 250, 'a') || 'b'",
        {"sql_deadline"},
    ),
    "like pattern": ("SELECT 'a' LIKE printf('%.*c', 1000000, '%')", {"bad_sql"}),
    "glob": (
        "SELECT COUNT(*) FROM workflow "
        "WHERE printf('%.*c', 1000000 - id, 'a') GLOB '*' || printf('%.*c', 250, 'a') || 'b'",
        {"sql_deadline"},
    ),
    "zeroblob": ("SELECT zeroblob(1000000000)", {"sql_too_large"}),
    "zeroblob rows": ("SELECT zeroblob(1000000) FROM workflow", EITHER),
    "zeroblob columns": ("SELECT " + ", ".join(["zeroblob(1000000)"] * 1000), EITHER),
    "randomblob columns": ("SELECT " + ", ".join(["randomblob(1000000)"] * 1000), EITHER),
    "printf": ("SELECT printf('%.*c', 2000000000, 'x')", {"sql_deadline"}),
    "replace": (
        "WITH RECURSIVE r(s) AS (VALUES ('a') UNION ALL SELECT replace(s, 'a', 'aaaaaaaa') FROM r) SELECT * FROM r",
        {"sql_too_large"},
    ),
    "group_concat": ("SELECT group_concat(hex(zeroblob(1000))) FROM workflow a, workflow b", EITHER),
    "group_concat window": (
        "SELECT SUM(length(s)) FROM (SELECT group_concat(a.id) OVER (ORDER BY a.id ROWS BETWEEN 10000 PRECEDING "
        "AND CURRENT ROW) s FROM workflow a, workflow b)",
        EITHER,
    ),
    "json": (
        "SELECT json_group_array(json_array(a.id, b.id)) FROM workflow a, workflow b",
        EITHER,
    ),
    "instr": ("SELECT instr(zeroblob(1100000), zeroblob(550000) || x'01')", {"sql_deadline"}),
    "trim": (
        "SELECT trim(printf('%.*c', 1000000, 'a'), printf('%.*c', 60000, 'z') || 'a')",
        {"sql_deadline"},
    ),
    "deep": ("SELECT " + "(" * 20_000 + "1" + ")" * 20_000, {"bad_sql"}),
    "deep not": ("SELECT " + "NOT " * 10_000 + "1", {"bad_sql"}),
    "deep case": ("SELECT " + "CASE WHEN 1 THEN " * 3_000 + "1" + " END" * 3_000, {"bad_sql"}),
    "deep selects": ("SELECT * FROM " + "(SELECT * FROM " * 1_000 + "workflow" + ")" * 1_000, {"bad_sql"}),
    "long sum": ("SELECT " + "+".join(["1"] * 20_000), {"bad_sql"}),
    "unions": (" UNION ".join(["SELECT 1"] * 500), {"bad_sql"}),
    "doubled": (doubled(40), EITHER),
    "long": ("SELECT '" + "x" * 100_000 + "'", {"bad_sql"}),
}
