"""Shared queries, routing and semi-joins, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.columns import TYPES
from reactor.errors import InvariantError
from reactor.limits import DEFAULT_LIMITS
from reactor.live import ActiveQuery, Delta, Subscriptions, parse_live_query
from reactor.live.semijoin import ROUTED_KEYS_MAX
from reactor.schema import declare_table, primary_key
from reactor.store import SEQUENCE_SCHEMA, Store
from tests.reactor.live.support import FakeTable, make_schema

EFFECT = make_schema(
    "effect",
    [("id", TYPES["i64"], False), ("entity", TYPES["i64"], False), ("step", TYPES["text"], False)],
    "id",
    "entity",
)
ENTITY = make_schema(
    "entity", [("id", TYPES["i64"], False), ("zone", TYPES["i64"], True), ("hp", TYPES["i64"], False)], "id"
)


class Rig:
    """Two tables and their subscriptions; rows are given as tuples."""

    def __init__(self) -> None:
        self.tables = {"effect": FakeTable(EFFECT), "entity": FakeTable(ENTITY)}
        self.subscriptions = Subscriptions(self.tables)

    def open(self, sql: str) -> ActiveQuery:
        return self.subscriptions.open(parse_live_query(sql, {"effect": EFFECT, "entity": ENTITY}))

    def snapshot(self, active: ActiveQuery) -> list[tuple[Any, ...]]:
        return [_plain(row) for row in self.subscriptions.snapshot(active)]

    def commit(self, **rows: list[tuple[Any, ...]]) -> list[Delta]:
        """One commit: whole rows are put in, ``(key,)`` is taken out."""
        changes = []
        for name, given in rows.items():
            table = self.tables[name]
            for values in given:
                changes.append(table.apply(values[0], table.schema.row_type(*values) if len(values) > 1 else None))
        return self.subscriptions.deltas(changes)


def _plain(row: Any) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in row.__struct_fields__)


def _lists(delta: Delta) -> tuple[list[Any], list[Any], list[Any]]:
    return [_plain(r) for r in delta.inserts], [(k, _plain(r)) for k, r in delta.updates], delta.deletes


def test_a21_a22_only_the_constrained_entity_is_seen() -> None:
    """A21, A22: exactly the matching rows first, in key order, then insert, update with key, delete."""
    rig = Rig()
    rig.commit(effect=[(3, 42, "b"), (1, 42, "a"), (2, 7, "a")])
    active = rig.open("SELECT * FROM effect WHERE entity = 42")
    assert rig.snapshot(active) == [(1, 42, "a"), (3, 42, "b")]
    assert rig.commit(effect=[(2, 7, "z"), (9, 7, "new")]) == []
    (delta,) = rig.commit(effect=[(4, 42, "new"), (1, 42, "next"), (3,)])
    assert delta.query is active
    assert _lists(delta) == ([(4, 42, "new")], [(1, (1, 42, "next"))], [3])


def test_a_row_that_moves_leaves_one_query_and_enters_the_other() -> None:
    """The old and the new value are both looked up; an IN that holds both sees an update."""
    rig = Rig()
    rig.commit(effect=[(1, 7, "a")])
    seven, eight = (rig.open(f"SELECT * FROM effect WHERE entity = {n}") for n in (7, 8))
    both = rig.open("SELECT * FROM effect WHERE entity IN (7, 8) AND step <> 'x'")
    found = {d.query: _lists(d) for d in rig.commit(effect=[(1, 8, "a")])}
    assert found == {
        seven: ([], [], [1]),
        eight: ([(1, 8, "a")], [], []),
        both: ([], [(1, (1, 8, "a"))], []),
    }
    found = {d.query: _lists(d) for d in rig.commit(effect=[(1, 7, "x")])}
    assert found[both] == ([], [], [1])
    assert [d.query for d in rig.commit(effect=[(1, 9, "a")])] == [seven]


def test_a_change_that_changes_nothing_is_no_delta() -> None:
    """Identical rows are no change, routed or not."""
    rig = Rig()
    rig.commit(effect=[(1, 7, "a")])
    rig.open("SELECT * FROM effect WHERE entity = 7")
    rig.open("SELECT * FROM effect WHERE step <> 'x'")
    assert rig.commit(effect=[(1, 7, "a")]) == []


def test_equal_queries_are_one_until_the_last_holder_closes() -> None:
    """Shared by canonical text, counted, numbered once; after the last close nothing is routed."""
    rig = Rig()
    first = rig.open("SELECT * FROM effect WHERE entity = 7 AND step = 'a'")
    second = rig.open("select e.* from effect e where not (e.step <> 'a' or 7 <> e.entity)")
    assert first is second
    assert (first.holders, len(rig.subscriptions)) == (2, 1)
    assert len(rig.commit(effect=[(1, 7, "a")])) == 1
    rig.subscriptions.close(first)
    assert len(rig.commit(effect=[(1, 7, "b")])) == 1
    rig.subscriptions.close(first)
    assert rig.commit(effect=[(1, 7, "a")]) == []
    with pytest.raises(InvariantError):
        rig.subscriptions.close(first)
    assert rig.open("SELECT * FROM effect WHERE step = 'a' AND entity = 7").number != first.number


def test_a_query_that_can_never_match_costs_nothing_and_closes() -> None:
    """WHERE FALSE is routed to no value at all."""
    rig = Rig()
    never = rig.open("SELECT * FROM effect WHERE entity = NULL")
    other = rig.open("SELECT * FROM effect WHERE entity = 1")
    assert rig.snapshot(never) == []
    rig.subscriptions.close(other)
    assert rig.commit(effect=[(1, 1, "a")]) == []
    rig.subscriptions.close(never)


SEMI = "SELECT effect.* FROM effect JOIN entity ON effect.entity = entity.id WHERE entity.zone = 5"


def test_semi_join_follows_both_sides() -> None:
    """Partners coming and going bring rows in and take them out; a second partner changes nothing."""
    rig = Rig()
    active = rig.open("SELECT e.* FROM entity e JOIN effect f ON e.zone = f.entity WHERE f.step <> 'off'")
    assert ("zone",) in rig.tables["entity"].hashed
    assert rig.commit(entity=[(1, 5, 10), (2, 6, 10), (3, None, 10)]) == []
    (delta,) = rig.commit(effect=[(1, 5, "on")])
    assert _lists(delta) == ([(1, 5, 10)], [], [])
    assert rig.commit(effect=[(2, 5, "on")]) == []
    assert rig.commit(effect=[(1,)]) == []
    (delta,) = rig.commit(entity=[(1, 5, 9)])
    assert _lists(delta) == ([], [(1, (1, 5, 9))], [])
    assert rig.snapshot(active) == [(1, 5, 9)]
    (delta,) = rig.commit(effect=[(2, 5, "off")])
    assert _lists(delta) == ([], [], [1])
    assert rig.snapshot(active) == []


@pytest.mark.parametrize("sql", [SEMI, SEMI + " AND effect.id IN (1, 2, 3)", SEMI + " AND effect.step <> 'x'"])
def test_semi_join_counts_a_commit_that_changes_both_sides_once(sql: str) -> None:
    """Outer and inner rows of one commit give the net effect, in either order of the changes."""
    for order in (("effect", "entity"), ("entity", "effect")):
        rig = Rig()
        rig.commit(entity=[(1, 5, 0), (2, 6, 0), (3, 6, 0)], effect=[(1, 1, "a"), (2, 2, "a"), (3, 3, "a")])
        rig.open(sql)
        changes: dict[str, list[tuple[Any, ...]]] = {
            "effect": [(1, 2, "moved"), (2, 2, "here"), (3,)],
            "entity": [(1,), (2, 5, 1), (3, 5, 1)],
        }
        (delta,) = rig.commit(**{name: changes[name] for name in order})
        assert _lists(delta) == ([(2, 2, "here")], [(1, (1, 2, "moved"))], [])


def test_semi_join_with_many_partner_values_is_right_as_well() -> None:
    """Past the bound the outer rows are tested instead of routed, with the same result."""
    rig = Rig()
    rig.commit(entity=[(n, 5, 0) for n in range(ROUTED_KEYS_MAX + 2)])
    active = rig.open(SEMI)
    (delta,) = rig.commit(effect=[(1, 3, "a"), (2, -1, "a")])
    assert _lists(delta) == ([(1, 3, "a")], [], [])
    assert rig.commit(effect=[(2, -2, "a")]) == []
    (delta,) = rig.commit(entity=[(3, 6, 0)], effect=[(3, 4, "a")])
    assert _lists(delta) == ([(3, 4, "a")], [], [1])
    rig.subscriptions.close(active)
    assert rig.commit(effect=[(9, 4, "a")]) == []


def test_resume_names_what_to_put_in_and_what_to_take_out() -> None:
    """A35: the keys that changed are judged as they stand now, each once, those of other tables ignored."""
    rig = Rig()
    rig.commit(effect=[(1, 7, "a"), (2, 7, "a"), (3, 8, "a")])
    active = rig.open("SELECT * FROM effect WHERE entity = 7")
    delta = rig.subscriptions.resume(
        active, [("effect", 1), ("effect", 3), ("entity", 2), ("effect", 1), ("effect", 9)]
    )
    assert delta is not None
    assert _lists(delta) == ([(1, 7, "a")], [], [3, 9])
    assert rig.subscriptions.resume(rig.open(SEMI), []) is None


def test_snapshot_uses_the_index_of_the_routed_column() -> None:
    """A snapshot of one entity does not visit the others' rows."""
    rig = Rig()
    rig.commit(effect=[(n, n % 3, "a") for n in range(30)])
    active = rig.open("SELECT * FROM effect WHERE entity IN (1, 2) AND id < 9")
    table = rig.tables["effect"]
    looked_up = []
    original = table.lookup
    table.lookup = lambda columns, values: looked_up.append((columns, values)) or original(columns, values)  # type: ignore[method-assign,func-returns-value]
    assert [row[0] for row in rig.snapshot(active)] == [1, 2, 4, 5, 7, 8]
    assert looked_up == [(("entity",), (1,)), (("entity",), (2,))]


def test_snapshot_of_a_semi_join_looks_up_its_few_partners() -> None:
    """With few partner values the outer table is not scanned; with many it is; the rows are the same."""
    for zones, scans in ((1, False), (9, True)):
        rig = Rig()
        rig.commit(entity=[(n, n % 10, 0) for n in range(60, 0, -1)], effect=[(n, n, "a") for n in range(zones)])
        active = rig.open("SELECT * FROM entity WHERE id <> 10 AND zone IN (SELECT entity FROM effect)")
        table = rig.tables["entity"]
        looked_up = []
        original = table.lookup
        table.lookup = lambda columns, values: looked_up.append(values) or original(columns, values)  # type: ignore[method-assign,func-returns-value]  # noqa: B023
        expected = [n for n in range(1, 61) if n % 10 < zones and n != 10]
        assert [row[0] for row in rig.snapshot(active)] == expected
        assert (not looked_up) is scans


class _Monster:
    id: int = primary_key(auto=True)
    zone: int
    hp: int | None = None


class _Zone:
    id: int = primary_key()
    open: bool = False


def test_the_real_store_feeds_subscriptions() -> None:
    """The store's net changes and indexes are what subscriptions need."""
    schemas = {
        s.name: s
        for s in (declare_table(_Monster, name="monster", indexes=["zone"]), declare_table(_Zone, name="zone"))
    }
    numbered = [SEQUENCE_SCHEMA, *schemas.values()]
    store = Store(numbered, {s.name: n for n, s in enumerate(numbered, 1)}, DEFAULT_LIMITS)
    subscriptions = Subscriptions(store.tables)
    weak = subscriptions.open(parse_live_query("SELECT * FROM monster WHERE zone = 1 AND hp < 5", schemas))
    near = subscriptions.open(
        parse_live_query("SELECT m.* FROM monster m JOIN zone z ON m.zone = z.id WHERE z.open", schemas)
    )
    monster, zone = store.tables["monster"], store.tables["zone"]
    store.begin()
    row = monster.insert(zone=1, hp=9)
    monster.update(row, hp=4)
    monster.insert(zone=2)
    zone.insert(id=1, open=True)
    assert {d.query: _lists(d) for d in subscriptions.deltas(store.commit())} == {
        weak: ([(1, 1, 4)], [], []),
        near: ([(1, 1, 4)], [], []),
    }
    assert [r.id for r in subscriptions.snapshot(near)] == [1]
    store.begin()
    zone.update(1, open=False)
    zone.insert(id=2, open=True)
    assert {d.query: _lists(d) for d in subscriptions.deltas(store.commit())} == {near: ([(2, 2, None)], [], [1])}
