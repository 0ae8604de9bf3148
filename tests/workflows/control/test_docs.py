"""The guide to operating workflows says what is true."""

from __future__ import annotations

from dataclasses import fields

from reactor.limits import Limits
from tests.guides import page_text
from workflows import FailureCategory, Then
from workflows.control.facade import ControlVerbs
from workflows.control.reducers import ControlReducers
from workflows.control.tables import SCHEMAS

GUIDE = page_text("control")


def test_the_guide_mentions_everything() -> None:
    """Reducers, tables but the one behind two views, categories, outcomes, limits."""
    wanted = {name for name in vars(ControlReducers) if name.startswith("workflow_")}
    wanted |= {schema.name for schema in SCHEMAS} - {"workflow_parked"}
    wanted |= {str(category) for category in FailureCategory} | {str(then) for then in Then}
    wanted |= {"paused_workflows", "faulted_workflows", "attempt_start", "attempt_signal", "attempt_cancel"}
    wanted |= {field.name for field in fields(Limits) if field.name.startswith("workflow_")}
    wanted |= {"commands_kept_max", "refusals_per_second_max"}
    assert sorted(word for word in wanted if f"`{word}" not in GUIDE) == []
    assert all(hasattr(ControlVerbs, f"attempt_{verb}") for verb in ("start", "signal", "cancel", "skip"))
