"""The guide says what is true: it mentions everything there is."""

from __future__ import annotations

from tests.guides import page_text
from workflows import WorkflowEngine
from workflows.scheduled_commands import ScheduledCommands
from workflows.tasks.part import TaskPart
from workflows.tasks.tables import QueueRow, TaskStatus
from workflows.tasks.views import VIEWS

GUIDE = page_text("tasks")


def test_the_guide_mentions_everything() -> None:
    """Reducers, public and private tables, views, states, and the two promises."""
    engine = WorkflowEngine()
    wanted = {name for name, r in engine.reducers.items() if r.access != "internal" and "task" in name}
    wanted |= {"command_schedule", "command_cancel", "command_list", *VIEWS, str(TaskStatus.TIMED_OUT)}
    wanted |= {schema.name for part in (TaskPart,) for schema in part.schemas} - {"task_timer", "task_queue_total"}
    wanted |= {"accepting", "no_slots", "no_active_workers", "throttled", "unavailable", "saturated"}
    wanted |= {"stale_lease", "queue_saturated", "unknown_command", "exactly once", "at least once"}
    assert sorted(word for word in wanted if word not in GUIDE) == []
    assert QueueRow.capacity == 10_000 and "10,000" in GUIDE
    assert engine.part(ScheduledCommands).schemas[0].name == "scheduled_command"
