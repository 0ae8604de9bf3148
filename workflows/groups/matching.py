"""Finds the workflows a filter chooses, in memory, by the narrowest index there is.

Every criterion with an index says how many rows it would leave. The smallest is walked, and the others are tested row
by row. What comes out depends on the rows alone: it is in the order of the ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from reactor.context import Context
from reactor.errors import SenderError
from reactor.indexes import HashIndex
from workflows.attributes import book
from workflows.groups.selection import Selection, as_list
from workflows.life import Status

LOOKED_AT_MAX = 250_000
"""Rows looked at for one command of the owner's: some hundred milliseconds."""
CLIENT_LOOKED_AT_MAX = 20_000
"""The same for anybody else, who may ask as often as they like."""

_INDEXED = ("type", "entity_id", "correlation_id", "status", "parent_id")
_COLUMNS = {"type": "workflow_type"}

Test = Callable[[Any], bool]


class Source(NamedTuple):
    """A way to find candidates: how many there are, what they were found by, and their ids in no promised order."""

    size: int
    by: str
    ids: Callable[[], Iterable[int]]


def find(ctx: Context, selection: Selection, statuses: frozenset[Status] | None) -> list[Any]:
    """The rows a filter chooses, in the order of their ids.

    ``statuses`` narrows a filter that names neither statuses nor ids. Raises ``SenderError`` ``limit_exceeded`` when
    too many rows would have to be looked at; it never returns a part.
    """
    wanted = _statuses(selection, statuses)
    source = min(_sources(ctx, selection, wanted), key=lambda source: source.size)
    highest = LOOKED_AT_MAX if ctx.is_owner or ctx.sender is None else CLIENT_LOOKED_AT_MAX
    if source.size > highest:
        raise SenderError(
            "limit_exceeded",
            f"the filter would look at {source.size} workflows, found by {source.by}, and {highest} are allowed; "
            "narrow it with a correlation_id, an entity_id or a type",
            looked_at=source.size,
            limit=highest,
        )
    rows = ctx.db.workflow.rows
    tests = _tests(ctx, selection, wanted)
    found: list[Any] = []
    for workflow_id in source.ids():
        row = rows.get(workflow_id)
        if row is not None and all(test(row) for test in tests):
            found.append(row)
    found.sort(key=attrgetter("id"))
    return found


def unknown_ids(ctx: Context, selection: Selection) -> list[int]:
    """Those of the filter's ids that no workflow has, if ids are all it gives: whoever named them is told of each."""
    named = selection.ids
    if named is None or selection != Selection(ids=named):
        return []
    rows = ctx.db.workflow.rows
    return sorted(workflow_id for workflow_id in set(named) if workflow_id not in rows)


def _statuses(selection: Selection, statuses: frozenset[Status] | None) -> tuple[Status, ...]:
    """The statuses that are wanted; nothing if any will do."""
    if selection.status is not None:
        return tuple(as_list(selection.status))
    # Whoever names a workflow is told if it cannot be; whoever describes some means those that can.
    return () if statuses is None or selection.ids is not None else tuple(sorted(statuses))


# -- candidates ------------------------------------------------------------------------------------


def _sources(ctx: Context, selection: Selection, statuses: tuple[Status, ...]) -> Iterator[Source]:
    if selection.ids is not None:
        ids = set(selection.ids)
        yield Source(len(ids), "ids", lambda: ids)
    for name in _INDEXED:
        values: Sequence[Any] = statuses if name == "status" else as_list(getattr(selection, name))
        if values:
            yield _bucket(ctx, name, values)
    for tag in as_list(selection.tag):
        yield _labelled(f"tag {tag}", book.with_tag(ctx, tag))
    for name, value in selection.wanted_attributes.items():
        yield _labelled(f"attribute {name}", book.with_attribute(ctx, name, value))
    table = ctx.db.workflow
    yield Source(len(table), "nothing that has an index", lambda: table.rows)


def _bucket(ctx: Context, name: str, values: Sequence[Any]) -> Source:
    index = _index(ctx, _COLUMNS.get(name, name))
    return Source(
        sum(index.count(value) for value in values),
        name,
        lambda: chain.from_iterable(index.find(value) for value in values),
    )


def _index(ctx: Context, column: str) -> HashIndex:
    """The index itself: a lookup by the table would sort each bucket, and all of it is sorted later anyway."""
    for index in ctx.db.workflow.index_list:
        if index.columns == (column,) and isinstance(index, HashIndex):
            return index
    raise LookupError(f"workflow.{column} has no index")


def _labelled(by: str, ids: Sequence[int]) -> Source:
    return Source(len(ids), by, lambda: ids)


# -- tests -----------------------------------------------------------------------------------------


def _tests(ctx: Context, selection: Selection, statuses: tuple[Status, ...]) -> list[Test]:
    """What every row must pass, cheapest first."""
    tests = list(_equalities(selection, statuses))
    tests += _ranges(selection)
    if selection.ids is not None:
        named = frozenset(selection.ids)
        tests.append(lambda row: row.id in named)
    if selection.name_prefix is not None:
        prefix = selection.name_prefix
        tests.append(lambda row: row.name is not None and row.name.startswith(prefix))
    tags, attributes = as_list(selection.tag), selection.wanted_attributes
    if tags:
        tests.append(lambda row: all(book.has_tag(ctx, row.id, tag) for tag in tags))
    if attributes:
        tests.append(lambda row: all(book.has_attribute(ctx, row.id, *wanted) for wanted in attributes.items()))
    return tests


def _equalities(selection: Selection, statuses: tuple[Status, ...]) -> Iterator[Test]:
    if statuses:
        # By identity, as a tuple compares first: the hash of a member of an enum is a Python call.
        yield lambda row: row.status in statuses
    for name in ("type", "entity_id", "correlation_id", "parent_id", "root_id", "failure_category"):
        values = as_list(getattr(selection, name))
        if values:
            get = attrgetter(_COLUMNS.get(name, name))
            yield _is_one_of(get, values)


def _is_one_of(get: Callable[[Any], Any], values: list[Any]) -> Test:
    if len(values) == 1:
        (only,) = values
        return lambda row: bool(get(row) == only)
    several = frozenset(values)
    return lambda row: get(row) in several


def _ranges(selection: Selection) -> Iterator[Test]:
    for column in ("created", "updated"):
        first, end = getattr(selection, f"{column}_after"), getattr(selection, f"{column}_before")
        if first is not None or end is not None:
            yield _is_between(attrgetter(f"{column}_at"), first, end)


def _is_between(get: Callable[[Any], int], first: int | None, end: int | None) -> Test:
    return lambda row: (first is None or get(row) >= first) and (end is None or get(row) < end)
