"""The index over workflows: the few columns that lists filter and sort by.

Whatever else a filter names has an SQL index of its own on the tables where it stands: entity, correlation, parent and
name on ``workflow``, attributes and tags on theirs. SQLite keeps those for every row there is, so they need no mark.
"""

from __future__ import annotations

from reactor.derived import DerivedIndex, SqlIndex
from workflows.tables import WORKFLOW_TABLE

VERSION = 1
"""Raise it whenever columns or their meaning change; `reactor backfill-visibility` fills the index again."""

INDEX = DerivedIndex(
    name="workflow_visibility",
    table=WORKFLOW_TABLE,
    version=VERSION,
    columns=("status", "workflow_type", "created_at", "updated_at", "deadline", "failure_category", "root_id"),
    indexes=(
        SqlIndex(("created_at DESC",)),
        SqlIndex(("status", "created_at DESC")),
        # With the status behind the order of the list, so that both together need no look at the rows.
        SqlIndex(("workflow_type", "created_at DESC", "id", "status")),
        SqlIndex(("failure_category", "created_at DESC"), partial=True),
        SqlIndex(("deadline",), partial=True),
        SqlIndex(("root_id",), partial=True),
    ),
)
