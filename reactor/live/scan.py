"""Rows of a table that pass a filter, found by index where there is one."""

from __future__ import annotations

from typing import Any

from reactor.live.query import Filter
from reactor.live.view import TableView, has_hash_index


def matching_rows(table: TableView, where: Filter) -> list[Any]:
    """The rows that pass ``where``, in no particular order."""
    route = where.route
    if route is None or not has_hash_index(table.schema, route.column):
        # Without an index a lookup would scan once per value; this scans once.
        return list(filter(where.matches, table.rows.values()))
    found: list[Any] = []
    for value in route.values:
        found += table.lookup((route.column,), (value,))
    return found if where.residual is None else list(filter(where.residual, found))
