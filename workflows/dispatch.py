"""The dispatcher: the parts that start, fire, signal and end workflows, put together.

It is what reducers, game code and the parts of the engine call; each of its verbs is one step of one workflow inside
the call that is running.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from reactor.budget import CallBudgetExceededError
from reactor.context import Context
from reactor.limits import Limits
from workflows.answering import Answering
from workflows.control.commands import Commands
from workflows.control.verbs import Control
from workflows.definition import Definition
from workflows.ending import Ending, Listener
from workflows.handle import Cause, Timer, Workflow
from workflows.life import is_live
from workflows.permission import Permission
from workflows.registry import Registry
from workflows.signal_or_start import SignalOrStart
from workflows.signalling import Signalling
from workflows.starting import Starting
from workflows.steps import Steps


class Remover(Protocol):
    """A part of the engine that keeps things of workflows."""

    def removed(self, ctx: Context, row: Any) -> None:
        """An ended workflow is about to be removed: remove all that belongs to it."""


class Dispatcher:
    """The steps of one engine's workflows.

    ``allow(ctx, row, type_name, verb)`` raises ``SenderError`` ``forbidden`` unless the caller may; the row is None for
    ``start``.
    """

    def __init__(self, registry: Registry, *, audit: bool = False, permission: Permission | None = None) -> None:
        self.registry = registry
        self.commands = Commands()
        self.attribute_kinds: Mapping[str, Any] = {}
        """The attributes that hold one kind of value only; set by the part that keeps them."""
        self.removers: Sequence[Remover] = ()
        self.allow = (permission or Permission(registry)).require
        self.steps = Steps(registry, audit=audit)
        self.ending = Ending(self.steps)
        self.starting = Starting(self.steps)
        self.signalling = Signalling(self.steps)
        self.answering = Answering(self.steps)
        self.control = Control(self.steps, self.ending, self.starting)
        self.control.faults.fire = self.fire
        self.fail = self.control.fail
        self.steps.ends = self.control
        self.steps.deliver = self.signalling.deliver_held
        self.steps.deliver_later = self.signalling.deliver_later
        self.steps.hold = self.signalling.hold
        self.steps.is_behind = self.signalling.is_behind
        self.steps.signalled = self.signalling.signalled
        self.start = self.starting.start
        self.start_with = self.starting.start_with
        self.signal = self.signalling.signal
        self.send = self.signalling.send
        self.signal_or_start = SignalOrStart(self.steps, self.starting, self.signalling)
        self.cancel = self.ending.cancel
        self.terminate = self.ending.terminate
        self.suspend = self.control.suspend
        self.resume = self.control.resume
        self.retry = self.control.retry
        self.skip = self.control.skip
        self.tell = self.steps.tell
        self.live_row = self.steps.live_row

    @property
    def audit(self) -> bool:
        """Whether every transition leaves a row in ``workflow_event``."""
        return self.steps.audit

    @property
    def limits(self) -> Limits:
        """The limits of the reactor the engine was last started in."""
        return self.steps.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self.steps.limits = self.commands.limits = limits

    def listen(self, listeners: Sequence[Listener]) -> None:
        """Tell ``listeners`` of every end."""
        self.ending.listeners = listeners

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
                self.fail(ctx, row, Cause("timer", timer_row.name), error, None, timer_row)

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
        self.steps.step(ctx, row, kind, kind.handler.on_timer, timer, cause, firing=timer_row)

    def take_up(self, ctx: Context, row: Any, kind: Definition) -> None:
        """Take up a live workflow that nothing would wake; raises what keeps it from going on, and changes nothing."""

        def run(w: Workflow[Any], _: Any) -> None:
            kind.handler.on_recover(w)

        with ctx.savepoint():
            self.steps.attempt(ctx, row, kind, run, None, Cause("recover"))
