"""The part of the engine that keeps scripts' records."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows.parts import Part
from workflows.scripts.runner import ScriptRunner
from workflows.scripts.tables import OPEN, SCHEMAS, PointerStatus


class ScriptPart(Part):
    """The tables of scripts, kept in step with the ends of their workflows."""

    schemas = SCHEMAS

    def ended(self, ctx: Context, row: Any) -> None:
        """Nothing is open any more."""
        pointers = ctx.db.execution_pointer
        kind = self.dispatcher.registry.get(row.workflow_type)
        if kind is None or isinstance(kind.handler, ScriptRunner):
            for pointer in pointers.lookup(("workflow_id",), (row.id,)):
                if pointer.status in OPEN:
                    pointers.update(pointer.id, status=PointerStatus.CANCELLED, ended_at=ctx.now)
        if kind is not None and isinstance(kind.handler, ScriptRunner):
            kind.handler.forget(row.id)

    def reloaded(self) -> None:
        """Another version runs now: what this one has in memory is in the way of nothing, but takes room."""
        for kind in self.dispatcher.registry:
            if isinstance(kind.handler, ScriptRunner):
                kind.handler.forget_all()

    def removed(self, ctx: Context, row: Any) -> None:
        """The record goes with the workflow."""
        for table in (ctx.db.execution_pointer, ctx.db.workflow_run):
            for found in table.lookup(("workflow_id",), (row.id,)):
                table.delete(found.id)
