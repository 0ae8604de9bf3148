"""What becomes of a workflow whose step has failed: tried again, parked until somebody decides, or ended.

While it waits to be tried again it is Faulted: its timers are held and what is told to it is kept, so whatever comes
later stays later. Its row in ``workflow_parked`` says what to run again; that row is the timer of the next try.
"""

from __future__ import annotations

from typing import Any

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.errors import SenderError
from workflows.audit import actor_of
from workflows.control.errorlog import last_error, put_error
from workflows.control.held import hold_timers, release_timers
from workflows.control.occurrence import START, Occurrence, occurrence_of, read
from workflows.control.replay import Fire, fire_again
from workflows.definition import Definition
from workflows.ending import Ending
from workflows.failures import FailureCategory, category_of
from workflows.handle import Cause, Workflow
from workflows.life import FAULTED, Move, Status, is_awake
from workflows.outcome import RunawayError, explain, move, put_failed_start
from workflows.policy import FAIL_AT_ONCE, ErrorPolicy, Then
from workflows.scripts.tables import PointerStatus
from workflows.starting import Birth, Starting
from workflows.steps import Steps
from workflows.versions.migrations import StateError

PARK_AT_ONCE = ErrorPolicy(attempts=1, then=Then.PARK)


class Faults:
    """Deals with failures. ``fire(ctx, timer_row)`` runs the step of a timer; the dispatcher sets it."""

    fire: Fire

    def __init__(self, steps: Steps, ending: Ending, starting: Starting) -> None:
        self._steps = steps
        self._ending = ending
        self._starting = starting
        # What is being tried again in the running call: the row that said so, by workflow.
        self._retried: dict[int, Any] = {}

    # -- a step has failed ---------------------------------------------------------------------

    def fail(
        self, ctx: Context, row: Any, cause: Cause, error: BaseException, argument: Any = None, firing: Any = None
    ) -> Status:
        """A step has raised and is undone: its workflow bears the consequence. Returns the status after it."""
        message = explain(ctx, row.workflow_type, row.id, str(cause), error, self._steps.limits)
        category = category_of(error)
        kind = self._steps.registry.get(row.workflow_type)
        policy = self._policy(kind, category)
        if _is_unreadable(row, kind, error):
            policy = PARK_AT_ONCE
            # From here on its status names it.
            ctx.db.recovery_error.delete(row.id)
        # What a script's record says against it is not the type's to decide.
        policy = getattr(error, "policy", policy)
        before = self._retried.get(row.id) if row.status is FAULTED else None
        attempt = 1 if before is None else before.attempt + 1
        what = None
        if kind is not None and policy is not FAIL_AT_ONCE:
            # What was tried again is known already, whatever it failed in this time.
            what = occurrence_of(kind, cause, argument, firing) if before is None else _what(before)
        delay_us = None if what is None else policy.delay_us(attempt, error)
        error_id = put_error(
            ctx,
            row.id,
            str(cause),
            category,
            message,
            error=error,
            attempt=attempt,
            follows=None if before is None else before.error_id,
            delay_us=delay_us,
        )
        if delay_us is not None or policy.then is Then.PARK:
            self._put(ctx, row.id, message, what, attempt, delay_us, error_id)
            hold_timers(ctx, row.id)
            return self._move(ctx, row, str(cause), message, category)
        how = Move.TERMINATE if policy.then is Then.TERMINATE else Move.RAISED
        return self._ending.finish(ctx, row, how, str(cause), message, category=category)

    def start_failed(
        self, ctx: Context, kind: Definition, w: Workflow[Any], payload: Any, error: Exception
    ) -> tuple[str, dict[str, Any]]:
        """``on_start`` has raised and is undone; returns the event and the columns of the workflow's row."""
        message = explain(ctx, kind.name, w.id, "on_start", error, self._steps.limits)
        category = category_of(error)
        policy = self._policy(kind, category)
        before = self._retried.get(w.id)
        attempt = 1 if before is None else before.attempt + 1
        what = None if policy is FAIL_AT_ONCE else occurrence_of(kind, Cause(START), payload, None)
        delay_us = None if what is None else policy.delay_us(attempt, error)
        follows = None if before is None else before.error_id
        error_id = put_error(
            ctx, w.id, "on_start", category, message, error=error, attempt=attempt, follows=follows, delay_us=delay_us
        )
        columns: dict[str, Any] = {}
        put_failed_start(ctx, columns, message, category)
        if what is None or (delay_us is None and policy.then is not Then.PARK):
            return "failed", columns
        self._put(ctx, w.id, message, what, attempt, delay_us, error_id)
        columns["status"] = FAULTED
        columns["ended_at"] = None
        return "faulted", columns

    @staticmethod
    def _policy(kind: Definition | None, category: str) -> ErrorPolicy:
        # Asking again for more than there may be would not help, and is not what an operator is waited for.
        return FAIL_AT_ONCE if kind is None or category == FailureCategory.STRUCTURAL_LIMIT else kind.on_error

    # -- for scripts, which know themselves what to try again -----------------------------------

    def record_error(
        self,
        ctx: Context,
        workflow_id: int,
        pointer_id: int | None,
        attempt: int,
        error: BaseException,
        category: str | None = None,
        delay_us: int | None = None,
        cause: str = "step",
    ) -> int:
        """Write a failed attempt at something that is not the workflow's whole step; returns the id of its row."""
        before = last_error(ctx, workflow_id, pointer_id) if attempt > 1 else None
        return put_error(
            ctx,
            workflow_id,
            cause,
            category or category_of(error),
            f"{type(error).__name__}: {error}",
            error=error,
            attempt=attempt,
            follows=None if before is None else before.id,
            delay_us=delay_us,
            pointer_id=pointer_id,
        )

    def park(self, ctx: Context, row: Any, cause: Cause, message: str, category: str) -> Status:
        """Park a workflow that is awake and between two steps until somebody decides; returns the status after it.

        A retry runs ``on_retry`` of its handler, if it has one, else ``on_recover``; a skip runs ``on_skip``. A row in
        ``execution_error`` is left to whoever parks it.
        """
        before = last_error(ctx, row.id, None)
        self._put(ctx, row.id, message, None, 1, None, None if before is None else before.id)
        hold_timers(ctx, row.id)
        return self._move(ctx, row, str(cause), message, category)

    # -- trying again ---------------------------------------------------------------------------

    def retry(self, ctx: Context, row: Any) -> Status:
        """Run what a Faulted workflow failed in once more, now; returns the status after it.

        ``SenderError`` ``unknown_type`` if its type is not registered.
        """
        kind = self._steps.registry.require(row.workflow_type)
        parked = self.unpark(ctx, row.id)
        self._retried[row.id] = parked
        try:
            self._run(ctx, row, kind, parked)
        finally:
            del self._retried[row.id]
        status: Status = ctx.db.workflow.require(row.id).status
        return status

    def retry_due(self, ctx: Context, parked: Any) -> None:
        """The time has come to try again; run by a row of ``workflow_parked``."""
        row = ctx.db.workflow.get(parked.workflow_id)
        if row is None or row.status is not FAULTED:
            ctx.db.workflow_parked.delete(parked.scheduled_id)
        elif row.workflow_type not in self._steps.registry:
            ctx.db.workflow_parked.update(parked.scheduled_id, cancelled=True, held=True)
        else:
            self._retry_by_itself(ctx, row, parked)

    def _retry_by_itself(self, ctx: Context, row: Any, parked: Any) -> None:
        """One try in a call of its own: when the call's time is used up it is this workflow that has used it."""
        try:
            with ctx.savepoint():
                self.retry(ctx, row)
        except CallBudgetExceededError as error:
            self.unpark(ctx, row.id)
            self._retried[row.id] = parked
            try:
                self.fail(ctx, row, Cause(parked.kind or "retry", parked.name or ""), error)
            finally:
                del self._retried[row.id]
        try:
            with ctx.savepoint():
                self.awake(ctx, row.id)
        except CallBudgetExceededError:
            # What waited takes long: it comes in calls of its own.
            self._steps.deliver_later(ctx, row.id)

    def _run(self, ctx: Context, row: Any, kind: Definition, parked: Any) -> None:
        what = _what(parked)
        if what is None:
            self._steps.step(ctx, row, kind, _method(kind, "on_retry"), None, Cause("retry"))
            return
        cause = Cause(what.kind, what.name)
        if what.timer_id is not None:
            timer = ctx.db.workflow_timer.get(what.timer_id)
            if timer is None:
                # Lost, as at a start that finds nothing that would wake it.
                self._steps.step(ctx, row, kind, _method(kind, "on_recover"), None, Cause("recover"))
            else:
                fire_again(ctx, self.fire, timer)
            return
        try:
            if what.kind == START:
                self._begin_again(ctx, row, kind, what)
                return
            function, argument = read(kind, what, self._steps.limits.payload_bytes_max)
        except SenderError as error:
            # Its type was changed meanwhile, and cannot read what it was told.
            self.fail(ctx, row, cause, error)
            return
        self._steps.step(ctx, row, kind, function, argument, cause)

    def _begin_again(self, ctx: Context, row: Any, kind: Definition, what: Occurrence) -> None:
        payload = kind.payload.read(what.argument, self._steps.limits.payload_bytes_max)
        w: Workflow[Any] = Workflow(ctx, kind, row.id)
        w.entity_id = row.entity_id
        w.correlation_id = row.correlation_id
        w.owner = row.owner
        w.parent_id = row.parent_id
        self._starting.begin(ctx, kind, w, payload, Birth(row.name, row.root_id, row.deadline, row))

    def skip(self, ctx: Context, row: Any, parked: Any) -> bool:
        """Tell a handler that has ``on_skip`` to go on without what it was parked for; False if there is none.

        ``SenderError`` ``stranded`` if it was not parked by itself: what it failed in (a timer, a message) is the only
        thing that would wake it.
        """
        registry, pointers = self._steps.registry, ctx.db.execution_pointer.lookup(("workflow_id",), (row.id,))
        # What a script waits for is known to the script alone.
        kind = registry.require(row.workflow_type) if pointers else registry.get(row.workflow_type)
        if kind is None or not hasattr(kind.handler, "on_skip"):
            return False
        is_its_own = parked is None or parked.kind is None
        if not is_its_own or (pointers and all(p.status is not PointerStatus.PARKED for p in pointers)):
            raise SenderError(
                "stranded",
                f"workflow {row.id} has not failed in a step that it could pass over; retry it when the cause is "
                "mended, or cancel it",
                workflow_id=row.id,
            )
        self._steps.step(ctx, row, kind, _method(kind, "on_skip"), None, Cause("skip"))
        return True

    # -- the row that says so --------------------------------------------------------------------

    def unpark(self, ctx: Context, workflow_id: int) -> Any:
        """Take the row that stops a workflow away and let its timers go on; returns that row."""
        table = ctx.db.workflow_parked
        parked = table.first(workflow_id=workflow_id)
        if parked is not None:
            table.delete(parked.scheduled_id)
        release_timers(ctx, workflow_id)
        return parked

    def awake(self, ctx: Context, workflow_id: int) -> None:
        """A workflow may take steps again: deliver what was told to it meanwhile."""
        row = ctx.db.workflow.get(workflow_id)
        if row is not None and is_awake(row.status):
            self._steps.deliver(ctx, row)

    @staticmethod
    def _put(
        ctx: Context,
        workflow_id: int,
        reason: str,
        what: Occurrence | None,
        attempt: int,
        delay_us: int | None,
        error_id: int | None,
    ) -> None:
        ctx.db.workflow_parked.insert(
            scheduled_at=ctx.real_now + (delay_us or 0),
            cancelled=delay_us is None,
            workflow_id=workflow_id,
            status=FAULTED,
            since=ctx.real_now,
            actor=actor_of(ctx),
            reason=reason,
            attempt=attempt,
            error_id=error_id,
            **({} if what is None else what._asdict()),
        )

    def _move(self, ctx: Context, row: Any, cause: str, message: str, category: str) -> Status:
        audit = self._steps.audit
        move(ctx, row, FAULTED, "faulted", cause, audit, message, error_message=message, failure_category=category)
        return FAULTED


def _is_unreadable(row: Any, kind: Definition | None, error: BaseException) -> bool:
    """Whether the step did not come to run because its state cannot be read, or is not brought to this version in time.

    The workflow has done nothing wrong: code that can read it will take it up, so no policy of the type ends it.
    """
    if isinstance(error, StateError):
        return True
    ran_on = isinstance(error, RunawayError | CallBudgetExceededError)
    return ran_on and kind is not None and row.state_version != kind.state_version


def _what(parked: Any) -> Occurrence | None:
    """What a row of ``workflow_parked`` wants to be run again; None if that is not known."""
    if parked is None or parked.kind is None:
        return None
    return Occurrence(parked.kind, parked.name, parked.hook, parked.argument, parked.timer_id)


def _method(kind: Definition, name: str) -> Any:
    """A method that is told nothing, as what a step runs."""
    method = getattr(kind.handler, name, kind.handler.on_recover)

    def run(w: Workflow[Any], _: Any) -> None:
        method(w)

    return run
