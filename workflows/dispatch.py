"""Running workflows: start, fire, signal, cancel, each one step of one workflow inside a running call.

A step is: decode the state, run one method of the handler under a savepoint, store what it left. If the method
raises, the savepoint takes back all it did, in the game's tables too, and the workflow alone bears the consequence; the
call goes on and commits.

A handler may start, signal or cancel other workflows; their steps run inside its own. What it asks of a workflow
whose step is still open, itself included, is done when that step is over, in the same commit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.errors import SenderError
from reactor.limits import DEFAULT_LIMITS, Limits
from workflows.definition import Definition, encode_result
from workflows.handle import ChildEnd, Deferred, Timer, Workflow
from workflows.life import CANCELLED, FAILED, RUNNING, SUSPENDED, Move, Status, follow, is_live
from workflows.outcome import (
    AWAITED,
    MESSAGE_CHARS_MAX,
    Cause,
    RunawayError,
    StrandedError,
    changed_columns,
    count_on,
    explain,
    new_columns,
    record_step,
)
from workflows.registry import Registry

OPEN_STEPS_MAX = 32
"""Steps inside steps; a longer chain of workflows that wake each other is a loop or will be one."""
DEFERRED_MAX = 100
"""Things one step may ask of its own workflow, those asked by their steps included."""
INTERRUPTIONS_MAX = 4
"""Steps of one call that are tried again after they were interrupted: each may take as long as a whole call."""


class Dispatcher:
    """The steps of one engine's workflows. ``limits`` are those of the reactor it was last started in."""

    def __init__(self, registry: Registry, *, audit: bool = False) -> None:
        self.registry = registry
        self.audit = audit
        self.limits: Limits = DEFAULT_LIMITS
        self._open: dict[int, Workflow[Any]] = {}
        self._draining: dict[int, deque[Deferred]] = {}
        self._interruptions = 0

    # -- start -------------------------------------------------------------------------------

    def start(
        self,
        ctx: Context,
        workflow_type: str,
        entity_id: int | None,
        correlation_id: str | None,
        payload: Any,
        parent_id: int | None = None,
    ) -> int:
        """Start a workflow and return its id.

        ``SenderError``: ``unknown_type``, ``bad_arguments``, ``payload_too_large``, or what ``on_start`` raised;
        nothing is stored then. Any other error of ``on_start`` leaves a Failed workflow.
        """
        kind = self.registry.get(workflow_type) or self.registry.require(workflow_type)
        given = kind.payload.read(payload, self.limits.payload_bytes_max)
        w: Workflow[Any] = Workflow(ctx, kind, ctx.db.workflow.reserve_id())
        w.entity_id = entity_id
        w.correlation_id = correlation_id
        # What a timer starts belongs to nobody, also when the operator fires it by hand.
        w.owner = ctx.sender if ctx.timer is None else None
        w.parent_id = parent_id
        self._enter(w)
        try:
            self._begin(ctx, kind, w, given)
        except SenderError:
            raise
        except Exception as error:
            message = explain(ctx, kind.name, w.id, "on_start", error, self.limits)
            columns = {"status": FAILED, "current_step": "started", "state": "null", "error_message": message}
            self._insert(ctx, kind, w, "failed", columns)
        finally:
            del self._open[w.id]
        if w.deferred:
            self._run_deferred(ctx, w)
        return w.id

    def _begin(self, ctx: Context, kind: Definition, w: Workflow[Any], payload: Any) -> None:
        try:
            with ctx.savepoint():
                self._try_start(ctx, kind, w, payload)
        except CallBudgetExceededError:
            if len(self._open) == 1:
                raise
            self._once_more(ctx, self._try_start, ctx, kind, w, payload)

    def _try_start(self, ctx: Context, kind: Definition, w: Workflow[Any], payload: Any) -> None:
        w.step = "started"
        if kind.new_state is not None:
            w.state = kind.new_state()
        kind.handler.on_start(w, payload)
        if w.ending is None and kind.waits is None and not self._is_awaiting(ctx, w):
            raise StrandedError(kind, "on_start")
        self._insert(ctx, kind, w, "started", new_columns(ctx, kind, w, self.limits))

    def _insert(self, ctx: Context, kind: Definition, w: Workflow[Any], event: str, columns: dict[str, Any]) -> None:
        row = ctx.db.workflow.insert(
            id=w.id,
            workflow_type=kind.name,
            entity_id=w.entity_id,
            correlation_id=w.correlation_id,
            state_version=kind.state_version,
            owner=w.owner,
            parent_id=w.parent_id,
            created_at=ctx.now,
            updated_at=ctx.now,
            **columns,
        )
        if self.audit:
            record_step(ctx, None, row, event, "start", w)
        if row.status is not AWAITED:
            self._ended(ctx, row)

    # -- one step of a workflow that exists ----------------------------------------------------

    def fire(self, ctx: Context, timer_row: Any) -> None:
        """Run the step of a timer that is due. A timer whose workflow has ended does nothing and goes.

        The call must be the timer's own: when its time is used up it is this workflow that has used it.
        """
        try:
            with ctx.savepoint():
                self.run_timer(ctx, timer_row)
        except CallBudgetExceededError as error:
            row = ctx.db.workflow.get(timer_row.workflow_id)
            if row is not None and is_live(row.status):
                self._fail(ctx, row, Cause("timer", timer_row.name), error)

    def run_timer(self, ctx: Context, timer_row: Any) -> None:
        """As ``fire``, but raises ``CallBudgetExceededError`` when the time of the call is used up."""
        row = ctx.db.workflow.get(timer_row.workflow_id)
        if row is None or not is_live(row.status):
            ctx.db.workflow_timer.delete(timer_row.scheduled_id)
            return
        kind = self.registry.get(row.workflow_type)
        if kind is None:
            # Kept for the day its type is registered again; recovery holds such timers before they are due.
            ctx.db.workflow_timer.update(timer_row.scheduled_id, cancelled=True, held=True)
            return
        told = ctx.timer
        timer = Timer(
            timer_row.name,
            ctx.now,
            ctx.real_now,
            ctx.real_now - ctx.now,
            0 if told is None else told.missed,
            timer_row.generation,
            timer_row.clock,
            ctx.now if told is None else told.due_value,
            timer_row.interval,
        )
        cause = Cause("timer", timer_row.name)
        self._step(ctx, row, kind, kind.handler.on_timer, timer, cause, firing=timer_row)

    def signal(self, ctx: Context, workflow_id: int, name: str, payload: Any) -> Status:
        """Send a signal and return the status after it.

        ``SenderError``: ``unknown_workflow``, ``not_active``, ``unknown_type``, ``unknown_signal``, ``bad_arguments``,
        ``payload_too_large``, or what the handler raised; nothing is stored then.
        """
        inside = self._open.get(workflow_id)
        row: Any = None if inside is not None else self.live_row(ctx, workflow_id)
        kind = self.registry.require(row.workflow_type if inside is None else inside.type)
        declared = kind.signals.get(name)
        if declared is None:
            takes = f"it takes {', '.join(kind.signals)}" if kind.signals else "it takes none"
            raise SenderError(
                "unknown_signal",
                f"workflow type {kind.name} declares no signal {name!r}; {takes}",
                signal=name,
                known_signals=list(kind.signals),
            )
        reader, function = declared
        given = reader.read(payload, self.limits.payload_bytes_max)
        if inside is not None:
            return self._defer(inside, Deferred("signal", name, given))
        return self._step(ctx, row, kind, function, given, Cause("signal", name), refusable=True)

    def resume(self, ctx: Context, row: Any, kind: Definition) -> None:
        """Take up a live workflow that nothing would wake; raises what keeps it from going on, and changes nothing."""

        def run(w: Workflow[Any], _: Any) -> None:
            kind.handler.on_recover(w)

        with ctx.savepoint():
            self._attempt(ctx, row, kind, run, None, Cause("recover"))

    def cancel(self, ctx: Context, workflow_id: int, reason: str) -> Status:
        """End a workflow from outside; ``SenderError`` ``unknown_workflow`` or ``not_active`` if that cannot be."""
        inside = self._open.get(workflow_id)
        if inside is not None:
            return self._defer(inside, Deferred("cancel", "", reason))
        row = self.live_row(ctx, workflow_id)
        kind = self.registry.get(row.workflow_type)
        w, changes = (None, {}) if kind is None else self._say_goodbye(ctx, row, kind, reason)
        self._finish(ctx, row, Move.CANCEL, "cancel", reason[:MESSAGE_CHARS_MAX] or None, w, changes)
        return CANCELLED

    def _say_goodbye(
        self, ctx: Context, row: Any, kind: Definition, reason: str
    ) -> tuple[Workflow[Any] | None, dict[str, Any]]:
        """Run ``on_cancel``. If it raises, the workflow is cancelled without it."""

        def run() -> tuple[Workflow[Any], dict[str, Any]]:
            w: Workflow[Any] = Workflow(ctx, kind, row.id)
            self._enter(w)
            try:
                w.take(row, kind.decode_state(row.state))
                result = encode_result(kind.handler.on_cancel(w, reason))
                w.ending = None
                changes = changed_columns(ctx, kind, w, row, self.limits)
                return w, {**changes, "result": result}
            finally:
                del self._open[row.id]

        try:
            try:
                with ctx.savepoint():
                    return run()
            except CallBudgetExceededError:
                self._once_more(ctx, run)
        except Exception as error:
            explain(ctx, kind.name, row.id, "on_cancel", error, self.limits)
            return None, {}

    def _step(
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
        try:
            try:
                with ctx.savepoint():
                    return self._attempt(ctx, row, kind, function, argument, cause, firing)
            except CallBudgetExceededError:
                if firing is not None or (refusable and not self._open):
                    # Not inside another step: whoever made the call decides.
                    raise
                self._once_more(ctx, self._attempt, ctx, row, kind, function, argument, cause)
        except Exception as error:
            if refusable and isinstance(error, SenderError):
                raise
            self._fail(ctx, row, cause, error)
            return FAILED

    def _attempt(
        self,
        ctx: Context,
        row: Any,
        kind: Definition,
        function: Callable[[Any, Any], None],
        argument: Any,
        cause: Cause,
        firing: Any = None,
    ) -> Status:
        w: Workflow[Any] = Workflow(ctx, kind, row.id)
        self._enter(w)
        try:
            w.take(row, kind.decode_state(row.state))
            w.firing = firing
            function(w, argument)
            self._settle(ctx, kind, w, row, cause)
        finally:
            del self._open[row.id]
        if w.deferred:
            self._run_deferred(ctx, w)
            status: Status = ctx.db.workflow.require(row.id).status
            return status
        return w.ending or AWAITED

    def _settle(self, ctx: Context, kind: Definition, w: Workflow[Any], row: Any, cause: Cause) -> None:
        """Store what a step left; nothing is written when it changed nothing."""
        if w.ending is None and kind.waits is None and not self._is_awaiting(ctx, w):
            raise StrandedError(kind, str(cause))
        changes = changed_columns(ctx, kind, w, row, self.limits)
        if changes or self.audit or w.has_drawn:
            count_on(ctx, row, changes)
            after = ctx.db.workflow.update(row.id, **changes)
            if self.audit:
                record_step(ctx, row, after, "stepped", str(cause), w)
            if w.ending is not None:
                self._ended(ctx, after)

    def _once_more(self, ctx: Context, run: Callable[..., object], *args: Any) -> NoReturn:
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

    # -- the ends ----------------------------------------------------------------------------

    def _fail(self, ctx: Context, row: Any, cause: Cause, error: BaseException) -> None:
        message = explain(ctx, row.workflow_type, row.id, str(cause), error, self.limits)
        self._finish(ctx, row, Move.RAISED, str(cause), message, None, {})

    def _finish(
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
        if self.audit:
            record_step(ctx, row, after, "", cause, w)
        self._ended(ctx, after)

    def _ended(self, ctx: Context, row: Any) -> None:
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
            self._tell_parent(ctx, row.parent_id, end)

    def _tell_parent(self, ctx: Context, parent_id: int, end: ChildEnd) -> None:
        inside = self._open.get(parent_id)
        if inside is not None:
            if inside.ending is None:
                self._defer(inside, Deferred("child", "", end))
            return
        parent = ctx.db.workflow.get(parent_id)
        if parent is None or not is_live(parent.status):
            return
        kind = self.registry.get(parent.workflow_type)
        if kind is not None:
            self._step(ctx, parent, kind, kind.handler.on_child_end, end, Cause("child", str(end.id)))

    # -- steps inside steps --------------------------------------------------------------------

    def _enter(self, w: Workflow[Any]) -> None:
        if len(self._open) >= OPEN_STEPS_MAX:
            raise SenderError(
                "limit_exceeded",
                f"workflow {w.id} ({w.type}) would be step {OPEN_STEPS_MAX + 1} inside other steps; "
                "workflows that wake each other in a chain wait for a timer in between",
            )
        if not self._open:
            self._interruptions = 0
        self._open[w.id] = w

    def _defer(self, w: Workflow[Any], asked: Deferred) -> Status:
        if w.ending is not None:
            raise SenderError("not_active", f"workflow {w.id} has ended in this step ({w.ending})", workflow_id=w.id)
        w.defer(asked)
        return RUNNING

    def _run_deferred(self, ctx: Context, w: Workflow[Any]) -> None:
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
                    self._fail(ctx, row, Cause("step"), error)
                    break
                self._do(ctx, row, waiting.popleft())
        finally:
            del self._draining[w.id]

    def _do(self, ctx: Context, row: Any, asked: Deferred) -> None:
        if asked.verb == "cancel":
            self.cancel(ctx, row.id, asked.payload)
        elif asked.verb == "child":
            self._tell_parent(ctx, row.id, asked.payload)
        else:
            kind = self.registry.require(row.workflow_type)
            self._step(ctx, row, kind, kind.signals[asked.name][1], asked.payload, Cause("signal", asked.name))

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

    def _is_awaiting(self, ctx: Context, w: Workflow[Any]) -> bool:
        """Whether something will wake the workflow: a timer, the end of a child, or what was asked during its step."""
        if w.deferred or w.has_timer():
            return True
        return any(is_live(child.status) for child in ctx.db.workflow.lookup(("parent_id",), (w.id,)))
