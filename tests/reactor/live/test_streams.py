"""Snapshot and deltas: at every commit a subscriber holds exactly what SQLite would answer."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.live import ActiveQuery, Change, Subscriptions, parse_live_query
from tests.reactor.live.support import (
    FakeTable,
    Mirror,
    Subscriber,
    random_query,
    random_row,
    random_schema,
    random_value,
)

_SETTINGS = settings(max_examples=500, deadline=None)


class World:
    """Two tables here and in SQLite, and subscribers on queries over them."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.schemas = {name: random_schema(rng, name) for name in ("t", "u")}
        self.tables = {name: FakeTable(schema) for name, schema in self.schemas.items()}
        self.mirror = Mirror(self.schemas)
        self.subscriptions = Subscriptions(self.tables)
        self.held: list[tuple[str, ActiveQuery, Subscriber]] = []

    def open(self) -> None:
        """Open one more query, or a held one again."""
        if self.held and self.rng.random() < 0.2:
            sql = self.rng.choice(self.held)[0]
        else:
            sql, _ = random_query(self.rng, self.schemas)
        active = self.subscriptions.open(parse_live_query(sql, self.schemas))
        table = self.tables[active.query.table]
        self.held.append((sql, active, Subscriber(table, self.subscriptions.snapshot(active))))

    def close(self) -> None:
        """Close one."""
        if self.held:
            _, active, _ = self.held.pop(self.rng.randrange(len(self.held)))
            self.subscriptions.close(active)

    def commit(self) -> list[Change]:
        """Change some rows of both tables, each at most once, in mixed order."""
        rng, changes = self.rng, list[Change]()
        for name, schema in self.schemas.items():
            table = self.tables[name]
            keys: dict[Any, None] = {}
            for _ in range(rng.randint(0, 4)):
                known = list(table.rows)
                keys[rng.choice(known) if known and rng.random() < 0.6 else random_value(rng, schema.columns[0])] = None
            for key in keys:
                changes.append(self._change(table, key))
        rng.shuffle(changes)
        return changes

    def _change(self, table: FakeTable, key: Any) -> Change:
        old, roll = table.rows.get(key), self.rng.random()
        if old is not None and roll < 0.3:
            new = None
        elif old is not None and roll < 0.4:
            new = type(old)(*(getattr(old, f) for f in table.schema.column_names))  # the same again
        else:
            new = random_row(self.rng, table.schema, key)
        self.mirror.apply(table.schema, key, new)
        return table.apply(key, new)

    def take(self, changes: list[Change]) -> None:
        """Hand the deltas of a commit to the subscribers."""
        deltas = self.subscriptions.deltas(changes)
        assert len({d.query for d in deltas}) == len(deltas), "two deltas of one query"
        assert {d.query for d in deltas} <= {active for _, active, _ in self.held}, "a delta of a closed query"
        for delta in deltas:
            for _, active, subscriber in self.held:
                if active is delta.query:
                    subscriber.take(delta)

    def check(self) -> None:
        """Every subscriber holds what SQLite answers, with the rows as they stand."""
        for sql, active, subscriber in self.held:
            table = self.tables[active.query.table]
            keys = sorted((self.mirror.key(table.schema, key) for key in subscriber.rows), key=repr)
            assert keys == self.mirror.keys(sql, table.schema), sql
            assert all(row == table.rows[key] for key, row in subscriber.rows.items()), sql


@_SETTINGS
@given(st.integers(0, 2**64))
def test_p4_snapshot_and_deltas_are_the_result_at_every_commit(seed: int) -> None:
    """P4, A30, A35: queries open and close between random commits; each delta is minimal and rightly classed."""
    rng = Random(seed)
    world = World(rng)
    for _ in range(rng.randint(1, 12)):
        for _ in range(rng.randint(0, 2)):
            world.open()
        if rng.random() < 0.2:
            world.close()
        world.take(world.commit())
        world.check()
    while world.held:
        world.close()
    assert len(world.subscriptions) == 0
    assert not world.subscriptions._watches, "a table without queries must cost nothing"


@_SETTINGS
@given(st.integers(0, 2**64))
def test_p4_an_undone_commit_leaves_no_trace(seed: int) -> None:
    """P4, P6: commits that the store takes back are taken back here, whatever came before and after."""
    rng = Random(seed)
    world = World(rng)
    for _ in range(3):
        world.take(world.commit())
        world.open()
    rows = {name: dict(table.rows) for name, table in world.tables.items()}
    undone = [change for _ in range(rng.randint(1, 3)) for change in _committed(world)]
    for table, key, _, _ in undone:
        before = rows[table.name].get(key)
        world.tables[table.name].apply(key, before)
        world.mirror.apply(table.schema, key, before)
    world.subscriptions.undo(undone)
    for _ in range(3):
        world.check()
        world.take(world.commit())
    world.check()


def _committed(world: World) -> list[Change]:
    changes = world.commit()
    world.subscriptions.deltas(changes)
    return changes


@_SETTINGS
@given(st.integers(0, 2**64))
def test_a35_resume_brings_an_old_subscriber_to_the_present(seed: int) -> None:
    """A35: rows of an earlier moment plus one resume delta are the result of now; semi-joins say None."""
    rng = Random(seed)
    world = World(rng)
    world.take(world.commit())
    for _ in range(4):
        world.open()
    missed = [change for _ in range(rng.randint(0, 4)) for change in _committed(world)]
    changed = [(table.name, key) for table, key, _, _ in missed]
    for _, active, subscriber in world.held:
        delta = world.subscriptions.resume(active, changed)
        if active.query.semijoin is not None:
            assert delta is None
            rows = world.subscriptions.snapshot(active)
            subscriber.rows = {subscriber.key_of(r): r for r in rows}
            continue
        assert delta is not None
        assert not delta.updates
        for key in delta.deletes:
            subscriber.rows.pop(key, None)
        subscriber.rows |= {subscriber.key_of(r): r for r in delta.inserts}
    world.check()
