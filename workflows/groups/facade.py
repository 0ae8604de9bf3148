"""``ctx.groups``: group commands for game code, as part of its own call."""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows.groups.matching import find
from workflows.groups.operations import Command, Operations
from workflows.groups.preview import targets_of
from workflows.groups.selection import Selection
from workflows.groups.tables import Keep
from workflows.groups.verbs import Order, verb_of


class Groups:
    """The groups, as a reducer or handler sees them. Game code is trusted: no permission and no token is asked for."""

    __slots__ = ("_ctx", "_operations")

    def __init__(self, ctx: Context, operations: Operations) -> None:
        self._ctx = ctx
        self._operations = operations

    def find(self, **selection: Any) -> list[Any]:
        """The rows that a filter chooses, in the order of their ids; its fields are those of ``Selection``."""
        chosen = Selection(**selection)
        chosen.check()
        return find(self._ctx, chosen, None)

    def signal(
        self, selection: Selection, name: str, payload: Any = None, request_id: str | None = None
    ) -> dict[str, Any]:
        """Signal a group; returns as ``workflow_group``."""
        return self.run("signal", selection, name=name, payload=payload, request_id=request_id)

    def cancel(self, selection: Selection, reason: str, request_id: str | None = None) -> dict[str, Any]:
        """Cancel a group; returns as ``workflow_group``."""
        return self.run("cancel", selection, reason=reason, request_id=request_id)

    def run(
        self,
        verb: str,
        selection: Selection,
        *,
        reason: str = "",
        name: str | None = None,
        payload: Any = None,
        request_id: str | None = None,
        keep: Keep = Keep.PROBLEMS,
    ) -> dict[str, Any]:
        """Any verb; raises and returns as ``workflow_group``."""
        command = Command(selection, Order(verb, name, payload, reason), request_id, keep, is_trusted=True)
        answer = self._operations.answered(self._ctx, command)
        if answer is not None:
            return answer
        targets = targets_of(self._ctx, verb_of(verb), selection)
        return self._operations.accept(self._ctx, command, targets.ids)
