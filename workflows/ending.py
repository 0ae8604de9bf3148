"""The ends of workflows, whoever brings them about, and what goes with every end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from workflows.audit import record
from workflows.control.errorlog import CATEGORY_OF, put_error
from workflows.definition import Definition, encode_result
from workflows.failures import HARD, StrayError, category_of
from workflows.family import live_children
from workflows.handle import Cause, ChildEnd, Deferred, Workflow
from workflows.life import FAULTED, PENDING, RUNNING, TERMINATED, Move, Status, follow, is_live
from workflows.outcome import MESSAGE_CHARS_MAX, changed_columns, count_on, explain, put_end, record_step
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
        """End a workflow, which may clean up first (``on_cancel``); raises as ``end``."""
        return self.end(ctx, workflow_id, Move.CANCEL, reason)

    def terminate(self, ctx: Context, workflow_id: int, reason: str) -> Status:
        """End a workflow without asking its handler; raises as ``end``."""
        return self.end(ctx, workflow_id, Move.TERMINATE, reason)

    def time_out(self, ctx: Context, row: Any, reason: str) -> Status:
        """End a workflow whose time is up, without asking its handler; raises as ``end``."""
        return self.end(ctx, row.id, Move.TIME_OUT, reason)

    def end(self, ctx: Context, workflow_id: int, move: Move, reason: str) -> Status:
        """End a workflow from outside, by ``cancel``, ``terminate`` or ``time_out``; returns the status after it.

        One whose own step is running ends when that step is over; the status is Running then. ``SenderError``
        ``unknown_workflow`` or ``not_active`` if that cannot be.
        """
        inside = self._steps.open.get(workflow_id)
        if inside is not None:
            return self._steps.defer(inside, Deferred(move, "", reason))
        row = self._steps.live_row(ctx, workflow_id)
        w, changes = None, dict[str, Any]()
        kind = self._steps.registry.get(row.workflow_type)
        if move is Move.CANCEL and kind is not None and self._has_begun(ctx, row):
            w, changes = self._say_goodbye(ctx, row, kind, reason)
        return self.finish(ctx, row, move, move, reason, w, changes)

    @staticmethod
    def _has_begun(ctx: Context, row: Any) -> bool:
        """Whether the handler has ever made a state, so that there is something to clean up."""
        if row.status is FAULTED:
            parked = ctx.db.workflow_parked.first(workflow_id=row.id)
            return parked is None or parked.kind != "start"
        return row.status is not PENDING

    def _say_goodbye(
        self, ctx: Context, row: Any, kind: Definition, reason: str
    ) -> tuple[Workflow[Any] | None, dict[str, Any]]:
        """Run ``on_cancel``. If it raises, the workflow is cancelled without it, and a row tells what went wrong."""

        def run() -> tuple[Workflow[Any], dict[str, Any]]:
            w: Workflow[Any] = Workflow(ctx, kind, row.id)
            self._steps.enter(w)
            try:
                w.take(row, kind.read_state(row))
                result = encode_result(kind.handler.on_cancel(w, reason))
                w.ending = None
                changes = changed_columns(ctx, kind, w, row, self._steps.limits)
                return w, {**changes, "result": result}
            except (Exception, *HARD):
                raise
            except BaseException as error:
                raise StrayError(error) from error
            finally:
                del self._steps.open[row.id]

        try:
            try:
                with ctx.savepoint():
                    return run()
            except CallBudgetExceededError:
                self._steps.once_more(ctx, run)
        except Exception as error:
            message = explain(ctx, kind.name, row.id, "on_cancel", error, self._steps.limits)
            put_error(ctx, row.id, "on_cancel", category_of(error), message, error=error)
            return None, {}

    def finish(
        self,
        ctx: Context,
        row: Any,
        move: Move,
        cause: str,
        message: str,
        w: Workflow[Any] | None = None,
        changes: dict[str, Any] | None = None,
        category: str | None = None,
    ) -> Status:
        """End a workflow from outside its handler; returns the status it ended in.

        Without a ``category`` it is the one of ``move``, and the end is entered as a failure. The order of what is
        recorded is fixed: the end, what the handler noted, the timers that were open, then what the parts of the
        engine close, the children, and the parent's step.
        """
        changes = {} if changes is None else changes
        if category is None:
            category = CATEGORY_OF[move]
            put_error(ctx, row.id, cause, category, message)
        put_end(ctx, changes, follow(RUNNING, move), message[:MESSAGE_CHARS_MAX] or None, category)
        count_on(ctx, row, changes)
        after = ctx.db.workflow.update(row.id, **changes)
        if self._steps.audit:
            record_step(ctx, row, after, "", cause, w)
            if move is not Move.RAISED:
                self._record_closed(ctx, after, cause)
        self.ended(ctx, after)
        status: Status = after.status
        return status

    @staticmethod
    def _record_closed(ctx: Context, row: Any, cause: str) -> None:
        for timer in ctx.db.workflow_timer.lookup(("workflow_id",), (row.id,)):
            if not timer.cancelled or timer.held:
                record(ctx, row.id, row.sequence, "timer_closed", cause, row, row.status, row.current_step, timer.name)

    def ended(self, ctx: Context, row: Any) -> None:
        """What goes with every end: the timers, what the parts keep for it, the children, the word to the parent."""
        timers = ctx.db.workflow_timer
        for timer in timers.lookup(("workflow_id",), (row.id,)):
            timers.delete(timer.scheduled_id)
        for listener in self.listeners:
            listener.ended(ctx, row)
        workflows = ctx.db.workflow
        move = Move.TERMINATE if row.status is TERMINATED else Move.CANCEL
        for child in live_children(ctx, row.id):
            # Looked up again: the end of one child may have ended another.
            if is_live(workflows.require(child.id).status):
                self.end(ctx, child.id, move, f"its parent, workflow {row.id}, has ended")
        if row.parent_id is not None:
            end = ChildEnd(row.id, row.workflow_type, row.status, row.result, row.error_message)
            self._steps.tell(ctx, row.parent_id, "on_child_end", end, Cause("child", str(row.id)))
