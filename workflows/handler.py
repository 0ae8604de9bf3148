"""How a workflow type is written: a class whose methods are called when something happens.

    class Buff(Handler[BuffState]):
        name = "buff"
        clock = "world"
        signals = {"dispel": NoPayload}

        def on_start(self, w: Workflow[BuffState], payload: BuffStart) -> None:
            w.state = BuffState(...)
            w.timer("expire", after_us=payload.duration_us)

        def on_dispel(self, w: Workflow[BuffState], payload: NoPayload) -> None:
            w.complete({"outcome": "dispelled"})

        def on_timer(self, w: Workflow[BuffState], timer: Timer) -> None:
            w.complete({"outcome": "expired"})

All there is to know about a workflow is in its row: ``w.state`` is decoded when something wakes it and stored when the
method returns. Nothing is replayed. One instance of the class serves all workflows of the type, so it keeps nothing
on itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Generic

from reactor.context import Context
from reactor.scopes import WORLD
from reactor.timers import CatchUp
from workflows.handle import ChildEnd, EventSeen, S, Signal, TaskEnd, Timer, Workflow
from workflows.policy import FAIL_AT_ONCE, ErrorPolicy
from workflows.start.options import Concurrency, Exclusive
from workflows.versions.migrations import Migration


class Handler(Generic[S]):
    """Base class of workflow types; ``S`` is the state, a ``msgspec.Struct``.

    ``name``: of the type. ``clock``: of its timers unless they name another. ``signals``: those it takes, each
    with the struct of its payload; signal ``x`` runs ``on_x(w, payload)`` if there is such a method, else
    ``on_signal``. ``updates`` and ``queries``: what it answers, each with the struct of its payload; update ``x`` runs
    ``update_x(w, payload)``, after ``validate_x`` if there is one, and query ``x`` runs ``query_x``. ``timers``:
    the names its timers may have, None for any. ``catch_up``: the policy of its timers unless they name another.
    ``state_version`` is stored with the state; ``migrations`` and ``downgrades`` bring a state that was stored in
    another version to this one: see ``docs/versions.md``. ``exclusive`` and ``concurrency``: how many may live at a
    time, and what a start does that is one too many. ``keeps_contract``: a workflow takes only what its type's signals
    took when it was started, whatever they take now.

    A method that raises is undone, with everything it did in all tables. Then: if a caller started or signalled the
    workflow and the error is a ``SenderError``, it is the caller's mistake, who gets it, and nothing was changed.
    Anything else is a defect, and ``on_error`` says what becomes of the workflow, alone: unless the type has a policy
    of its own it is marked Failed, and its timers go.
    """

    name: ClassVar[str] = ""
    clock: ClassVar[str] = WORLD
    signals: ClassVar[Mapping[str, type]] = {}
    updates: ClassVar[Mapping[str, type]] = {}
    queries: ClassVar[Mapping[str, type | None]] = {}
    timers: ClassVar[Collection[str] | None] = None
    catch_up: ClassVar[CatchUp] = CatchUp.FIRE_ALL
    state_version: ClassVar[int] = 1
    migrations: ClassVar[Mapping[int, Migration]] = {}
    downgrades: ClassVar[Mapping[int, Migration]] = {}
    keeps_contract: ClassVar[bool] = False
    on_error: ClassVar[ErrorPolicy] = FAIL_AT_ONCE
    exclusive: ClassVar[Exclusive | None] = None
    concurrency: ClassVar[Concurrency | None] = None
    stores_signals: ClassVar[bool] = False

    def on_start(self, w: Workflow[S], payload: Any) -> None:
        """Begin: assign ``w.state`` (unless the state's fields all have defaults) and arm what will wake it.

        The annotation of ``payload`` declares what ``workflow_start`` must be given.
        """
        raise NotImplementedError

    def on_timer(self, w: Workflow[S], timer: Timer) -> None:
        """A timer is due. ``w.now`` is the instant it was due, however late it is."""
        raise NotImplementedError

    def on_signal(self, w: Workflow[S], signal: Signal) -> None:
        """A declared signal that has no method of its own."""
        raise NotImplementedError

    def on_child_end(self, w: Workflow[S], child: ChildEnd) -> None:
        """A child has ended."""

    def on_task_end(self, w: Workflow[S], task: TaskEnd) -> None:
        """A task of this workflow is done, or will not be."""

    def on_event(self, w: Workflow[S], event: EventSeen) -> None:
        """An event this workflow waits for was published."""

    def on_cancel(self, w: Workflow[S], reason: str) -> Any:
        """Somebody cancels it: clean up. What is returned becomes the result. It cannot refuse; if it raises, its work
        is undone and the workflow is cancelled all the same."""

    def on_conflict(self, w: Workflow[S], payload: Any) -> None:
        """Another start wants what this workflow holds exclusively, and it is to be refreshed instead.

        ``payload`` is that start's. What is raised as ``SenderError`` refuses that start, and changes nothing.
        """
        raise NotImplementedError

    def on_recover(self, w: Workflow[S]) -> None:
        """A start found the workflow Running, or with nothing that would wake it: arm what is missing, from the state.

        Timers it still has keep their due times; ``w.timer_due(name)`` is None for one that is missing.
        """

    def may(self, ctx: Context, workflow: Any, verb: str) -> bool | None:
        """Whether the caller may ``start``, ``signal`` or ``cancel`` this workflow (a row; None for ``start``).

        None leaves it to the engine's rule: everybody may start and signal, and a workflow is cancelled by
        whoever started it or by the owner of the database. Game code and timers are never asked.
        """
        return None
