"""The report ``workflow_aggregate``: how many workflows there are of each value of one dimension."""

from __future__ import annotations

from typing import Any

from reactor.errors import SenderError
from reactor.reports import Query, ReportContext, Results
from reactor.sql.messages import Statement
from workflows.attributes.tables import ATTRIBUTE_TABLE, TAG_TABLE
from workflows.attributes.values import Declared, loaded
from workflows.visibility.filters import ListFilter
from workflows.visibility.listing import check_limit
from workflows.visibility.terms import source

GROUPS = 100
GROUPS_MAX = 10_000

_COLUMNS = {"status": "status", "type": "workflow_type", "failure_category": "failure_category"}
_ATTRIBUTE = "attribute:"


def aggregate_query(ctx: ReportContext, declared: Declared, by: str, wanted: ListFilter, limit: int) -> Query:
    """What an aggregate asks; ``SenderError`` ``bad_arguments`` for a dimension or filter that means nothing."""
    check_limit(limit, GROUPS_MAX)
    found = source(ctx, wanted, declared)
    join, joined, kind, key = _dimension(by)
    most = ctx.limits.aggregate_keys_max
    grouped = "2" if kind == "NULL" else "1, 2"
    # Cut off one past the cap: which groups come first is chance, so then there is no answer at all.
    inner = (
        f"SELECT {kind} AS kind, {key} AS key, COUNT(*) AS n FROM {found.table} v{join} WHERE {found.where}"
        f" GROUP BY {grouped} LIMIT {most + 1}"
    )
    groups = (
        f"SELECT kind, key, n, COUNT(*) OVER (), SUM(n) OVER () FROM ({inner}) ORDER BY n DESC, key IS NULL, kind,"
        f" CASE WHEN kind IN ('int', 'float', 'time') THEN CAST(key AS REAL) END, key LIMIT {limit}"
    )
    statements = [*found.limited(ctx), Statement(groups, [*joined, *found.params])]
    if by == "tag":
        # A workflow stands in each of its tags, so the groups do not add up to the workflows.
        total = f"SELECT COUNT(*) FROM {found.table} v WHERE {found.where}"
        statements.append(Statement(total, list(found.params)))

    def shape(results: Results) -> dict[str, Any]:
        rows = results[-2] if by == "tag" else results[-1]
        distinct, matching = rows[0][3:] if rows else (0, 0)
        if by == "tag":
            ((matching,),) = results[-1]
        if distinct > most:
            raise SenderError(
                "too_many_groups",
                f"there are more than {most} values of {by}; narrow the filter, or ask for another dimension",
                cap=most,
            )
        return {
            "by": by,
            "groups": [{"key": _key(kind, key), "count": n} for kind, key, n, *_ in rows],
            "total": matching,
            "truncated": distinct > limit,
            "used_index": found.is_index,
        }

    return Query(statements, shape)


def _key(kind: str | None, key: Any) -> Any:
    return key if kind is None or key is None else loaded(kind, key)


def _dimension(by: str) -> tuple[str, list[Any], str, str]:
    """The join it needs, its parameters, and the two columns to group by. Those without a value are a group, too."""
    if by in _COLUMNS:
        return "", [], "NULL", f"v.{_COLUMNS[by]}"
    if by == "tag":
        return f" LEFT JOIN {TAG_TABLE} t ON t.workflow_id = v.id", [], "NULL", "t.tag"
    if by.startswith(_ATTRIBUTE) and len(by) > len(_ATTRIBUTE):
        join = f" LEFT JOIN {ATTRIBUTE_TABLE} a ON a.workflow_id = v.id AND a.name = ?"
        return join, [by.removeprefix(_ATTRIBUTE)], "a.kind", "a.value"
    raise SenderError(
        "bad_arguments",
        f"parameter by: {by!r} is no dimension; there are {', '.join(_COLUMNS)}, tag and {_ATTRIBUTE}NAME",
        parameter="by",
    )
