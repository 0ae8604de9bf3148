"""How much of anything one workflow may have. A warning comes at four fifths, once; past the bound it is refused.

Where the workflow itself wants more, its step fails (``structural_limit``); where somebody outside does, the command is
refused (``limit_exceeded``). What is counted is counted when something is added, from the size of an index's entry.
"""

from __future__ import annotations

from reactor.context import Context
from reactor.errors import SenderError
from workflows.failures import StructuralLimitError
from workflows.family import count_live_children


def soft(bound: int) -> int:
    """How many are enough for a warning."""
    return max(bound * 4 // 5, 1)


def check_own(ctx: Context, workflow_id: int, kind: str, value: int, bound: int) -> None:
    """A workflow's own step wants a ``value``-th of ``kind``; ``StructuralLimitError`` past the bound."""
    if value > bound:
        raise StructuralLimitError(kind, value, bound)
    warn_near(ctx, workflow_id, kind, value, bound)


def check_asked(ctx: Context, workflow_id: int, kind: str, value: int, bound: int) -> None:
    """Somebody outside wants a workflow to have a ``value``-th of ``kind``; ``SenderError`` ``limit_exceeded``."""
    if value > bound:
        raise SenderError(
            "limit_exceeded",
            f"workflow {workflow_id} would have {value} {kind}, and {bound} are allowed",
            workflow_id=workflow_id,
            kind=kind,
            value=value,
            limit=bound,
        )
    warn_near(ctx, workflow_id, kind, value, bound)


def check_children(ctx: Context, parent_id: int, *, is_own: bool) -> None:
    """A workflow is to get another child: by its own step, or by somebody outside."""
    bound = ctx.limits.workflow_children_max
    if ctx.db.workflow.count(parent_id=parent_id) + 1 < soft(bound):
        # Not so many even with those that have ended.
        return
    check = check_own if is_own else check_asked
    check(ctx, parent_id, "children", count_live_children(ctx, parent_id) + 1, bound)


def warn_near(ctx: Context, workflow_id: int, kind: str, value: int, bound: int) -> None:
    """Warn when a count that goes up by one reaches four fifths of its bound."""
    if value == soft(bound):
        warn(ctx, workflow_id, kind, value, bound)


def warn(ctx: Context, workflow_id: int, kind: str, value: int, bound: int) -> None:
    """Write the warning, in the log and as a row, unless this workflow has had one of this kind."""
    table = ctx.db.workflow_warning
    if table.first(workflow_id=workflow_id, kind=kind) is None:
        table.insert(workflow_id=workflow_id, kind=kind, value=value, bound=bound, at=ctx.real_now)
        ctx.log(f"workflow {workflow_id} has {value} {kind}; {bound} are allowed", "warning")
