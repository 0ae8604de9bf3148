"""The guide to signals says what is true: it mentions everything there is."""

from __future__ import annotations

from tests.guides import page_text
from workflows import WorkflowEngine
from workflows.contracts import Contracts
from workflows.events.facade import Events
from workflows.events.part import EventPart
from workflows.inbox import Inbox
from workflows.updates import Updates

GUIDE = page_text("signals")


def test_the_guide_mentions_everything() -> None:
    """Reducers, tables, what ``ctx.events`` has."""
    words = ("send", "update", "query", "signal", "event", "deliver")
    wanted = {name for name in WorkflowEngine().reducers if name.removeprefix("workflow_").startswith(words)}
    wanted -= {"workflow_signal_area"}
    wanted |= {"attempt_workflow_update", "keeps_contract", "validate_x", "update_x", "query_x"}
    for part in (Inbox, Updates, EventPart, Contracts):
        wanted |= {schema.name for schema in part.schemas} - {"workflow_signal_id"}
    wanted |= {name for name in vars(Events) if not name.startswith("_")} - {"drop"}
    assert sorted(word for word in wanted if word not in GUIDE) == []
