"""The report ``workflow_list``: a page of workflows, newest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from reactor.errors import SenderError
from reactor.reports import Query, ReportContext, Results
from reactor.sql.messages import Statement
from workflows.attributes.tables import ATTRIBUTE_TABLE, TAG_TABLE
from workflows.attributes.values import Declared, loaded
from workflows.tables import WORKFLOW_TABLE
from workflows.visibility.cursor import Cursor, read_cursor
from workflows.visibility.filters import ListFilter
from workflows.visibility.terms import Source, source

LIMIT_MAX = 1_000
LIMIT = 50
OFFSET_MAX = 1_000_000

ITEM = (
    "id", "name", "workflow_type", "status", "current_step", "entity_id", "correlation_id", "parent_id", "root_id",
    "run", "created_at", "updated_at", "deadline", "failure_category", "error_message",
)  # fmt: skip
"""The columns of an item; it has ``attributes`` and ``tags`` besides."""

_ORDER = "created_at DESC, v.id"


def check_limit(limit: int, most: int) -> None:
    """``SenderError`` ``bad_arguments`` for a page without rows or with too many."""
    if not 1 <= limit <= most:
        raise SenderError("bad_arguments", f"parameter limit: from 1 to {most}", parameter="limit")


def list_query(
    ctx: ReportContext,
    declared: Declared,
    wanted: ListFilter,
    limit: int,
    offset: int,
    cursor: str | None,
    with_total: bool,
) -> Query:
    """What a page asks; ``SenderError`` ``bad_arguments`` for a filter, bound or cursor that means nothing."""
    check_limit(limit, LIMIT_MAX)
    if not 0 <= offset <= OFFSET_MAX:
        raise SenderError("bad_arguments", f"parameter offset: from 0 to {OFFSET_MAX}", parameter="offset")
    if cursor is not None and offset:
        raise SenderError("bad_arguments", "give a cursor or an offset: each says where to begin", parameter="offset")
    found = source(ctx, wanted, declared)
    after = None if cursor is None else read_cursor(cursor, wanted.fingerprint)
    statements = found.limited(ctx)
    if with_total:
        statements.append(Statement(f"SELECT COUNT(*) FROM {found.table} v WHERE {found.where}", found.params))
    statements.append(_page(found, after, limit, offset))
    return Query(statements, _shape(wanted.fingerprint, limit, offset, with_total, found.is_index))


def _page(found: Source, after: Cursor | None, limit: int, offset: int) -> Statement:
    where, params = found.where, list(found.params)
    if after is not None:
        where += " AND v.created_at <= ? AND (v.created_at < ? OR v.id > ?)"
        params += [after.created_at, after.created_at, after.id]
    # One more than asked for tells whether there is another page.
    chosen = (
        f"SELECT v.id AS id, v.created_at AS at FROM {found.table} v WHERE {where}"
        f" ORDER BY v.{_ORDER} LIMIT {limit + 1} OFFSET {offset}"
    )
    sql = (
        f"SELECT {', '.join(f'w.{name}' for name in ITEM)},"
        f" (SELECT json_group_array(json_array(a.name, a.kind, a.value)) FROM {ATTRIBUTE_TABLE} a"
        " WHERE a.workflow_id = w.id),"
        f" (SELECT json_group_array(t.tag) FROM {TAG_TABLE} t WHERE t.workflow_id = w.id)"
        f" FROM ({chosen}) p CROSS JOIN {WORKFLOW_TABLE} w ON w.id = p.id ORDER BY p.at DESC, p.id"
    )
    return Statement(sql, params)


def _shape(
    fingerprint: str, limit: int, offset: int, with_total: bool, used_index: bool
) -> Callable[[Results], dict[str, Any]]:
    def shape(results: Results) -> dict[str, Any]:
        rows = results[-1]
        items = [_item(row) for row in rows[:limit]]
        cursor = None
        if len(rows) > limit:
            cursor = Cursor(items[-1]["created_at"], items[-1]["id"], fingerprint).encoded()
        return {
            "items": items,
            "total": results[-2][0][0] if with_total else None,
            "offset": offset,
            "limit": limit,
            "cursor": cursor,
            "used_index": used_index,
        }

    return shape


def _item(row: Sequence[Any]) -> dict[str, Any]:
    item = dict(zip(ITEM, row, strict=False))
    attributes = sorted(orjson.loads(row[-2]))
    item["attributes"] = {name: loaded(kind, value) for name, kind, value in attributes}
    item["tags"] = sorted(orjson.loads(row[-1]))
    return item
