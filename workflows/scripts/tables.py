"""What a script has done and waits for, as rows.

A row of ``execution_pointer`` is one thing a script asked for with ``await``: it is inserted in the commit in which
the script asks, and changed once, in the commit in which it is over. Together the rows of a run are the script's
record: replaying them brings the script to where it was. They are numbered as they happened: ``created_no`` when
it was asked for, ``done_no`` when it was over; the two are equal for what was over at once.
"""

from __future__ import annotations

import enum

from reactor.columns import U32, Timestamp
from reactor.schema import TableSchema, declare_table, primary_key

POINTER_TABLE = "execution_pointer"
RUN_TABLE = "workflow_run"


class PointerStatus(enum.StrEnum):
    """Where one awaited thing stands."""

    SLEEPING = "Sleeping"
    """A timer will go on with it."""
    WAITING = "Waiting"
    """A signal, an event, a child, a task or a condition will."""
    RETRYING = "Retrying"
    """A step has failed and will be tried again at ``sleep_until``."""
    PARKED = "Parked"
    """A step has failed for good, and somebody must decide."""
    COMPLETE = "Complete"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    """Another waker was first, or the workflow ended."""
    SKIPPED = "Skipped"
    """Somebody decided to go on without it."""
    COMPENSATED = "Compensated"
    """Done, and undone again by its saga."""


OPEN = frozenset({PointerStatus.SLEEPING, PointerStatus.WAITING, PointerStatus.RETRYING, PointerStatus.PARKED})


class PointerRow:
    """One awaited thing of a script.

    ``kind`` is ``sleep``, ``signal``, ``step``, ``undo``, ``child``, ``event``, ``task``, ``condition``, ``marker``,
    ``version``, ``update`` or ``cancel``. ``event_name`` and ``event_key`` name what will wake it: a timer, a signal,
    an event, a queue. ``ref`` is the id of its child, task or message. ``data`` is what it was given and ``outcome``
    what it gave, both JSON text. ``predecessor_id`` is, for an undo, the step it undoes. Times are wall instants in µs,
    except ``sleep_until``, which is a value of the timer's clock.
    """

    id: int = primary_key(auto=True)
    workflow_id: int
    run: U32
    kind: str
    step_name: str
    status: PointerStatus
    created_no: int
    done_no: int | None = None
    attempt: U32 = 1
    sleep_until: Timestamp | None = None
    event_name: str | None = None
    event_key: str | None = None
    ref: int | None = None
    predecessor_id: int | None = None
    data: str | None = None
    outcome: str | None = None
    error: str | None = None
    started_at: Timestamp
    ended_at: Timestamp | None = None


class RunRow:
    """A run of a script that has ended by beginning anew; ``events`` is the length of its record."""

    id: int = primary_key(auto=True)
    workflow_id: int
    run: U32
    events: int
    bytes: int
    began_at: Timestamp
    ended_at: Timestamp


POINTER_SCHEMA = declare_table(PointerRow, name=POINTER_TABLE, public=True, indexes=["workflow_id"])
RUN_SCHEMA = declare_table(RunRow, name=RUN_TABLE, public=True, indexes=["workflow_id"])

SCHEMAS: tuple[TableSchema, ...] = (POINTER_SCHEMA, RUN_SCHEMA)
