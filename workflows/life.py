"""The life of a workflow, as a table.

A workflow is *Running* while one of its handler's methods runs. That is always inside one call, and a call is whole
or not at all, so what is stored afterwards is how the method left it: *Suspended*, with something that will wake
it, or ended. There are three ends, and nothing leads out of them: a timer that fires late, a signal that was under
way, a second cancel all find the workflow ended and change nothing.

Since no step can be seen half done, there is no status for it, no lock and no lease; a row that says Running after a
start was put there by someone else, and recovery takes it up.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from reactor.errors import invariant


class Status(enum.StrEnum):
    """Where a workflow stands; the text is what SQL and clients see."""

    RUNNING = "Running"
    SUSPENDED = "Suspended"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


class Move(enum.StrEnum):
    """What may happen to a workflow."""

    WOKEN = "woken"
    """A timer, a signal, the end of a child or a restart runs its handler."""
    AWAITED = "awaited"
    """The handler returned, and something will wake the workflow again."""
    RETURNED = "returned"
    """The handler completed it."""
    RAISED = "raised"
    """The handler raised, gave up, or left nothing that could wake it."""
    CANCEL = "cancel"
    """Somebody ended it from outside."""


LIFE: Mapping[Status, Mapping[Move, Status]] = {
    Status.RUNNING: {
        Move.AWAITED: Status.SUSPENDED,
        Move.RETURNED: Status.COMPLETED,
        Move.RAISED: Status.FAILED,
        Move.CANCEL: Status.CANCELLED,
    },
    Status.SUSPENDED: {Move.WOKEN: Status.RUNNING, Move.CANCEL: Status.CANCELLED},
    Status.COMPLETED: {},
    Status.FAILED: {},
    Status.CANCELLED: {},
}

TERMINAL = frozenset(status for status, moves in LIFE.items() if not moves)
LIVE = frozenset(LIFE) - TERMINAL

# Compared by identity where it is done a million times: hashing a member of an enum is a Python call.
RUNNING, SUSPENDED = Status.RUNNING, Status.SUSPENDED
COMPLETED, FAILED, CANCELLED = Status.COMPLETED, Status.FAILED, Status.CANCELLED


def is_live(status: Status) -> bool:
    """Whether a workflow with this status may still do something."""
    return status is SUSPENDED or status is RUNNING


def follow(status: Status, move: Move) -> Status:
    """The status after ``move``; ``InvariantError`` where the table has no such edge."""
    after = LIFE[status].get(move)
    invariant(after is not None, f"a workflow that is {status} cannot be {move}")
    return after  # type: ignore[return-value]
