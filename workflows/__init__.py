"""Workflows for game entities: named types with typed state, timers and signals, on the reactor's tables.

    from workflows import WorkflowEngine, Buff
    arena = Module("arena", includes=[WorkflowEngine(types=[MyBuff, ...])])

``docs/workflows.md`` is the guide.
"""

from reactor.clock import days, hours, milliseconds, minutes, seconds
from workflows.control.facade import Attempt
from workflows.engine import WorkflowEngine
from workflows.failures import FailureCategory, StructuralLimitError
from workflows.handle import ChildEnd, EventSeen, Signal, TaskEnd, Timer, Workflow
from workflows.handler import Handler
from workflows.life import LIFE, LIVE, TERMINAL, Move, Status
from workflows.payload import NoPayload, Payload
from workflows.policy import ErrorPolicy, Fatal, RetryAfter, Then
from workflows.scripts import Run, Script, script
from workflows.start.options import Concurrency, Exclusive, Started, StartOptions
from workflows.types import BUILT_IN, Buff, Combat, NpcPatrol, Production, Respawn

engine = WorkflowEngine()
"""An engine with the five built-in types as they are. A game with types of its own makes its own engine."""

__all__ = [
    "BUILT_IN",
    "LIFE",
    "LIVE",
    "TERMINAL",
    "Attempt",
    "Buff",
    "ChildEnd",
    "Combat",
    "Concurrency",
    "ErrorPolicy",
    "EventSeen",
    "Exclusive",
    "FailureCategory",
    "Fatal",
    "Handler",
    "Move",
    "NoPayload",
    "NpcPatrol",
    "Payload",
    "Production",
    "Respawn",
    "RetryAfter",
    "Run",
    "Script",
    "Signal",
    "StartOptions",
    "Started",
    "Status",
    "StructuralLimitError",
    "TaskEnd",
    "Then",
    "Timer",
    "Workflow",
    "WorkflowEngine",
    "days",
    "engine",
    "hours",
    "milliseconds",
    "minutes",
    "script",
    "seconds",
]
