"""What a live query may say, how it is refused otherwise, and what a stranger's text may cost."""

from __future__ import annotations

import inspect
import sys
import time
from dataclasses import replace

import pytest

from reactor.columns import TYPES
from reactor.errors import SenderError
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.live import LiveQuery, parse_live_query
from reactor.live.like import PATTERN_CHARS_MAX
from reactor.live.syntax import NESTING_MAX
from reactor.schema import Index
from tests.reactor.live.support import COLOUR, make_schema

MONSTER = make_schema(
    "monster",
    [
        ("id", TYPES["i64"], False),
        ("zone", TYPES["i64"], False),
        ("hp", TYPES["i64"], True),
        ("name", TYPES["text"], False),
        ("colour", COLOUR, False),
        ("angry", TYPES["bool"], False),
        ("loot", TYPES["json"], True),
        ("seal", TYPES["bytes"], True),
        ("seen", TYPES["timestamp"], False),
        ("order", TYPES["i64"], False),
        ("big", TYPES["u64"], False),
    ],
    "id",
    "zone",
)
PLAYER = make_schema(
    "player", [("id", TYPES["i64"], False), ("zone", TYPES["i64"], True), ("name", TYPES["text"], False)], "id"
)
SCHEMAS = {"monster": MONSTER, "player": PLAYER}


def parsed(sql: str, limits: Limits = DEFAULT_LIMITS) -> LiveQuery:
    return parse_live_query(sql, SCHEMAS, limits)


def where(condition: str) -> str:
    """The canonical form of a condition on monster."""
    return parsed(f"SELECT * FROM monster WHERE {condition}").canonical.removeprefix("SELECT * FROM monster WHERE ")


def refusal(sql: str, limits: Limits = DEFAULT_LIMITS) -> SenderError:
    with pytest.raises(SenderError) as caught:
        parsed(sql, limits)
    return caught.value


@pytest.mark.parametrize(
    ("condition", "canonical"),
    [
        ("zone == 1 and hp > 2", "hp > 2 AND zone = 1"),
        ("hp > 2 AND (1 = zone)", "hp > 2 AND zone = 1"),
        ("zone = 2 OR zone IN (1, 3) OR monster.zone = 1", "zone IN (1, 2, 3)"),
        ("NOT (zone = 1 OR zone = 2)", "zone NOT IN (1, 2)"),
        ("NOT (hp BETWEEN 1 AND 5)", "hp < 1 OR hp > 5"),
        ("zone IN (7)", "zone = 7"),
        ("zone = 1.0", "zone = 1"),
        ("hp = NULL OR zone = 1", "zone = 1"),
        ("hp NOT IN (1, NULL)", "FALSE"),
        ("hp IN ()", "FALSE"),
        ("angry", "angry = 1"),
        ("NOT angry", "angry = 0"),
        ("angry = true AND TRUE", "angry = 1"),
        ("name = 'it''s'", "name = 'it''s'"),
        ("seal = x'00ff'", "seal = X'00FF'"),
        ('"ORDER" = 1', '"order" = 1'),
        ("[hp] IS NOT NULL AND `hp` <> -5", "hp <> -5 AND hp IS NOT NULL"),
        ("name NOT LIKE 'a!%' ESCAPE '!'", "name NOT LIKE 'a!%' ESCAPE '!'"),
        ("NOT NOT name LIKE 'a'", "name LIKE 'a'"),
        ("big = 18446744073709551615", "big = 18446744073709551615"),
        ("hp < 18446744073709551615", "hp < 1.8446744073709552e+19"),
        ("hp < 1e999", "hp < 9e999"),
        ("NOT hp IS NULL -- and so on", "hp IS NOT NULL"),
    ],
)
def test_a21_equal_conditions_have_one_canonical_text(condition: str, canonical: str) -> None:
    """A21: what is the same is shared, so it must have the same text, which reads back as itself."""
    assert where(condition) == canonical
    assert where(canonical) == canonical


def test_the_two_forms_of_a_semi_join_are_one_query() -> None:
    """A JOIN in either order and an IN (SELECT …) that say the same are shared."""
    text = "SELECT * FROM monster WHERE hp > 1 AND zone IN (SELECT zone FROM player WHERE name = 'x')"
    for sql in (
        text,
        "select m.* from monster m join player p on m.zone = p.zone where p.name = 'x' and m.hp > 1",
        "select m.* from player as P inner join monster as M on (p.zone = m.zone) "
        "where not (hp <= 1 or p.name <> 'x');",
    ):
        assert parsed(sql).canonical == text
    join = parsed(text).semijoin
    assert join is not None
    assert (join.outer_column, join.inner_table, join.inner_column) == ("zone", "player", "zone")
    assert join.inner_matches(PLAYER.row_type(1, 1, "x"))
    assert not join.inner_matches(PLAYER.row_type(1, 1, "y"))


def test_a_table_may_be_joined_with_itself() -> None:
    """With aliases, one table may stand on both sides."""
    query = parsed("SELECT a.* FROM monster a JOIN monster b ON a.hp = b.zone WHERE b.angry")
    assert query.canonical == "SELECT * FROM monster WHERE hp IN (SELECT zone FROM monster WHERE angry = 1)"


def test_route_prefers_primary_key_then_index_then_few_values() -> None:
    """The hash a change is routed by is the best equality at the top; none under OR or NOT."""

    def route(condition: str) -> tuple[str, tuple[object, ...]] | None:
        return parsed(f"SELECT * FROM monster WHERE {condition}").route

    assert route("hp = 5 AND zone = 3 AND id IN (1, 2) AND name = 'a'") == ("id", (1, 2))
    assert route("hp = 5 AND zone IN (3, 4) AND name = 'a'") == ("zone", (3, 4))
    assert route("hp IN (5, 6) AND name = 'a' AND angry IS NOT NULL") == ("name", ("a",))
    assert route("zone = 1 OR hp = 1") is None
    assert route("zone <> 1 AND hp > 3") is None
    assert route("NOT zone <> 1") == ("zone", (1,))
    assert route("hp = NULL") == ("id", ())
    unique = replace(MONSTER, indexes=(Index(("zone",)), Index(("name",), unique=True)))
    query = parse_live_query("SELECT * FROM monster WHERE zone = 1 AND name = 'a'", {"monster": unique})
    assert query.route == ("name", ("a",))


REFUSED = [
    ("SELECT * FROM monster ORDER BY id", "ORDER BY"),
    ("SELECT * FROM monster LIMIT 5", "LIMIT"),
    ("SELECT * FROM monster LIMIT 5 OFFSET 2", "LIMIT"),
    ("SELECT DISTINCT * FROM monster", "DISTINCT"),
    ("SELECT * FROM monster GROUP BY zone", "GROUP BY"),
    ("SELECT * FROM monster HAVING zone", "HAVING"),
    ("SELECT id FROM monster", "projection"),
    ("SELECT id, zone FROM monster", "projection"),
    ("SELECT *, 1 FROM monster", "projection"),
    ("SELECT * EXCEPT (id) FROM monster", "projection"),
    ("SELECT * EXCLUDE (id) FROM monster", "projection"),
    ("SELECT COUNT(*) FROM monster", "projection"),
    ("SELECT player.* FROM monster", "projection"),
    ("SELECT * AS x FROM monster", "projection"),
    ("SELECT 1", "FROM"),
    ("SELECT * FROM (SELECT * FROM monster)", "FROM"),
    ("SELECT * FROM json_each('[]')", "FROM"),
    ("SELECT * FROM main.monster", "a schema name before the table"),
    ("SELECT * FROM monster INDEXED BY x", "INDEXED BY"),
    ("SELECT * FROM monster AS a (b)", "columns in TABLEALIAS"),
    ("SELECT * FROM monster, player", "CROSS JOIN"),
    ("SELECT monster.* FROM monster LEFT JOIN player ON monster.zone = player.zone", "LEFT JOIN"),
    ("SELECT monster.* FROM monster NATURAL JOIN player", "NATURAL JOIN"),
    ("SELECT monster.* FROM monster LEFT SEMI JOIN player ON monster.zone = player.zone", "LEFT SEMI JOIN"),
    ("SELECT monster.* FROM monster JOIN player USING (zone)", "USING"),
    ("SELECT monster.* FROM monster JOIN player", "JOIN"),
    ("SELECT monster.* FROM monster JOIN player ON monster.zone < player.zone", "JOIN"),
    ("SELECT monster.* FROM monster JOIN player ON monster.zone = monster.hp", "JOIN"),
    ("SELECT monster.* FROM monster JOIN player ON monster.zone = player.name", "JOIN"),
    ("SELECT monster.* FROM monster JOIN player ON monster.loot = player.name", "JOIN"),
    ("SELECT monster.* FROM monster JOIN player ON monster.zone = 5", "5"),
    ("SELECT monster.* FROM monster JOIN player ON monster.zone = player.zone AND TRUE", "JOIN"),
    ("SELECT monster.* FROM monster JOIN monster ON monster.zone = monster.zone", "JOIN"),
    ("SELECT * FROM monster JOIN player ON monster.zone = player.zone", "projection"),
    ("SELECT m.* FROM monster m JOIN player p ON m.zone = p.zone JOIN player q ON m.zone = q.zone", "JOIN"),
    ("SELECT m.* FROM monster m JOIN player p ON m.zone = p.zone WHERE m.hp = 1 OR p.id = 1", "WHERE over both tables"),
    ("SELECT m.* FROM monster m JOIN player p ON m.zone = p.zone WHERE name = 'x'", "name"),
    ("SELECT m.* FROM monster m JOIN player p ON m.zone = p.zone WHERE hp IN (SELECT id FROM player)", "IN (SELECT …)"),
    ("SELECT * FROM monster WHERE zone NOT IN (SELECT zone FROM player)", "IN (SELECT …)"),
    ("SELECT * FROM monster WHERE hp = 1 OR zone IN (SELECT zone FROM player)", "IN (SELECT …)"),
    ("SELECT * FROM monster WHERE hp IN (SELECT id FROM player) AND zone IN (SELECT id FROM player)", "IN (SELECT …)"),
    (
        "SELECT * FROM monster WHERE zone IN (SELECT id FROM player WHERE id IN (SELECT id FROM player))",
        "IN (SELECT …)",
    ),
    ("SELECT * FROM monster WHERE zone IN (SELECT zone FROM player LIMIT 1)", "LIMIT"),
    ("SELECT * FROM monster WHERE zone IN (SELECT zone, id FROM player)", "projection"),
    ("SELECT * FROM monster WHERE zone IN (SELECT * FROM player)", "*"),
    ("SELECT * FROM monster WHERE zone IN (SELECT name FROM player)", "JOIN"),
    ("SELECT * FROM monster m WHERE zone IN (SELECT p.zone FROM player p WHERE p.id = m.id)", "m.id"),
    ("SELECT * FROM monster WHERE zone IN (SELECT zone FROM player UNION SELECT 1)", "UNION"),
    ("SELECT * FROM monster WHERE zone IN player", "IN (SELECT …)"),
    ("SELECT * FROM monster WHERE zone = (SELECT 1)", "(SELECT 1)"),
    ("SELECT * FROM monster WHERE EXISTS (SELECT * FROM player)", "EXISTS(SELECT * FROM player)"),
    ("SELECT * FROM monster WHERE hp + 1 = 2", "hp + 1"),
    ("SELECT * FROM monster WHERE hp = 1 + 1", "1 + 1"),
    ("SELECT * FROM monster WHERE hp < zone", "zone"),
    ("SELECT * FROM monster WHERE abs(hp) = 2", "ABS(hp)"),
    ("SELECT * FROM monster WHERE random()", "RANDOM()"),
    ("SELECT * FROM monster WHERE hp", "hp"),
    ("SELECT * FROM monster WHERE 1", "1"),
    ("SELECT * FROM monster WHERE 1 = 1", "1"),
    ("SELECT * FROM monster WHERE hp = 1 = 1", "hp = 1"),
    ("SELECT * FROM monster WHERE (hp, zone) = (1, 2)", "(hp, zone)"),
    ("SELECT * FROM monster WHERE hp IS 5", "hp IS 5"),
    ("SELECT * FROM monster WHERE angry IS TRUE", "angry IS TRUE"),
    ("SELECT * FROM monster WHERE hp IS NOT DISTINCT FROM 5", "hp IS 5"),
    ("SELECT * FROM monster WHERE hp BETWEEN SYMMETRIC 2 AND 1", "symmetric in BETWEEN"),
    ("SELECT * FROM monster WHERE name GLOB 'a*'", "name GLOB 'a*'"),
    ("SELECT * FROM monster WHERE name COLLATE NOCASE = 'a'", "name COLLATE NOCASE"),
    ("SELECT * FROM monster WHERE name = 'a' || 'b'", "'a' || 'b'"),
    ("SELECT * FROM monster WHERE name = 'a' 'b'", "CONCAT('a', 'b')"),
    ("SELECT * FROM monster WHERE CAST(hp AS TEXT) = '5'", "CAST(hp AS TEXT)"),
    ("SELECT * FROM monster WHERE hp LIKE '5%'", "LIKE"),
    ("SELECT * FROM monster WHERE name LIKE 5", "LIKE"),
    ("SELECT * FROM monster WHERE name LIKE 'a' ESCAPE 'ab'", "ESCAPE"),
    ("SELECT * FROM monster WHERE name LIKE 'a' ESCAPE ''", "ESCAPE"),
    ("SELECT * FROM monster WHERE name LIKE 'a' ESCAPE NULL", "ESCAPE"),
    ("SELECT * FROM monster WHERE hp = 'five'", "hp"),
    ("SELECT * FROM monster WHERE name = 5", "name"),
    ("SELECT * FROM monster WHERE colour = 5", "colour"),
    ("SELECT * FROM monster WHERE seal = 'x'", "seal"),
    ("SELECT * FROM monster WHERE hp = X'00'", "hp"),
    ("SELECT * FROM monster WHERE angry = 'true'", "angry"),
    ("SELECT * FROM monster WHERE seen > '2024-01-01'", "seen"),
    ("SELECT * FROM monster WHERE loot = '{}'", "loot"),
    ("SELECT * FROM monster WHERE loot = NULL", "loot"),
    ("SELECT * FROM monster WHERE seal = X'0'", "literal"),
    ("SELECT * FROM monster WHERE hp = 0x10", "literal"),
    ("SELECT * FROM monster WHERE hp = 1_000", "syntax"),
    ("SELECT * FROM monster WHERE ! angry", "!"),
    ("SELECT * FROM monster WHERE hp = ?", "parameter"),
    ("SELECT * FROM monster WHERE hp = ?1", "parameter"),
    ("SELECT * FROM monster WHERE hp = :hp", "parameter"),
    ("SELECT * FROM monster WHERE hp = @hp", "parameter"),
    ("SELECT * FROM monster WHERE hp = $hp", "parameter"),
    ("SELECT * FROM monster WHERE other.hp = 1", "other.hp"),
    ("SELECT * FROM monster AS m WHERE monster.hp = 1", "monster.hp"),
    ("SELECT * FROM monster WHERE a.b.c = 1", "a.b.c"),
    ("SELECT * FROM monster WHERE hp = 1 AND", "syntax"),
    ("SELECT * FROM monster WHERE hp = 'open", "syntax"),
    ("SELECT * FROM monster UNION SELECT * FROM monster", "UNION"),
    ("SELECT * FROM monster; SELECT * FROM monster", "statement"),
    ("WITH x AS (SELECT 1) SELECT * FROM monster", "statement"),
    ("UPDATE monster SET hp = 1", "statement"),
    ("PRAGMA journal_mode = OFF", "statement"),
    ("ATTACH 'x' AS y", "statement"),
    ("FROM monster", "statement"),
    ("(SELECT * FROM monster)", "statement"),
    ("", "statement"),
    (";", "statement"),
    ("\0", "text"),
    ("SELECT * FROM monster WHERE name = '\ud800'", "text"),
]


@pytest.mark.parametrize(("sql", "part"), REFUSED)
def test_a34_whatever_is_outside_the_subset_is_refused_by_name(sql: str, part: str) -> None:
    """A34: the refusal names the part and says what is supported."""
    error = refusal(sql)
    assert (error.code, error.details["part"]) == ("unsupported_query", part)
    assert "A live query is SELECT * FROM t" in error.message
    assert len(error.message) < 700


def test_a34_unknown_tables_and_columns_list_what_exists() -> None:
    """A34: a typing error is answered with the names that exist."""
    error = refusal("SELECT * FROM monsters")
    assert (error.code, error.details["tables"]) == ("unknown_table", ["monster", "player"])
    for sql in (
        "SELECT * FROM player WHERE hp = 1",
        "SELECT * FROM player WHERE zone IN (SELECT hp FROM player)",
        'SELECT * FROM player WHERE name = "Zoe"',
        "SELECT * FROM player WHERE rowid = 1",
    ):
        error = refusal(sql)
        assert (error.code, error.details["columns"]) == ("unknown_column", ["id", "zone", "name"])
    assert refusal("SELECT m.* FROM monster m JOIN players p ON m.id = p.id").code == "unknown_table"


@pytest.mark.parametrize(
    ("condition", "hint"),
    [
        ("hp = 'five'", "hp is i64, so compare it with a number, not with text ('five')"),
        ("seen > 'x'", "seen is timestamp, so compare it with a whole number of microseconds"),
        ("name = 5", "name is text, so compare it with text in single quotes, not with number (5)"),
        ("hp", "compare it, as in hp <> 0"),
        ("angry IS TRUE", "IS is supported with NULL only"),
    ],
)
def test_a_refusal_says_how_to_write_it(condition: str, hint: str) -> None:
    """The sentence names the column, its type and what to write instead."""
    assert hint in refusal(f"SELECT * FROM monster WHERE {condition}").message


# -- hostile text ------------------------------------------------------------------------------------

_PREFIX = "SELECT * FROM monster WHERE "
HOSTILE = {
    "long": _PREFIX + "hp = 1 OR " * 2000 + "hp = 1",
    "literals": _PREFIX + "hp IN (" + ",".join(str(i) for i in range(1001)) + ")",
    "parentheses": _PREFIX + "(" * (NESTING_MAX + 1) + "hp = 1" + ")" * (NESTING_MAX + 1),
    "open parentheses": _PREFIX + "(" * 8000,
    "functions": _PREFIX + "f(" * 5000,
    "brackets": _PREFIX + "hp" + "[1" * 5000,
    "not": _PREFIX + "NOT " * 4000 + "angry",
    "minus": _PREFIX + "hp = " + "- " * 4000 + "1",
    "tilde": _PREFIX + "hp = " + "~" * 4000 + "1",
    "case": _PREFIX + "CASE WHEN " * 1200,
    "braces": _PREFIX + "{" * 8000,
    "dots": _PREFIX + "a." * 5000 + "b = 1",
    "selects": _PREFIX + "hp IN (SELECT id FROM monster WHERE " * 300,
    "joins": "SELECT monster.* FROM monster" + " JOIN player ON TRUE" * 700,
    "comment": _PREFIX + "/*" * 4000,
    "digits": _PREFIX + "hp = 0x" + "F" * 12000,
    "concatenation": _PREFIX + "name = " + "'a' || " * 900 + "'a'",
    "casts": _PREFIX + "hp" + "::int" * 3000 + " = 1",
    "intervals": _PREFIX + "INTERVAL " * 1700 + "= 1",
    "unions": "SELECT * FROM monster " + "UNION SELECT * FROM monster " * 500,
    "quotes": _PREFIX + "name = " + "'" * 15001,
    "pattern": _PREFIX + "name LIKE '" + "%a" * PATTERN_CHARS_MAX + "'",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a34_hostile_text_is_refused_quickly(name: str) -> None:
    """A34: length, literals and nesting are bounded; the longest texts cost a fraction of a second."""
    started = time.perf_counter()
    assert refusal(HOSTILE[name]).code == "unsupported_query"
    assert time.perf_counter() - started < 1.0


@pytest.mark.parametrize(
    "condition",
    [
        "hp = 1 OR " * 900 + "hp > 1",
        "hp > 1 AND NOT zone < 2 OR " * 480 + "angry",
        "name IN (" + ",".join(f"'{i}'" for i in range(1000)) + ")",
        "(" * NESTING_MAX + "hp = 1" + ")" * NESTING_MAX,
        "NOT (angry OR " * (NESTING_MAX - 1) + "angry" + ")" * (NESTING_MAX - 1),
        "hp = " + "9" * 5000,
        "hp < -" + "9" * 5000,
    ],
)
def test_what_is_within_the_bounds_works(condition: str) -> None:
    """The bounds are wide enough for queries that programs write, and such a query runs."""
    query = parsed(_PREFIX + condition)
    row = MONSTER.row_type(1, 2, 3, "4", "azure", False, None, None, 0, 0, 0)
    assert query.matches(row) in (True, False)
    assert parsed(query.canonical).canonical == query.canonical


def test_limits_are_those_handed_in() -> None:
    """A reactor may tighten the bounds."""
    tight = replace(DEFAULT_LIMITS, live_query_chars_max=60, live_query_literals_max=2)
    assert refusal(_PREFIX + "hp IN (1, 2, 3)", tight).details["part"] == "literals"
    assert refusal(_PREFIX + "hp = 1" + " " * 60, tight).details["part"] == "length"
    assert parsed(_PREFIX + "hp IN (1, 2)", tight).route == ("hp", (1, 2))


def test_a_deep_stack_is_no_crash() -> None:
    """Called near the end of Python's stack, the parser's recursion becomes a refusal as well."""
    room = sys.getrecursionlimit() - len(inspect.stack(0))

    def deeper(left: int) -> SenderError:
        return deeper(left - 1) if left else refusal(_PREFIX + "(" * 20 + "hp = 1" + ")" * 20)

    assert deeper(room - 100).details["part"] == "nesting"
