"""Live queries mean what SQLite means: whatever is asked, both find the same rows."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.live import Subscriptions, parse_live_query
from tests.reactor.live.support import (
    FakeTable,
    Mirror,
    random_query,
    random_row,
    random_schema,
    random_value,
)

_SETTINGS = settings(max_examples=500, deadline=None)


@_SETTINGS
@given(st.integers(0, 2**64))
def test_a21_every_query_finds_the_rows_sqlite_finds(seed: int) -> None:
    """A21: random schemas with all column types, rows with NULL and edge values, queries of every form."""
    rng = Random(seed)
    schemas = {name: random_schema(rng, name) for name in ("t", "u")}
    tables = {name: FakeTable(schema) for name, schema in schemas.items()}
    mirror = Mirror(schemas)
    for name, schema in schemas.items():
        for _ in range(rng.randint(0, 8)):
            key = random_value(rng, schema.columns[0])
            row = random_row(rng, schema, key)
            tables[name].apply(key, row)
            mirror.apply(schema, key, row)
    subscriptions = Subscriptions(tables)
    for _ in range(6):
        sql, name = random_query(rng, schemas)
        query = parse_live_query(sql, schemas)
        schema = schemas[name]
        assert query.table == name
        found = subscriptions.snapshot(subscriptions.open(query))
        keys = sorted((mirror.key(schema, tables[name].key_of(row)) for row in found), key=repr)
        assert keys == mirror.keys(sql, schema), (sql, query.canonical)
        # The canonical text says the same, to SQLite and to us.
        assert keys == mirror.keys(query.canonical, schema), (sql, query.canonical)
        assert parse_live_query(query.canonical, schemas).canonical == query.canonical
