"""What may be done to a workflow from outside besides signals: pause it, let it go on, retry, skip, end it.

Each verb says whether it applied: it does where the table of statuses has an edge for it, and nothing is changed
elsewhere. An ended workflow refuses all of them.
"""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from reactor.errors import SenderError
from workflows.audit import actor_of
from workflows.control.faults import Faults
from workflows.control.held import hold_timers
from workflows.control.occurrence import START
from workflows.control.replay import leave_out
from workflows.ending import Ending
from workflows.handle import Cause, Deferred
from workflows.life import FAULTED, PAUSED, PENDING, SUSPENDED, Move, is_awake
from workflows.messages import TOLD, unread
from workflows.outcome import move
from workflows.starting import Starting
from workflows.steps import Steps


class Control:
    """The verbs, and what steps ask of whoever ends and parks workflows."""

    def __init__(self, steps: Steps, ending: Ending, starting: Starting) -> None:
        self._steps = steps
        self._ending = ending
        self.faults = Faults(steps, ending, starting)
        self.fail = self.faults.fail
        self.start_failed = self.faults.start_failed
        self.ended = ending.ended
        self._moves = {
            Move.PAUSE: self.suspend,
            Move.RESUME: self.resume,
            Move.RETRIED: self.retry,
            Move.SKIPPED: self.skip,
        }

    def do(self, ctx: Context, row: Any, asked: Deferred) -> None:
        """Do what was asked of a workflow during its own step."""
        wanted = Move(asked.verb)
        if wanted is Move.PARKED:
            if is_awake(row.status):
                self.faults.park(ctx, row, Cause("step"), asked.payload, asked.name)
        elif wanted in self._moves:
            self._moves[wanted](ctx, row.id, asked.payload)
        else:
            self._ending.end(ctx, row.id, wanted, asked.payload)

    # -- stopping for a while ---------------------------------------------------------------------

    def suspend(self, ctx: Context, workflow_id: int, reason: str) -> bool:
        """Stop a workflow until it is resumed; True if it was waiting, and is Paused now.

        It has not ended: nobody is told, it keeps what it holds. Its timers do not fire, and what is sent to it is
        kept. ``SenderError`` ``unknown_workflow``, ``not_active``, or ``not_started`` if its start is put off.
        """
        row = self._row(ctx, workflow_id, Move.PAUSE, reason)
        if row is None:
            return True
        if row.status is not SUSPENDED:
            return False
        hold_timers(ctx, workflow_id)
        ctx.db.workflow_parked.insert(
            scheduled_at=ctx.real_now,
            workflow_id=workflow_id,
            status=PAUSED,
            since=ctx.real_now,
            actor=actor_of(ctx),
            reason=reason,
        )
        move(ctx, row, PAUSED, "paused", "suspend", self._steps.audit, reason)
        return True

    def resume(self, ctx: Context, workflow_id: int, reason: str = "") -> bool:
        """Let a workflow go on; True if it was Paused.

        Timers that were due meanwhile follow their catch-up policy, and what was sent is delivered in order. Raises as
        ``suspend``.
        """
        row = self._row(ctx, workflow_id, Move.RESUME, reason)
        if row is None:
            return True
        if row.status is not PAUSED:
            return False
        self.faults.unpark(ctx, workflow_id)
        move(ctx, row, SUSPENDED, "resumed", "resume", self._steps.audit, reason or None)
        self.faults.awake(ctx, workflow_id)
        return True

    # -- after a failure ----------------------------------------------------------------------------

    def retry(self, ctx: Context, workflow_id: int, reason: str = "") -> bool:
        """Run what a workflow failed in once more, now; True if it was Faulted.

        It may fail again, and then its policy goes on counting. Raises as ``suspend``, and ``unknown_type``.
        """
        row = self._row(ctx, workflow_id, Move.RETRIED, reason)
        if row is None:
            return True
        if row.status is not FAULTED:
            return False
        self.faults.retry(ctx, row)
        self.faults.awake(ctx, workflow_id)
        return True

    def skip(self, ctx: Context, workflow_id: int, reason: str = "") -> bool:
        """Give up what a workflow failed in, and let it wait for what comes next; True if it was Faulted.

        A script passes over the step it is parked for. ``SenderError`` ``stranded`` if nothing would ever come, or a
        script is not parked for a step; else raises as ``suspend``.
        """
        row = self._row(ctx, workflow_id, Move.SKIPPED, reason)
        if row is None:
            return True
        if row.status is not FAULTED:
            return False
        with ctx.savepoint():
            self._skip(ctx, row, reason)
        self.faults.awake(ctx, workflow_id)
        return True

    def _skip(self, ctx: Context, row: Any, reason: str) -> None:
        parked = self.faults.unpark(ctx, row.id)
        if self.faults.skip(ctx, row, parked):
            return
        timer = None if parked is None else ctx.db.workflow_timer.get(parked.timer_id)
        if timer is not None:
            leave_out(ctx, timer)
        has_begun = parked is None or parked.kind != START
        if not has_begun or not self._will_wake(ctx, row):
            raise SenderError(
                "stranded",
                f"nothing would wake workflow {row.id} after that; retry it or cancel it",
                workflow_id=row.id,
            )
        columns = {"error_message": None, "failure_category": None}
        move(ctx, row, SUSPENDED, "occurrence_skipped", "skip", self._steps.audit, reason or None, **columns)

    def _will_wake(self, ctx: Context, row: Any) -> bool:
        timers = ctx.db.workflow_timer.lookup(("workflow_id",), (row.id,))
        return (
            row.waits is not None
            or any(not timer.cancelled for timer in timers)
            or self._steps.has_waker(ctx, row.id)
            # Neither a signal it does not take nor an update wakes it for good.
            or any(message.hook in TOLD for message in unread(ctx, row.id))
        )

    # -- ends ------------------------------------------------------------------------------------------

    def terminate(self, ctx: Context, workflow_id: int, reason: str) -> bool:
        """End a workflow, and its children with it, without running any code of theirs; True.

        ``SenderError`` ``unknown_workflow`` or ``not_active``.
        """
        self._ending.terminate(ctx, workflow_id, reason)
        return True

    def _row(self, ctx: Context, workflow_id: int, wanted: Move, reason: str) -> Any:
        """The row of a live workflow; None if its own step is running, and the verb waits until that is over."""
        inside = self._steps.open.get(workflow_id)
        if inside is not None:
            self._steps.defer(inside, Deferred(wanted, "", reason))
            return None
        row = self._steps.live_row(ctx, workflow_id)
        if row.status is PENDING:
            raise SenderError(
                "not_started",
                f"workflow {workflow_id} has not begun, so there is nothing to stop; cancel it if it should not",
                workflow_id=workflow_id,
            )
        return row
