"""Who may do what to a workflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactor.context import Context
from reactor.errors import SenderError
from workflows.registry import Registry

Authorize = Callable[[Context, Any, str], bool]
"""``authorize(ctx, workflow_row, verb)``: whether the caller may; the row is None for ``start``."""


def starters_may_cancel(ctx: Context, workflow: Any, verb: str) -> bool:
    """The rule unless an engine has another: anyone may start and signal, the starter may cancel, rename and tag."""
    return verb not in ("cancel", "rename", "label") or (workflow.owner is not None and workflow.owner == ctx.sender)


class Permission:
    """Asks the type first, and the game where the type has no opinion."""

    def __init__(self, registry: Registry, authorize: Authorize = starters_may_cancel) -> None:
        self._registry = registry
        self._authorize = authorize

    def require(self, ctx: Context, row: Any, type_name: str, verb: str) -> None:
        """``SenderError`` ``forbidden`` unless the caller may; the owner and the reactor itself always may.

        ``row`` is the workflow, None for one that is to be started.
        """
        if ctx.is_owner or ctx.sender is None:
            return
        kind = self._registry.get(type_name)
        allowed = None if kind is None or kind.may is None else kind.may(ctx, row, verb)
        if allowed is None:
            allowed = self._authorize(ctx, row, verb)
        if not allowed:
            which = type_name if row is None else f"workflow {row.id} ({type_name})"
            raise SenderError("forbidden", f"this identity may not {verb} {which}", verb=verb)
