"""The parts every engine has, in the order in which they are told of ends."""

from __future__ import annotations

from workflows.attributes import AttributePart
from workflows.contracts import Contracts
from workflows.control.part import ControlPart
from workflows.events.part import EventPart
from workflows.groups.part import GroupPart
from workflows.inbox import Inbox
from workflows.parts import Part
from workflows.scheduled_commands import ScheduledCommands
from workflows.schedules.part import SchedulePart
from workflows.scripts.part import ScriptPart
from workflows.start.part import StartPart
from workflows.tasks.part import TaskPart
from workflows.updates import Updates
from workflows.versions.part import Versions
from workflows.visibility.part import VisibilityPart

STANDARD: tuple[type[Part], ...] = (
    ControlPart,
    StartPart,
    ScriptPart,
    Inbox,
    Contracts,
    Updates,
    EventPart,
    GroupPart,
    AttributePart,
    VisibilityPart,
    TaskPart,
    ScheduledCommands,
    SchedulePart,
    Versions,
)
