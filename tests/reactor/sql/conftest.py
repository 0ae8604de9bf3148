"""A planted projection and SQL over it, in this process."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from reactor.sql.inline import InlineSql
from tests.reactor.sql.planted import inline, open_writer, plant


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    """A planted in-memory projection, with Python's statement cache on."""
    writer = open_writer()
    plant(writer, 100)
    yield writer
    writer.close()


@pytest.fixture
def sql(connection: sqlite3.Connection) -> InlineSql:
    """SQL over it."""
    return inline(connection)
