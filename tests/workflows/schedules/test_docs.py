"""The guide to schedules says what is true."""

from __future__ import annotations

import msgspec

from tests.guides import page_text
from workflows import WorkflowEngine
from workflows.schedules import Overlap
from workflows.schedules.settings import ScheduleSettings
from workflows.schedules.tables import SCHEMAS

GUIDE = page_text("schedules")


def test_the_guide_mentions_everything() -> None:
    """Reducers, tables, settings, policies, the view."""
    wanted = {name for name in WorkflowEngine().reducers if name.startswith("schedule_")}
    wanted |= {schema.name for schema in SCHEMAS} | {"schedule_overview", "cleanup_by_type", "authorize"}
    wanted |= {field.name for field in msgspec.structs.fields(ScheduleSettings)} | {policy.value for policy in Overlap}
    assert sorted(name for name in wanted if f"`{name}" not in GUIDE and f".{name}" not in GUIDE) == []
