"""What a handler's method works with: its workflow, for the length of one step.

A step is one method of a handler, run inside one call. Timers are rows and are written at once; the workflow's own row
is written once, when the method has returned.
"""

from __future__ import annotations

import random
import sys
from typing import Any, Generic, NamedTuple, NoReturn, Protocol, TypeVar

from reactor.context import Context
from reactor.scopes import WALL
from reactor.timers import CatchUp
from workflows.control.limits import check_own
from workflows.life import COMPLETED, FAILED, RUNNING, TERMINATED, Move, Status

S = TypeVar("S")

INTERVAL_US_MIN = 1_000
"""A shorter interval is a mistake that would keep the reactor busy with nothing else."""


class Timer(NamedTuple):
    """The occurrence a handler's ``on_timer`` runs for.

    ``due_at`` is the wall instant it was due, ``fired_at`` when it ran, both in µs; ``missed`` counts occurrences
    left out before this one by the catch-up policy. ``due_value`` is the due time on the timer's own ``clock``.
    """

    name: str
    due_at: int
    fired_at: int
    lateness_us: int
    missed: int
    generation: int
    clock: str
    due_value: int
    interval_us: int | None


class Signal(NamedTuple):
    """A signal as ``on_signal`` sees it: its name and its decoded payload."""

    name: str
    payload: Any


class ChildEnd(NamedTuple):
    """The end of a child workflow. ``result`` is the JSON text it left, ``error_message`` why it failed, or None."""

    id: int
    workflow_type: str
    status: Status
    result: str | None
    error_message: str | None


class TaskEnd(NamedTuple):
    """The end of a task that a worker outside did, or could not do.

    ``status`` is ``completed``, ``failed``, ``cancelled`` or ``timed_out``; ``result`` the JSON text the worker left.
    ``pointer_id`` is the place in a script that waits for it.
    """

    id: int
    queue: str
    name: str
    status: str
    result: str | None
    error_message: str | None
    attempt: int
    pointer_id: int | None


class EventSeen(NamedTuple):
    """A published event that a workflow has waited for. ``id`` is None for one that was not kept.

    ``data`` is JSON text, ``at`` when it was published, in µs, ``pointer_id`` the place in a script that waits for it.
    """

    id: int | None
    name: str
    key: str
    data: str | None
    at: int
    pointer_id: int | None


class Cause(NamedTuple):
    """What led to a step: ``timer``, ``signal``, ``child``, ``task``, ``event``, ``recover``, and its name."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


class Deferred(NamedTuple):
    """Something asked of a workflow while one of its own steps is running; done when that step is over.

    ``verb`` is ``signal`` (of that ``name``), ``message`` (a signal of that name is stored), ``tell`` (``name`` is the
    handler's method), or what an operator may do, such as ``cancel`` (``payload`` is the reason).
    """

    verb: str
    name: str
    payload: Any
    cause: Cause | None = None


class TypeFacts(Protocol):
    """What a step needs to know about its workflow's type."""

    name: str
    clock: str
    catch_up: CatchUp
    timers: frozenset[str] | None
    waits: str | None


class Workflow(Generic[S]):
    """One workflow in one step.

    ``state`` may be changed or replaced; it is stored at the end of the step. ``step`` is the text that
    ``current_step`` shows. A savepoint of the handler's own that fails does not take back what was done to these two.
    ``row`` is the stored row as it was before the step, None while the workflow starts.
    """

    __slots__ = (
        "_has_armed", "_random", "_type", "awaits", "category", "correlation_id", "ctx", "deferred", "ending",
        "entity_id", "error", "firing", "id", "notes", "owner", "parent_id", "result", "row", "run", "sequence",
        "state", "step", "touched", "waits",
    )  # fmt: skip

    def __init__(self, ctx: Context, kind: TypeFacts, workflow_id: int) -> None:
        self.ctx = ctx
        self._type = kind
        self.id = workflow_id
        self.entity_id: int | None = None
        self.correlation_id: str | None = None
        self.owner: str | None = None
        self.parent_id: int | None = None
        self.state: S
        self.step = "started"
        self.sequence = 0
        self.row: Any = None
        self.firing: Any = None
        self.ending: Status | None = None
        self.result: Any = None
        self.error: str | None = None
        self.notes: list[tuple[str, str | None]] | None = None
        self.deferred: list[Deferred] | None = None
        self._random: random.Random | None = None
        self._has_armed = False
        # The rest is for types whose waits are not the same for all their workflows: scripts.
        self.waits = kind.waits
        self.awaits = False
        self.run = 1
        self.touched = False
        self.category: str | None = None

    def take(self, row: Any, state: S) -> None:
        """Take over a stored row; for the engine."""
        self.row = row
        self.entity_id = row.entity_id
        self.correlation_id = row.correlation_id
        self.owner = row.owner
        self.parent_id = row.parent_id
        self.step = row.current_step
        self.sequence = row.sequence
        self.run = row.run
        self.state = state

    # -- what it is --------------------------------------------------------------------------

    @property
    def type(self) -> str:
        """The name of the workflow's type."""
        return self._type.name

    @property
    def db(self) -> Any:
        """The tables, as ``ctx.db``; what is done there is part of the step."""
        return self.ctx.db

    @property
    def status(self) -> Status:
        """Running, or what the step has made of it."""
        return self.ending or RUNNING

    @property
    def workflows(self) -> Any:
        """Other workflows, as ``ctx.workflows``: start, signal, cancel, find."""
        return self.ctx.workflows

    # -- time and chance ---------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The logical instant of this step on the wall, µs: a timer's due time, or when the call came in."""
        return self.ctx.now

    def time(self, clock: str | None = None) -> int:
        """What a clock (by default the type's own) shows at the logical instant of this step, in its µs."""
        ctx, clock = self.ctx, clock or self._type.clock
        if clock == WALL:
            return ctx.now
        if ctx.timer is not None and ctx.timer.clock == clock:
            # Exactly the due value: no rounding through the wall, so a chain of timers never drifts.
            return ctx.timer.due_value
        row = ctx.db.clock.get(clock)
        if row is not None and ctx.now < row.anchor_wall:
            # The logical instant lies in a time when this clock stood still, because the process was down.
            value: int = row.anchor_value
            return value
        return ctx.clock_value(clock)

    @property
    def random(self) -> random.Random:
        """A stream of chance of this step's own: the same step of the same workflow draws the same in every replay."""
        if self._random is None:
            self._random = self.ctx.stream(self.id, self.sequence)
        return self._random

    @property
    def counts_on(self) -> bool:
        """Whether the row counts on though nothing in it changed.

        It does after a step that used ``random``, so that the next one draws something else.
        """
        return self.touched or self._random is not None

    # -- timers ------------------------------------------------------------------------------

    def timer(
        self,
        name: str,
        *,
        after_us: int | None = None,
        at: int | None = None,
        interval_us: int | None = None,
        clock: str | None = None,
        catch_up: CatchUp | None = None,
        drop_after_us: int | None = None,
        priority: int | None = None,
    ) -> int:
        """Arm the timer ``name``; one that is armed already under this name is moved. Returns when it is due.

        It is due ``after_us`` from the logical now, or ``at`` a value of its clock, and then every ``interval_us``.
        An interval alone begins one interval from now. ``catch_up`` and ``drop_after_us``: see ``CatchUp``. Of timers
        due together the lower ``priority`` (0-255) fires first: 0 for intervals and 1 for others unless given, so
        the last tick of a buff comes before its end. Raises ``ValueError`` for what cannot be meant.
        """
        name = str(name)  # a member of a StrEnum will do
        self._check_timer(name, after_us, at, interval_us, catch_up, drop_after_us)
        clock = self._type.clock if clock is None else clock
        armed_at = self.time(clock)
        if at is None:
            wait = after_us if after_us is not None else interval_us
            at = armed_at + max(wait or 0, 0)
        values: dict[str, Any] = {
            "scheduled_at": at,
            "armed_at": armed_at,
            "clock": clock,
            "interval": interval_us,
            "catch_up": catch_up or self._type.catch_up,
            "drop_after": drop_after_us,
            "priority": (1 if interval_us is None else 0) if priority is None else priority,
        }
        self._put_timer(name, values)
        return at

    def _put_timer(self, name: str, values: dict[str, Any]) -> None:
        table, held = self.ctx.db.workflow_timer, None
        # The first timer of a workflow that begins has none beside it: a million starts need not look.
        rows = self._timers() if self._has_armed or self.row is not None else []
        self._has_armed = True
        for row in rows:
            if row.name == name:
                held = row
        if held is None:
            if rows:
                check_own(self.ctx, self.id, "timers", len(rows) + 1, self.ctx.limits.workflow_timers_max)
            table.insert(workflow_id=self.id, name=sys.intern(name), **values)
        else:
            values.update(generation=held.generation + 1, missed=0, cancelled=False, held=False)
            table.update(held.scheduled_id, **values)

    def _check_timer(
        self,
        name: str,
        after_us: int | None,
        at: int | None,
        interval_us: int | None,
        catch_up: CatchUp | None,
        drop_after_us: int | None,
    ) -> None:
        kind = self._type
        if self.ending is not None:
            self._refuse_after_end(f"arm timer {name!r}")
        if kind.timers is not None and name not in kind.timers:
            raise ValueError(f"type {kind.name} declares the timers {', '.join(sorted(kind.timers))}, not {name!r}")
        if after_us is None and at is None and interval_us is None:
            raise ValueError(f"timer {name!r}: give after_us, at or interval_us")
        if after_us is not None and at is not None:
            raise ValueError(f"timer {name!r}: give after_us or at, not both")
        if interval_us is not None and interval_us < INTERVAL_US_MIN:
            raise ValueError(f"timer {name!r}: an interval of {interval_us} µs is below {INTERVAL_US_MIN}")
        dropping = (catch_up or kind.catch_up) is CatchUp.DROP_IF_LATE
        if dropping and drop_after_us is None:
            raise ValueError(f"timer {name!r}: drop_if_late needs drop_after_us")
        if dropping and interval_us is None and kind.waits is None:
            raise ValueError(f"timer {name!r}: if it were dropped, nothing would wake the workflow again")

    def cancel_timer(self, name: str) -> bool:
        """Let the timer ``name`` not fire; False if it was not armed.

        Its row stays, flagged, until the name is armed again or the workflow ends.
        """
        held = self._timer_row(name)
        if held is None or held.cancelled:
            return False
        self.ctx.db.workflow_timer.update(held.scheduled_id, cancelled=True)
        return True

    def timer_due(self, name: str) -> int | None:
        """When the timer ``name`` is due, as a value of its own clock; None if it is not armed."""
        held = self._timer_row(name)
        return None if held is None or held.cancelled else held.scheduled_at

    def remaining_us(self, name: str) -> int | None:
        """How long until the timer ``name`` is due, on its own clock; None if it is not armed."""
        held = self._timer_row(name)
        return None if held is None or held.cancelled else max(held.scheduled_at - self.time(held.clock), 0)

    def _timers(self) -> list[Any]:
        # Asked of the table each time: a savepoint may have taken back what the step did there.
        rows: list[Any] = self.ctx.db.workflow_timer.lookup(("workflow_id",), (self.id,))
        return rows

    def _timer_row(self, name: str) -> Any:
        for row in self._timers():
            if row.name == name:
                return row
        return None

    def has_timer(self) -> bool:
        """Whether a timer will wake this workflow after the step."""
        # The one-shot that is firing is used up by this step, unless it was armed anew.
        firing = self.firing
        return any(not row.cancelled and (row is not firing or row.interval) for row in self._timers())

    # -- ends --------------------------------------------------------------------------------

    def complete(self, result: Any = None) -> None:
        """End as Completed, with a JSON-able result. The step still runs to its end; its timers go then."""
        self._end(COMPLETED, result, None)

    def fail(self, message: str, *, category: str = "application") -> None:
        """End as Failed, keeping what this step did. To undo the step as well, raise an exception."""
        self.category = category
        self._end(FAILED, None, message)

    def park(self, message: str, *, category: str) -> None:
        """Leave it to somebody to decide what comes next; what this step did is kept.

        After the step the workflow is Faulted, until an operator retries, skips or ends it.
        """
        self.log(message, "error")
        self.defer(Deferred(Move.PARKED, category, message))

    def terminate(self, reason: str) -> None:
        """End as Terminated: children go with it, and no code of it runs any more."""
        self.category = "terminated"
        self._end(TERMINATED, None, reason)

    def _end(self, status: Status, result: Any, message: str | None) -> None:
        if self.ending is not None:
            self._refuse_after_end(f"be {status.lower()}")
        self.ending = status
        self.result = result
        self.error = message
        self.ctx.on_undo(self._go_on)

    def _go_on(self) -> None:
        self.ending = self.result = self.error = self.category = None

    def _refuse_after_end(self, what: str) -> NoReturn:
        raise RuntimeError(f"workflow {self.id} has ended in this step ({self.ending}); it cannot {what}")

    # -- others ------------------------------------------------------------------------------

    def start_child(
        self,
        workflow_type: str,
        *,
        entity_id: int | None = None,
        correlation_id: str | None = None,
        payload: Any = None,
        **fields: Any,
    ) -> int:
        """Start a workflow that belongs to this one; returns its id.

        Its end is told to ``on_child_end`` in the same commit; if this workflow ends first, the child is cancelled.
        """
        child_id: int = self.ctx.workflows.start(
            workflow_type,
            entity_id=entity_id,
            correlation_id=correlation_id,
            payload=payload,
            parent_id=self.id,
            **fields,
        )
        return child_id

    def event(self, kind: str, detail: str | None = None) -> None:
        """Add a row of your own to ``workflow_event``; nothing happens when the engine keeps no events."""
        if self.notes is None:
            self.notes = []
        self.notes.append((kind, detail))
        self.ctx.on_undo(self.notes.pop)

    def defer(self, asked: Deferred) -> None:
        """Keep what is asked of the workflow until its step is over; for the engine."""
        if self.deferred is None:
            self.deferred = []
        self.deferred.append(asked)
        # Whoever asks may be undone, and then has not asked.
        self.ctx.on_undo(self.deferred.pop)

    def log(self, message: str, level: str = "info") -> None:
        """Write a line to the server's log, with the workflow's type and id."""
        self.ctx.log(f"{self._type.name} {self.id}: {message}", level)
