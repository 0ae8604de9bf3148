"""Workflows for game entities: named types with typed state, timers and signals, on the reactor's tables.

    from workflows import WorkflowEngine, Buff
    arena = Module("arena", includes=[WorkflowEngine(types=[MyBuff, ...])])

``docs/workflows.md`` is the guide.
"""

from reactor.clock import days, hours, milliseconds, minutes, seconds
from workflows.engine import WorkflowEngine
from workflows.handle import ChildEnd, Signal, Timer, Workflow
from workflows.handler import Handler
from workflows.life import LIFE, LIVE, TERMINAL, Move, Status
from workflows.payload import NoPayload, Payload
from workflows.types import BUILT_IN, Buff, Combat, NpcPatrol, Production, Respawn

engine = WorkflowEngine()
"""An engine with the five built-in types as they are. A game with types of its own makes its own engine."""

__all__ = [
    "BUILT_IN",
    "LIFE",
    "LIVE",
    "TERMINAL",
    "Buff",
    "ChildEnd",
    "Combat",
    "Handler",
    "Move",
    "NoPayload",
    "NpcPatrol",
    "Payload",
    "Production",
    "Respawn",
    "Signal",
    "Status",
    "Timer",
    "Workflow",
    "WorkflowEngine",
    "days",
    "engine",
    "hours",
    "milliseconds",
    "minutes",
    "seconds",
]
