"""The engine's tables: ordinary tables, subscribed, queried and backed up like any game's.

A parked workflow is one row and each of its timers another, and there may be a million of both. So a column is
``None`` where there is nothing to say, texts that repeat (types, steps, clocks, timer names) are shared objects, and
a time that equals another is the same object.
"""

from __future__ import annotations

from reactor.columns import U8, U32, Duration, Timestamp
from reactor.schema import TableSchema, declare_table, index, primary_key
from reactor.scopes import WALL
from reactor.timers import CatchUp
from workflows.life import Status
from workflows.start.names import name_by_id

WORKFLOW_TABLE = "workflow"
TIMER_TABLE = "workflow_timer"
EVENT_TABLE = "workflow_event"
RECOVERY_ERROR_TABLE = "recovery_error"
LAST_ID_TABLE = "last_workflow_id"
TIMER_REDUCER = "workflow_timer_fire"


class WorkflowRow:
    """One workflow, live or ended.

    ``state`` and ``result`` are JSON text. ``error_message`` tells why it failed or was cancelled. ``owner`` is the
    identity that started it, None for timers and the server itself. ``waits`` names the signals that may come,
    separated by commas; None if there are none. ``sequence`` counts its transitions.

    ``name`` is unique. ``failure_category`` says what kind of failure ended or parked it. ``root_id`` is the first of
    the ancestors of a child. ``deadline`` is the wall instant at which it ends as TimedOut. ``run`` counts how often it
    has begun anew under the same id. ``ended_at`` is when it ended, None while it is live.
    """

    id: int = primary_key(auto=True)
    workflow_type: str
    entity_id: int | None
    correlation_id: str | None
    status: Status
    current_step: str
    state: str
    state_version: U32 = 1
    result: str | None = None
    error_message: str | None = None
    owner: str | None = None
    parent_id: int | None = None
    waits: str | None = None
    sequence: int = 1
    name: str
    failure_category: str | None = None
    root_id: int | None = None
    deadline: Timestamp | None = None
    run: U32 = 1
    ended_at: Timestamp | None = None
    created_at: Timestamp
    updated_at: Timestamp


class TimerRow:
    """One timer of a live workflow; there is at most one of each name. See ``reactor.timers`` for most columns.

    ``armed_at`` and ``scheduled_at`` are values of ``clock``: whoever draws a progress bar needs no more. A timer that
    was cancelled stays, flagged, until its name is armed again or the workflow ends. ``held`` marks one that was
    cancelled only for as long as its workflow is paused or faulted, or its type is not registered.
    """

    scheduled_id: int = primary_key(auto=True)
    workflow_id: int
    name: str
    scheduled_at: Timestamp
    armed_at: Timestamp
    clock: str = WALL
    interval: Duration | None = None
    catch_up: CatchUp = CatchUp.FIRE_ALL
    drop_after: Duration | None = None
    generation: U32 = 1
    missed: int = 0
    priority: U8 = 1
    cancelled: bool = False
    held: bool = False


class EventRow:
    """One transition of one workflow; written only when the engine was made with ``audit=True``.

    ``sequence`` numbers the events of a workflow. ``timestamp`` is the logical time of the transition, ``real_at``
    when it happened. ``kind`` is the outcome, ``cause`` what led to it (``timer:expire``, ``signal:dispel``),
    ``actor`` who: an identity (the owner's for a timer fired
    by hand), ``timer`` or ``system``.
    """

    id: int = primary_key(auto=True)
    workflow_id: int
    sequence: int
    timestamp: Timestamp
    real_at: Timestamp
    kind: str
    actor: str
    cause: str
    status_before: Status | None
    status_after: Status
    step_before: str | None
    step_after: str
    detail: str | None = None


class RecoveryErrorRow:
    """A workflow that could not be taken up at a start. The row goes when a later start can."""

    workflow_id: int = primary_key()
    workflow_type: str
    message: str
    at: Timestamp


class LastWorkflowIdRow:
    """The workflow a client started last, for clients of systems whose calls return nothing."""

    identity: str = primary_key()
    workflow_id: int


WORKFLOW_SCHEMA = declare_table(
    WorkflowRow,
    name=WORKFLOW_TABLE,
    public=True,
    unique=["name"],
    filled={"name": name_by_id},
    indexes=[
        "workflow_type",
        "entity_id",
        "correlation_id",
        "status",
        "parent_id",
        index("parent_id", "status"),
        # Live workflows are not in it: clean-up finds the oldest ends of a type without looking at anything else.
        index("workflow_type", "ended_at", ordered=True),
    ],
)
TIMER_SCHEMA = declare_table(TimerRow, name=TIMER_TABLE, public=True, indexes=["workflow_id"], scheduled=TIMER_REDUCER)
EVENT_SCHEMA = declare_table(EventRow, name=EVENT_TABLE, public=True, indexes=["workflow_id"])
RECOVERY_ERROR_SCHEMA = declare_table(RecoveryErrorRow, name=RECOVERY_ERROR_TABLE)
# Private: a caller asks for its own with the reducer of the same name, and cannot see another's.
LAST_ID_SCHEMA = declare_table(LastWorkflowIdRow, name=LAST_ID_TABLE, indexes=["workflow_id"])

SCHEMAS: tuple[TableSchema, ...] = (
    WORKFLOW_SCHEMA,
    TIMER_SCHEMA,
    EVENT_SCHEMA,
    RECOVERY_ERROR_SCHEMA,
    LAST_ID_SCHEMA,
)
