"""Running workflows: start, fire, signal, cancel, each one step of one workflow inside a running call.

A step is: decode the state, run one method of the handler under a savepoint, store what it left. If the method
raises, the savepoint takes back all it did, in the game's tables too, and the workflow alone bears the consequence; the
call goes on and commits.

A handler may start, signal or cancel other workflows; their steps run inside its own. What it asks of a workflow
whose step is still open, itself included, is done when that step is over, in the same commit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.errors import SenderError
from reactor.limits import DEFAULT_LIMITS, Limits
from workflows.definition import Definition
from workflows.failures import HARD, StrayError
from workflows.family import count_live_children
from workflows.handle import Cause, Deferred, Workflow
from workflows.life import RUNNING, SUSPENDED, TIMED_OUT, Move, Status, is_awake, is_live
from workflows.outcome import (
    AWAITED,
    RunawayError,
    StrandedError,
    changed_columns,
    count_on,
    record_step,
)
from workflows.registry import Registry

OPEN_STEPS_MAX = 32
"""Steps inside steps; a longer chain of workflows that wake each other is a loop or will be one."""
DEFERRED_MAX = 100
"""Things one step may ask of its own workflow, those asked by their steps included."""
INTERRUPTIONS_MAX = 4
"""Steps of one call that are tried again after they were interrupted: each may take as long as a whole call."""


class Ends(Protocol):
    """What the machinery asks of the part that ends workflows."""

    def fail(
        self,
        ctx: Context,
        row: Any,
        cause: Cause,
        error: BaseException,
        argument: Any = None,
        firing: Any = None,
    ) -> Status:
        """A step has raised; returns the status the workflow is left in.

        ``argument`` is what its method was told, ``firing`` the row of its timer: what is needed to try again.
        """

    def start_failed(
        self, ctx: Context, kind: Definition, w: Workflow[Any], payload: Any, error: Exception
    ) -> tuple[str, dict[str, Any]]:
        """``on_start`` has raised; returns what to call it, and the columns of the workflow's row."""

    def ended(self, ctx: Context, row: Any) -> None:
        """A step has ended its workflow; ``row`` is its row after it."""

    def do(self, ctx: Context, row: Any, asked: Deferred) -> None:
        """Do what was asked of a workflow during its own step: ``asked.verb`` is one of the moves of an operator."""


class Waker(Protocol):
    """A part of the engine that wakes workflows."""

    def wakes(self, ctx: Context, workflow_id: int) -> bool:
        """Whether something it looks after will wake the workflow."""


class Steps:
    """The machinery of steps. ``limits`` are those of the reactor the engine was last started in.

    ``ends`` and ``hold`` are set by the dispatcher that puts the parts together. ``hold(ctx, row, hook, argument,
    cause)`` keeps what is told to a workflow that can take no step now, until it can; ``is_behind(ctx, id)`` says that
    older messages come first; ``deliver(ctx, row)`` is for one that is awake again. ``signalled(ctx, row, asked)``
    delivers a signal that was sent during the step.
    """

    ends: Ends
    hold: Callable[[Context, Any, str, Any, Cause], None]
    is_behind: Callable[[Context, int], bool]
    signalled: Callable[[Context, Any, Deferred], None]
    deliver: Callable[[Context, Any], None]
    deliver_later: Callable[[Context, int], None]

    def __init__(self, registry: Registry, *, audit: bool) -> None:
        self.registry = registry
        self.audit = audit
        self.limits: Limits = DEFAULT_LIMITS
        self.wakers: Sequence[Waker] = ()
        self.open: dict[int, Workflow[Any]] = {}
        self._draining: dict[int, deque[Deferred]] = {}
        self._interruptions = 0

    # -- one step of a workflow that exists ----------------------------------------------------

    def step(
        self,
        ctx: Context,
        row: Any,
        kind: Definition,
        function: Callable[[Any, Any], None],
        argument: Any,
        cause: Cause,
        firing: Any = None,
        refusable: bool = False,
    ) -> Status:
        """One step; a failure of it is stored, except that a ``SenderError`` goes to the sender if ``refusable``."""
        if 0 < self.limits.workflow_steps_max <= row.sequence:
            self.ends.do(ctx, row, Deferred(Move.TIME_OUT, "", f"it has taken {row.sequence} steps, all it may"))
            return TIMED_OUT
        try:
            try:
                with ctx.savepoint():
                    return self.attempt(ctx, row, kind, function, argument, cause, firing)
            except CallBudgetExceededError:
                if firing is not None or (refusable and not self.open):
                    # Not inside another step: whoever made the call decides.
                    raise
                self.once_more(ctx, self.attempt, ctx, row, kind, function, argument, cause)
        except Exception as error:
            if refusable and isinstance(error, SenderError):
                raise
            return self.ends.fail(ctx, row, cause, error, argument, firing)

    def attempt(
        self,
        ctx: Context,
        row: Any,
        kind: Definition,
        function: Callable[[Any, Any], None],
        argument: Any,
        cause: Cause,
        firing: Any = None,
    ) -> Status:
        """As ``step``, but raises what the handler raises, and undoes nothing by itself.

        What is no ``Exception`` comes as ``StrayError``.
        """
        w: Workflow[Any] = Workflow(ctx, kind, row.id)
        self.enter(w)
        try:
            w.take(row, kind.read_state(row))
            w.firing = firing
            function(w, argument)
            self._settle(ctx, kind, w, row, cause)
        except (Exception, *HARD):
            raise
        except BaseException as error:
            raise StrayError(error) from error
        finally:
            del self.open[row.id]
        if w.deferred:
            self.run_deferred(ctx, w)
            status: Status = ctx.db.workflow.require(row.id).status
            return status
        return w.ending or AWAITED

    def _settle(self, ctx: Context, kind: Definition, w: Workflow[Any], row: Any, cause: Cause) -> None:
        """Store what a step left; nothing is written when it changed nothing."""
        if w.ending is None and w.waits is None and not self.is_awaiting(ctx, w):
            raise StrandedError(kind, str(cause))
        changes = changed_columns(ctx, kind, w, row, self.limits)
        if changes or self.audit or w.counts_on:
            count_on(ctx, row, changes)
            after = ctx.db.workflow.update(row.id, **changes)
            if self.audit:
                record_step(ctx, row, after, "stepped", str(cause), w)
            if w.ending is not None:
                self.ends.ended(ctx, after)

    def once_more(self, ctx: Context, run: Callable[..., object], *args: Any) -> NoReturn:
        """Find out whether a step that was interrupted, and is undone, or who called it has used up the call's time.

        It is run again, with the time of a whole call to itself. If that is not enough either, ``RunawayError``: the
        step is to blame, and whoever called it goes on. If it is, ``CallBudgetExceededError``, for the caller.
        """
        self._interruptions += 1
        if self._interruptions > INTERRUPTIONS_MAX:
            raise CallBudgetExceededError
        with ctx.savepoint():
            try:
                run(*args)
            except CallBudgetExceededError as error:
                raise RunawayError(self.limits) from error
            raise CallBudgetExceededError

    # -- what is told to a workflow ------------------------------------------------------------

    def tell(self, ctx: Context, workflow_id: int, hook: str, argument: Any, cause: Cause) -> bool:
        """Tell a workflow that something it asked for has happened: run ``handler.<hook>(w, argument)`` as a step.

        It is done after the step that is open, if one of its own is, and held while the workflow can take none (it is
        paused, faulted, not begun, or its type is missing). False if it has ended or never was.
        """
        inside = self.open.get(workflow_id)
        if inside is not None:
            if inside.ending is None:
                self.defer(inside, Deferred("tell", hook, argument, cause))
            return inside.ending is None
        row = ctx.db.workflow.get(workflow_id)
        if row is None or not is_live(row.status):
            return False
        kind = self.registry.get(row.workflow_type)
        if kind is None or not is_awake(row.status) or self.is_behind(ctx, workflow_id):
            self.hold(ctx, row, hook, argument, cause)
        else:
            self.step(ctx, row, kind, getattr(kind.handler, hook), argument, cause)
        return True

    # -- steps inside steps --------------------------------------------------------------------

    def enter(self, w: Workflow[Any]) -> None:
        """Note that a step of ``w`` is open; whoever calls this removes it from ``open`` again."""
        if len(self.open) >= OPEN_STEPS_MAX:
            raise SenderError(
                "limit_exceeded",
                f"workflow {w.id} ({w.type}) would be step {OPEN_STEPS_MAX + 1} inside other steps; "
                "workflows that wake each other in a chain wait for a timer in between",
            )
        if not self.open:
            self._interruptions = 0
        self.open[w.id] = w

    def defer(self, w: Workflow[Any], asked: Deferred) -> Status:
        """Do ``asked`` when the step of ``w`` that is open is over; ``SenderError`` ``not_active`` if it has ended."""
        if w.ending is not None:
            raise SenderError("not_active", f"workflow {w.id} has ended in this step ({w.ending})", workflow_id=w.id)
        w.defer(asked)
        return RUNNING

    def run_deferred(self, ctx: Context, w: Workflow[Any]) -> None:
        """Do what was asked of the workflow during its step, and then what was asked meanwhile, in order."""
        asked = w.deferred or []
        under_way = self._draining.get(w.id)
        if under_way is not None:
            under_way.extend(asked)
            return
        waiting = self._draining[w.id] = deque(asked)
        try:
            for count in range(DEFERRED_MAX + 1):
                row = ctx.db.workflow.get(w.id)
                if not waiting or row is None or not is_live(row.status):
                    break
                if count == DEFERRED_MAX:
                    error = RuntimeError(f"one step asked its own workflow for more than {DEFERRED_MAX} things")
                    self.ends.fail(ctx, row, Cause("step"), error)
                    break
                self._do(ctx, row, waiting.popleft())
        finally:
            del self._draining[w.id]

    def _do(self, ctx: Context, row: Any, asked: Deferred) -> None:
        if asked.verb == "tell":
            self.tell(ctx, row.id, asked.name, asked.payload, asked.cause or Cause("step"))
        elif asked.verb in ("signal", "message"):
            self.signalled(ctx, row, asked)
        else:
            self.ends.do(ctx, row, asked)

    # -- small parts -------------------------------------------------------------------------

    def live_row(self, ctx: Context, workflow_id: int) -> Any:
        """The row of a live workflow; ``SenderError`` ``unknown_workflow`` or ``not_active``."""
        row = ctx.db.workflow.get(workflow_id)
        if row is None:
            raise SenderError("unknown_workflow", f"there is no workflow {workflow_id}", workflow_id=workflow_id)
        if row.status is not SUSPENDED and not is_live(row.status):
            raise SenderError(
                "not_active",
                f"workflow {workflow_id} has ended ({row.status})",
                workflow_id=workflow_id,
                status=str(row.status),
            )
        return row

    def is_awaiting(self, ctx: Context, w: Workflow[Any]) -> bool:
        """Whether something will wake the workflow: a timer, a child, a part, or what was asked during its step."""
        return w.awaits or bool(w.deferred) or w.has_timer() or self.has_waker(ctx, w.id)

    def has_waker(self, ctx: Context, workflow_id: int) -> bool:
        """Whether the end of a child, or something that a part of the engine looks after, will wake the workflow."""
        if count_live_children(ctx, workflow_id):
            return True
        return any(part.wakes(ctx, workflow_id) for part in self.wakers)
