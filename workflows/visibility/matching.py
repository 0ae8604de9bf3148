"""The same filters inside a reducer, over the tables in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reactor.context import Context
from workflows.attributes import book
from workflows.attributes.values import loaded
from workflows.visibility.filters import ListFilter, Range, as_list

_EQUAL = {
    "id": "id",
    "name": "name",
    "entity_id": "entity_id",
    "correlation_id": "correlation_id",
    "parent_id": "parent_id",
    "type": "workflow_type",
    "status": "status",
    "failure_category": "failure_category",
}


def matching(ctx: Context, wanted: ListFilter) -> list[Any]:
    """The rows of the workflows that match, in the order of lists: newest first, then by id.

    Looks at the workflows that one part of the filter finds by an index, and at all of them where there is none.
    ``SenderError`` ``bad_arguments`` for a filter that means nothing.
    """
    wanted.check()
    attributes = list(wanted.stored_attributes(ctx.workflows.attribute_kinds))
    found = [row for row in _candidates(ctx, wanted) if _holds(ctx, row, wanted, attributes)]
    return sorted(found, key=lambda row: (-row.created_at, row.id))


def _candidates(ctx: Context, wanted: ListFilter) -> Iterator[Any]:
    table = ctx.db.workflow
    for field in ("id", "name", "entity_id", "correlation_id", "parent_id"):
        values = as_list(getattr(wanted, field))
        if values:
            for value in values:
                yield from table.lookup((field,), (value,))
            return
    tags = as_list(wanted.tag)
    if tags:
        yield from map(table.require, book.with_tag(ctx, tags[0]))
        return
    for name, values in wanted.stored_attributes(ctx.workflows.attribute_kinds):
        for kind, text in values:
            ids = book.with_attribute(ctx, name, loaded(kind, text))
            yield from map(table.require, ids)
        return
    for field in ("type", "status"):
        values = as_list(getattr(wanted, field))
        if values:
            for value in values:
                yield from table.lookup((_EQUAL[field],), (value,))
            return
    yield from table


def _holds(ctx: Context, row: Any, wanted: ListFilter, attributes: list[Any]) -> bool:
    for field, column in _EQUAL.items():
        values = getattr(wanted, field)
        if values is not None and getattr(row, column) not in as_list(values):
            return False
    roots = wanted.root_id
    return (
        (wanted.name_prefix is None or row.name.startswith(wanted.name_prefix))
        and (roots is None or row.root_id in as_list(roots) or row.id in as_list(roots))
        and _is_in(row.created_at, wanted.created)
        and _is_in(row.updated_at, wanted.updated)
        and _is_in(row.deadline, wanted.deadline)
        and all(book.has_tag(ctx, row.id, tag) for tag in as_list(wanted.tag))
        and all(_has_one(ctx, row.id, name, values) for name, values in attributes)
    )


def _is_in(value: int | None, span: Range | None) -> bool:
    if span is None:
        return True
    return (
        value is not None
        and (span.gt is None or value > span.gt)
        and (span.gte is None or value >= span.gte)
        and (span.lt is None or value < span.lt)
        and (span.lte is None or value <= span.lte)
    )


def _has_one(ctx: Context, workflow_id: int, name: str, values: list[Any]) -> bool:
    row = ctx.db.workflow_attribute.first(workflow_id=workflow_id, name=name)
    return row is not None and (row.kind, row.value) in values
