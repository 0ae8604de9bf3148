"""The guide to groups says what is true: it mentions everything there is."""

from __future__ import annotations

from tests.guides import page_text
from workflows import WorkflowEngine
from workflows.groups import Selection
from workflows.groups.verbs import VERBS

GUIDE = page_text("groups")


def test_the_guide_mentions_everything() -> None:
    """Verbs, fields of a filter, reducers."""
    reducers = {name for name in WorkflowEngine().reducers if "group" in name or "area" in name}
    wanted = {*VERBS, *Selection.__struct_fields__, *reducers} - {"workflow_group_work"}
    assert sorted(word for word in wanted if f"`{word}" not in GUIDE) == []
