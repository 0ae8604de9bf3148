"""Lists and aggregates as a part of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reactor.module import Module
from reactor.reports import Query, ReportContext
from workflows.attributes.values import Declared
from workflows.parts import Part
from workflows.visibility.counting import GROUPS, aggregate_query
from workflows.visibility.filters import ListFilter
from workflows.visibility.index import INDEX
from workflows.visibility.listing import LIMIT, list_query
from workflows.visibility.parameters import read_aggregate, read_list


class VisibilityPart(Part):
    """The index over workflows, and the reports that use it. ``kinds``: attributes that hold one kind of value only."""

    kinds: Declared = {}

    def declare(self, module: Module) -> None:
        """The index and the reports."""
        module.derived_index(INDEX)
        module.report(self.workflow_list, route="workflows", read_query=self._read_list)
        module.report(self.workflow_aggregate, route="workflows/aggregate", read_query=self._read_aggregate)

    def workflow_list(
        self,
        ctx: ReportContext,
        filter: ListFilter = ListFilter(),  # noqa: B008 - it is frozen
        limit: int = LIMIT,
        offset: int = 0,
        cursor: str | None = None,
        total: bool = True,
    ) -> Query:
        """A page of workflows, newest first: {items, total, offset, limit, cursor, used_index}.

        Give the cursor back for the next page; it is null after the last. ``total=false`` saves counting them all.
        """
        return list_query(ctx, self.kinds, filter, limit, offset, cursor, total)

    def workflow_aggregate(
        self,
        ctx: ReportContext,
        by: str,
        filter: ListFilter = ListFilter(),  # noqa: B008 - it is frozen
        limit: int = GROUPS,
    ) -> Query:
        """How many workflows there are by status, type, failure_category, tag or attribute:NAME.

        Most first: {by, groups: [{key, count}], total, truncated, used_index}.
        """
        return aggregate_query(ctx, self.kinds, by, filter, limit)

    def _read_list(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return read_list(pairs, self.kinds)

    def _read_aggregate(self, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return read_aggregate(pairs, self.kinds)
