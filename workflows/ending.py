"""The ends of workflows, whoever brings them about, and what goes with every end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from workflows.definition import Definition, encode_result
from workflows.handle import Cause, ChildEnd, Deferred, Workflow
from workflows.life import CANCELLED, FAILED, RUNNING, Move, Status, follow, is_live
from workflows.outcome import MESSAGE_CHARS_MAX, changed_columns, count_on, explain, record_step
from workflows.steps import Steps


class Listener(Protocol):
    """A part of the engine that is told of ends."""

    def ended(self, ctx: Context, row: Any) -> None:
        """A workflow has just ended; ``row`` is its row, with the status it ended in."""


class Ending:
    """Ends workflows. ``listeners`` are told of every end, in order."""

    def __init__(self, steps: Steps) -> None:
        self.listeners: Sequence[Listener] = ()
        self._steps = steps

    def cancel(self, ctx: Context, workflow_id: int, reason: str) -> Status:
        """End a workflow from outside; ``SenderError`` ``unknown_workflow`` or ``not_active`` if that cannot be."""
        inside = self._steps.open.get(workflow_id)
        if inside is not None:
            return self._steps.defer(inside, Deferred("cancel", "", reason))
        row = self._steps.live_row(ctx, workflow_id)
        kind = self._steps.registry.get(row.workflow_type)
        w, changes = (None, {}) if kind is None else self._say_goodbye(ctx, row, kind, reason)
        self.finish(ctx, row, Move.CANCEL, "cancel", reason[:MESSAGE_CHARS_MAX] or None, w, changes)
        return CANCELLED

    def _say_goodbye(
        self, ctx: Context, row: Any, kind: Definition, reason: str
    ) -> tuple[Workflow[Any] | None, dict[str, Any]]:
        """Run ``on_cancel``. If it raises, the workflow is cancelled without it."""

        def run() -> tuple[Workflow[Any], dict[str, Any]]:
            w: Workflow[Any] = Workflow(ctx, kind, row.id)
            self._steps.enter(w)
            try:
                w.take(row, kind.decode_state(row.state))
                result = encode_result(kind.handler.on_cancel(w, reason))
                w.ending = None
                changes = changed_columns(ctx, kind, w, row, self._steps.limits)
                return w, {**changes, "result": result}
            finally:
                del self._steps.open[row.id]

        try:
            try:
                with ctx.savepoint():
                    return run()
            except CallBudgetExceededError:
                self._steps.once_more(ctx, run)
        except Exception as error:
            explain(ctx, kind.name, row.id, "on_cancel", error, self._steps.limits)
            return None, {}

    def fail(self, ctx: Context, row: Any, cause: Cause, error: BaseException) -> Status:
        """A step has raised and is undone: its workflow bears the consequence."""
        message = explain(ctx, row.workflow_type, row.id, str(cause), error, self._steps.limits)
        self.finish(ctx, row, Move.RAISED, str(cause), message, None, {})
        return FAILED

    def finish(
        self,
        ctx: Context,
        row: Any,
        move: Move,
        cause: str,
        message: str | None,
        w: Workflow[Any] | None,
        changes: dict[str, Any],
    ) -> None:
        """End a workflow from outside its handler."""
        changes["status"] = follow(RUNNING, move)
        changes["error_message"] = message
        changes["waits"] = None
        count_on(ctx, row, changes)
        after = ctx.db.workflow.update(row.id, **changes)
        if self._steps.audit:
            record_step(ctx, row, after, "", cause, w)
        self.ended(ctx, after)

    def ended(self, ctx: Context, row: Any) -> None:
        """What goes with every end: the timers, the children, the word to the parent."""
        timers = ctx.db.workflow_timer
        for timer in timers.lookup(("workflow_id",), (row.id,)):
            timers.delete(timer.scheduled_id)
        workflows = ctx.db.workflow
        for child in workflows.lookup(("parent_id",), (row.id,)):
            # Looked up again: the end of one child may have ended another.
            if is_live(workflows.require(child.id).status):
                self.cancel(ctx, child.id, f"its parent, workflow {row.id}, has ended")
        if row.parent_id is not None:
            end = ChildEnd(row.id, row.workflow_type, row.status, row.result, row.error_message)
            self._steps.tell(ctx, row.parent_id, "on_child_end", end, Cause("child", str(row.id)))
        for listener in self.listeners:
            listener.ended(ctx, row)
