"""A filter as SQL: over the index where it can be trusted, else over the table itself.

Both have the columns of the index under the same names, so the same conditions do for both. What the index does not
hold is asked of the tables that do, each by an index of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from reactor.reports import ReportContext
from reactor.sql.messages import Statement
from workflows.attributes.tables import ATTRIBUTE_TABLE, TAG_TABLE
from workflows.attributes.values import Declared, Stored
from workflows.tables import WORKFLOW_TABLE
from workflows.visibility.filters import ListFilter, Range, as_list
from workflows.visibility.index import INDEX

_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Term(NamedTuple):
    """One condition. ``{v}`` in ``sql`` stands before its columns. ``selects``: few rows, found by an index that is
    always there; ``narrows``: found by such an index of the table itself, though there may be many."""

    sql: str
    params: Sequence[Any]
    selects: bool = False
    narrows: bool = False


class Source(NamedTuple):
    """Where to look: ``table v`` under ``where`` with ``params``; ``path`` is the one condition that an index of the
    table finds, empty if every row is looked at."""

    table: str
    where: str
    params: list[Any]
    path: str
    path_params: Sequence[Any]
    is_index: bool

    def limited(self, ctx: ReportContext) -> list[Statement]:
        """What must be asked first: whether a scan would look at more rows than it may."""
        if self.is_index:
            return []
        cap = ctx.limits.list_scan_rows_max
        where = f" WHERE {self.path}" if self.path else ""
        refusal = {
            "code": "list_scan_cap_exceeded",
            "message": f"without its index this would look at more than {cap} workflows; narrow it by entity, name, "
            "attribute, type or status, or run `reactor backfill-visibility` while the server is stopped",
            "cap": cap,
        }
        sql = f"SELECT COUNT(*) FROM (SELECT 1 FROM {self.table} v{where} LIMIT {cap + 1})"
        return [Statement(sql, list(self.path_params), cap, refusal)]


def source(ctx: ReportContext, wanted: ListFilter, declared: Declared) -> Source:
    """Where the workflows of a filter are found; ``SenderError`` ``bad_arguments`` for one that means nothing."""
    wanted.check()
    is_index = ctx.is_trusted(INDEX)
    terms = list(_terms(wanted, declared, is_index))
    path = next((term for term in terms if term.selects), None)
    if path is None and not is_index:
        path = next((term for term in terms if term.narrows), None)
    # The planner knows nothing of how many rows there are: it is told which index to take. A plus keeps it off others.
    other = "v." if path is None else "+v."
    where = " AND ".join(term.sql.format(v="v." if term is path else other) for term in terms) or "1"
    params = [value for term in terms for value in term.params]
    table = INDEX.name if is_index else WORKFLOW_TABLE
    return Source(
        table,
        where,
        params,
        "" if path is None else path.sql.format(v="v."),
        () if path is None else path.params,
        is_index,
    )


def _terms(wanted: ListFilter, declared: Declared, is_index: bool) -> Iterator[Term]:
    """In the order in which one of them is chosen to find rows by."""
    if wanted.id is not None:
        yield _one_of("id", as_list(wanted.id), selects=True)
    for column in ("name", "entity_id", "correlation_id", "parent_id"):
        values = as_list(getattr(wanted, column))
        if values:
            yield _by_workflow(_one_of(column, values), is_index)
    if wanted.name_prefix is not None:
        yield _by_workflow(_starts_with(wanted.name_prefix), is_index)
    for name, values in wanted.stored_attributes(declared):
        yield _attribute(name, values)
    for tag in as_list(wanted.tag):
        yield Term(f"{{v}}id IN (SELECT workflow_id FROM {TAG_TABLE} WHERE tag = ?)", [tag], selects=True)
    if wanted.root_id is not None:
        ids = as_list(wanted.root_id)
        marks = _marks(ids)
        yield Term(f"({{v}}root_id IN ({marks}) OR {{v}}id IN ({marks}))", [*ids, *ids])
    if wanted.type is not None:
        yield _one_of("workflow_type", as_list(wanted.type), narrows=True)
    if wanted.status is not None:
        yield _one_of("status", [str(status) for status in as_list(wanted.status)], narrows=True)
    if wanted.failure_category is not None:
        yield _one_of("failure_category", as_list(wanted.failure_category))
    for column, span in (
        ("created_at", wanted.created),
        ("updated_at", wanted.updated),
        ("deadline", wanted.deadline),
    ):
        if span is not None:
            yield from _range(column, span)


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _one_of(column: str, values: Sequence[Any], *, selects: bool = False, narrows: bool = False) -> Term:
    if len(values) == 1:
        return Term(f"{{v}}{column} = ?", values, selects, narrows)
    return Term(f"{{v}}{column} IN ({_marks(values)})", values, selects, narrows)


def _starts_with(prefix: str) -> Term:
    """By order and not by LIKE, so that an index finds it and upper case stays upper case."""
    end = _after(prefix)
    if end is None:
        return Term("{v}name >= ?", [prefix])
    return Term("({v}name >= ? AND {v}name < ?)", [prefix, end])


def _after(prefix: str) -> str | None:
    """The first text after all that begin with ``prefix``; None if there is none."""
    for at in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[at])
        if code < 0x10FFFF:
            # Surrogates are no characters: the one after U+D7FF is U+E000.
            return prefix[:at] + chr(0xE000 if code == 0xD7FF else code + 1)
    return None


def _by_workflow(term: Term, is_index: bool) -> Term:
    """A condition on a column that the index does not hold."""
    if not is_index:
        return Term(term.sql, term.params, selects=True)
    inner = term.sql.format(v="")
    return Term(f"{{v}}id IN (SELECT id FROM {WORKFLOW_TABLE} WHERE {inner})", term.params, selects=True)


def _attribute(name: str, values: Sequence[Stored]) -> Term:
    texts = [value.value for value in values]
    exact = " OR ".join("(kind = ? AND value = ?)" for _ in values)
    sql = f"SELECT workflow_id FROM {ATTRIBUTE_TABLE} WHERE name = ? AND value IN ({_marks(texts)}) AND ({exact})"
    params = [name, *texts, *(part for value in values for part in (str(value.kind), value.value))]
    return Term(f"{{v}}id IN ({sql})", params, selects=True)


def _range(column: str, span: Range) -> Iterator[Term]:
    for operator, sign in _OPERATORS.items():
        bound = getattr(span, operator)
        if bound is not None:
            yield Term(f"{{v}}{column} {sign} ?", [bound])
