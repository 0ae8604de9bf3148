"""Parts of the engine: each with tables and reducers of its own, told of what happens to workflows.

The dispatcher runs steps and knows nothing of schedules, tasks or groups. A part hangs on to it here: what it does
when it is told happens in the same commit as what it is told of.
"""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from reactor.module import Module
from reactor.schema import TableSchema
from workflows.dispatch import Dispatcher


class Part:
    """One part. ``schemas`` are its tables."""

    schemas: tuple[TableSchema, ...] = ()

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher

    def declare(self, module: Module) -> None:
        """Add reducers, views, start functions and context extensions to ``module``; the tables are added already."""

    def ended(self, ctx: Context, row: Any) -> None:
        """A workflow has just ended; ``row`` is its row, with the status it ended in."""

    def wakes(self, ctx: Context, workflow_id: int) -> bool:
        """Whether something this part looks after will wake the workflow, so that it need not arm a timer."""
        return False

    def reloaded(self) -> None:
        """A reload has put another version of the module in place of this one: drop what is kept in memory only.

        Nothing may be written. It is not called when a reload is refused.
        """

    def removed(self, ctx: Context, row: Any) -> None:
        """An ended workflow is about to be removed: remove all that belongs to it."""
