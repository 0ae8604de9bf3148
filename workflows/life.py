"""The life of a workflow, as a table.

A workflow is *Running* while one of its handler's methods runs. That is always inside one call, and a call is whole
or not at all, so what is stored afterwards is how the method left it: *Suspended*, with something that will wake
it, or ended. Nothing leads out of an end: a timer that fires late, a signal that was under way, a second cancel all
find the workflow ended and change nothing.

Three more statuses are live without taking steps: *Pending* (its start is put off, or it waits in a queue), *Paused*
(an operator stopped it) and *Faulted* (its handler failed, and somebody must decide). Their timers are held, and what
is sent to them is kept.

Since no step can be seen half done, there is no status for it, no lock and no lease; a row that says Running after a
start was put there by someone else, and recovery takes it up.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from reactor.errors import invariant


class Status(enum.StrEnum):
    """Where a workflow stands; the text is what SQL and clients see."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    PAUSED = "Paused"
    FAULTED = "Faulted"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    TERMINATED = "Terminated"
    TIMED_OUT = "TimedOut"


class Move(enum.StrEnum):
    """What may happen to a workflow."""

    BEGUN = "begun"
    """Its turn, or its time, has come: its handler starts."""
    WOKEN = "woken"
    """A timer, a signal, the end of a child or a restart runs its handler."""
    AWAITED = "awaited"
    """The handler returned, and something will wake the workflow again."""
    RETURNED = "returned"
    """The handler completed it."""
    RAISED = "raised"
    """The handler raised, gave up, or left nothing that could wake it."""
    PARKED = "parked"
    """The handler raised, and its type wants somebody to look at it."""
    RETRIED = "retried"
    """Somebody looked, and lets the handler try again."""
    SKIPPED = "skipped"
    """Somebody looked, and lets the workflow wait for what comes next."""
    PAUSE = "pause"
    """An operator stops it for a while."""
    RESUME = "resume"
    """The operator lets it go on."""
    CANCEL = "cancel"
    """Somebody ended it from outside, and its handler may clean up."""
    TERMINATE = "terminate"
    """An operator ended it, and its handler is not asked."""
    TIME_OUT = "time_out"
    """Its deadline has passed."""


_ENDED_FROM_OUTSIDE = {
    Move.CANCEL: Status.CANCELLED,
    Move.TERMINATE: Status.TERMINATED,
    Move.TIME_OUT: Status.TIMED_OUT,
}

LIFE: Mapping[Status, Mapping[Move, Status]] = {
    Status.PENDING: {Move.BEGUN: Status.RUNNING, **_ENDED_FROM_OUTSIDE},
    Status.RUNNING: {
        Move.AWAITED: Status.SUSPENDED,
        Move.RETURNED: Status.COMPLETED,
        Move.RAISED: Status.FAILED,
        Move.PARKED: Status.FAULTED,
        **_ENDED_FROM_OUTSIDE,
    },
    Status.SUSPENDED: {Move.WOKEN: Status.RUNNING, Move.PAUSE: Status.PAUSED, **_ENDED_FROM_OUTSIDE},
    Status.PAUSED: {Move.RESUME: Status.SUSPENDED, **_ENDED_FROM_OUTSIDE},
    Status.FAULTED: {Move.RETRIED: Status.RUNNING, Move.SKIPPED: Status.SUSPENDED, **_ENDED_FROM_OUTSIDE},
    Status.COMPLETED: {},
    Status.FAILED: {},
    Status.CANCELLED: {},
    Status.TERMINATED: {},
    Status.TIMED_OUT: {},
}

TERMINAL = frozenset(status for status, moves in LIFE.items() if not moves)
LIVE = frozenset(LIFE) - TERMINAL

# Compared by identity where it is done a million times: hashing a member of an enum is a Python call.
PENDING, RUNNING, SUSPENDED = Status.PENDING, Status.RUNNING, Status.SUSPENDED
PAUSED, FAULTED = Status.PAUSED, Status.FAULTED
COMPLETED, FAILED, CANCELLED = Status.COMPLETED, Status.FAILED, Status.CANCELLED
TERMINATED, TIMED_OUT = Status.TERMINATED, Status.TIMED_OUT


def is_awake(status: Status) -> bool:
    """Whether a workflow with this status takes a step when something wakes it."""
    return status is SUSPENDED or status is RUNNING


def is_live(status: Status) -> bool:
    """Whether a workflow with this status may still do something, now or later."""
    return status is SUSPENDED or status is RUNNING or status is PENDING or status is PAUSED or status is FAULTED


def follow(status: Status, move: Move) -> Status:
    """The status after ``move``; ``InvariantError`` where the table has no such edge."""
    after = LIFE[status].get(move)
    invariant(after is not None, f"a workflow that is {status} cannot be {move}")
    return after  # type: ignore[return-value]
