"""Scripts: workflow types written as one ``async def``, recorded as they go and replayed when they must be."""

from workflows.scripts.budget import HistoryBudget, Pressure
from workflows.scripts.errors import (
    Cancelled,
    ChildFailedError,
    DivergenceError,
    ScriptError,
    StepFailedError,
    TaskFailedError,
)
from workflows.scripts.fibers import Chosen
from workflows.scripts.run import Run
from workflows.scripts.saga import Saga
from workflows.scripts.script import Script, script

__all__ = [
    "Cancelled",
    "ChildFailedError",
    "Chosen",
    "DivergenceError",
    "HistoryBudget",
    "Pressure",
    "Run",
    "Saga",
    "Script",
    "ScriptError",
    "StepFailedError",
    "TaskFailedError",
    "script",
]
