"""What a change costs in subscriptions: routed by hash, beside other queries, and tested one by one.

Run with ``python -m tests.bench.bench_routing``; it takes some seconds. Each figure is the best of several rounds, and
the rounds of the figures that are compared take turns, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from operator import attrgetter
from typing import Any

from reactor.columns import TYPES, Column
from reactor.live import Change, Subscriptions, parse_live_query
from reactor.schema import Index, TableSchema, row_class

_COLUMNS = tuple(Column(name, TYPES["i64"]) for name in ("id", "entity_id", "zone", "step"))
_ROUNDS = 7
_OTHERS = 10_000
_WATCHERS = 1_000


class _Rows:
    """The least that subscriptions need of a table."""

    def __init__(self, name: str) -> None:
        self.schema = TableSchema(
            name, _COLUMNS, "id", indexes=(Index(("entity_id",)),), row_type=row_class(name, _COLUMNS)
        )
        self.name = name
        self.rows: dict[Any, Any] = {}
        self.key_of: Callable[[Any], Any] = attrgetter("id")

    def lookup(self, columns: tuple[str, ...], values: tuple[Any, ...]) -> Sequence[Any]:
        return [r for r in self.rows.values() if getattr(r, columns[0]) == values[0]]

    def ensure_hash_index(self, columns: tuple[str, ...]) -> None:
        """None is kept."""


Load = Callable[[], int]


def _changes(table: _Rows, entities: Sequence[int], count: int) -> list[Change]:
    """Updates of rows that keep their entity."""
    make = table.schema.row_type
    return [
        (table, n, make(n, e, 1, n), make(n, e, 1, n + 1)) for n in range(count) for e in (entities[n % len(entities)],)
    ]


def _subscribed(table: _Rows, conditions: Sequence[str]) -> Subscriptions:
    subscriptions = Subscriptions({table.name: table})
    for condition in conditions:
        sql = f"SELECT * FROM {table.name} WHERE {condition}"
        subscriptions.open(parse_live_query(sql, {table.name: table.schema}))
    return subscriptions


def _commits(subscriptions: Subscriptions, changes: list[Change], size: int) -> Load:
    groups = [changes[n : n + size] for n in range(0, len(changes), size)]

    def run() -> int:
        return sum(len(subscriptions.deltas(group)) for group in groups)

    return run


def _rates(loads: dict[str, tuple[Load, int]]) -> dict[str, float]:
    """Changes per second, the best of the rounds."""
    best = dict.fromkeys(loads, float("inf"))
    for _ in range(_ROUNDS):
        for name, (load, _) in loads.items():
            started = time.perf_counter()
            load()
            best[name] = min(best[name], time.perf_counter() - started)
    return {name: count / best[name] for name, (_, count) in loads.items()}


def _predicate_ns() -> dict[str, float]:
    table = _Rows("effect")
    row = table.schema.row_type(1, 42, 3, 4)
    found = {}
    for condition in ("entity_id = 42", "entity_id = 42 AND zone > 2", "zone IN (1, 2, 3)"):
        sql = f"SELECT * FROM effect WHERE {condition}"
        matches = parse_live_query(sql, {"effect": table.schema}).matches
        best = float("inf")
        for _ in range(_ROUNDS):
            started = time.perf_counter()
            for _ in range(50_000):
                matches(row)
            best = min(best, time.perf_counter() - started)
        found[condition] = best / 50_000 * 1e9
    return found


def _parse_us() -> float:
    table = _Rows("effect")
    best = float("inf")
    for n in range(200):
        started = time.perf_counter()
        parse_live_query(f"SELECT * FROM effect WHERE entity_id = {n} AND step > 5", {"effect": table.schema})
        best = min(best, time.perf_counter() - started)
    return best * 1e6


def main() -> None:
    """Measure and print, one line a figure."""
    table = _Rows("effect")
    many = [f"entity_id = {n}" for n in range(1, _OTHERS + 1)]
    one = "entity_id = 0"
    missing, seen = _changes(table, range(100_000, 105_000), 50_000), _changes(table, [0], 50_000)
    by_hand = [parse_live_query(f"SELECT * FROM effect WHERE {c}", {"effect": table.schema}).matches for c in many]
    few = missing[:20]

    def tested_one_by_one() -> int:
        return sum(1 for _, _, old, new in few for matches in by_hand if matches(old) or matches(new))

    watchers = _subscribed(table, [f"entity_id = 0 AND step > {-n}" for n in range(_WATCHERS)])
    idle, alone, crowded = (_subscribed(table, c) for c in ([], [one], [one, *many]))
    rates = _rates(
        {
            "idle": (_commits(idle, missing, 2), len(missing)),
            "alone": (_commits(alone, missing, 2), len(missing)),
            "crowded": (_commits(crowded, missing, 2), len(missing)),
            "alone, in one commit": (_commits(alone, missing, len(missing)), len(missing)),
            "crowded, in one commit": (_commits(crowded, missing, len(missing)), len(missing)),
            "alone, seen": (_commits(alone, seen, 2), len(seen)),
            "crowded, seen": (_commits(crowded, seen, 2), len(seen)),
            "watched": (_commits(watchers, seen[:40], 2), 40),
            "one by one": (tested_one_by_one, len(few)),
        }
    )
    print(
        f"machine              {platform.machine()}, CPython {platform.python_version()}, sqlglot {version('sqlglot')}"
    )
    print(f"no query on table    {rates['idle']:>12,.0f} changes/s (2 a commit)")
    print(f"routed, missed       {rates['alone']:>12,.0f} changes/s (2 a commit)")
    print(
        f"  + {_OTHERS:,} others    {rates['crowded']:>12,.0f} changes/s, ratio {rates['crowded'] / rates['alone']:.3f}"
    )
    print(f"routed, missed       {rates['alone, in one commit']:>12,.0f} changes/s (one commit)")
    ratio = rates["crowded, in one commit"] / rates["alone, in one commit"]
    print(f"  + {_OTHERS:,} others    {rates['crowded, in one commit']:>12,.0f} changes/s, ratio {ratio:.3f}")
    print(f"routed, one delta    {rates['alone, seen']:>12,.0f} changes/s (2 a commit)")
    ratio = rates["crowded, seen"] / rates["alone, seen"]
    print(f"  + {_OTHERS:,} others    {rates['crowded, seen']:>12,.0f} changes/s, ratio {ratio:.3f}")
    deltas = rates["watched"] * _WATCHERS
    print(f"{_WATCHERS:,} queries see it {deltas:>12,.0f} row deltas/s, {rates['watched']:,.0f} changes/s")
    ratio = rates["crowded"] / rates["one by one"]
    print(f"tested one by one    {rates['one by one']:>12,.0f} changes/s; routing is {ratio:,.0f} times faster")
    for condition, ns in _predicate_ns().items():
        print(f"predicate            {ns:>12.0f} ns  {condition}")
    print(f"parse and compile    {_parse_us():>12.0f} us a query")


if __name__ == "__main__":
    main()
