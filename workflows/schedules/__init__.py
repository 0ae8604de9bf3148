"""Schedules: workflows and reducers that are run by the calendar. ``docs/schedules.md`` is the guide."""

from workflows.schedules.cleanup import CleanupPolicy
from workflows.schedules.part import SchedulePart
from workflows.schedules.spec import Interval, Spec
from workflows.schedules.tables import Overlap

__all__ = ["CleanupPolicy", "Interval", "Overlap", "SchedulePart", "Spec"]
