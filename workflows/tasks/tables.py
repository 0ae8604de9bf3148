"""The tables of tasks: what is to be done outside, who has it in hand, and how each delivery went.

``task`` and ``task_queue`` are public, so that anybody may watch how far things are and a worker is woken. What is in a
task (``task_content``) and who holds it (``task_attempt``) is private: payloads may hold what players must not see, and
whoever knows a token may end the task. A worker is handed both when it claims.
"""

from __future__ import annotations

import enum

from reactor.columns import U8, U32, Duration, Timestamp
from reactor.schema import TableSchema, declare_table, index, primary_key

TIMER_REDUCER = "task_timer_fire"

CAPACITY = 10_000
"""Tasks that may wait in a queue unless it is configured otherwise."""


class TaskStatus(enum.StrEnum):
    """Where a task stands. The last four are ends."""

    DELAYED = "Delayed"
    READY = "Ready"
    LEASED = "Leased"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"


DELAYED, READY, LEASED = TaskStatus.DELAYED, TaskStatus.READY, TaskStatus.LEASED
OPEN = (DELAYED, READY, LEASED)


class Delivery(enum.StrEnum):
    """How one attempt went."""

    RUNNING = "Running"
    COMPLETED = "Completed"
    FAILED = "Failed"
    RELEASED = "Released"
    LAPSED = "Lapsed"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"


class Alarm(enum.StrEnum):
    """What a timer of the tasks is for."""

    READY = "ready"
    LEASE = "lease"
    DEADLINE = "deadline"
    THROTTLE = "throttle"
    WORKER = "worker"


class TaskRow:
    """Something to be done outside; where it stands. Its content is apart, so that it is not written at each change.

    ``key`` is for the outside: the same in every attempt, so that whoever
    carries the effect out can tell that it was done. ``attempt`` counts from 1 and goes up when a worker has failed;
    ``redeliveries`` counts leases that lapsed; ``attempt_id`` is the newest delivery. ``ready_at`` is set while it may
    be claimed. Of the tasks of a queue the lower ``priority`` goes first, then the one that is ready longer.
    """

    id: int = primary_key(auto=True)
    queue: str
    name: str
    workflow_id: int | None = None
    pointer_id: int | None = None
    key: str
    status: TaskStatus
    priority: U8
    attempt: U32 = 1
    attempts_max: U32
    redeliveries: U32 = 0
    redeliveries_max: U32
    backoff: Duration
    attempt_id: int | None = None
    retry_delay: Duration | None = None
    ready_at: Timestamp | None = None
    not_before: Timestamp | None = None
    deadline: Timestamp | None = None
    created_at: Timestamp
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None


class ContentRow:
    """What a task is about, and what became of it. ``payload`` and ``result`` are JSON text."""

    task_id: int = primary_key()
    payload: str
    result: str | None = None
    error: str | None = None


class AttemptRow:
    """One delivery of a task to a worker. ``token`` is its lease, held until ``lease_until`` and given to nobody else.

    ``follows`` names the delivery before it and ``delay`` how long was waited after that one failed. ``owner`` is the
    identity that claimed it, ``worker_id`` the worker that beats for it. ``late`` is what was said with this token when
    the lease was no longer held (``completed`` or ``failed``), and was ignored. Heartbeats are kept here, so that they
    do not rewrite the payload.
    """

    id: int = primary_key(auto=True)
    task_id: int
    queue: str
    attempt: U32
    token: str
    follows: int | None = None
    delay: Duration | None = None
    owner: str | None = None
    worker_id: int | None = None
    lease_until: Timestamp
    heartbeat_at: Timestamp
    started_at: Timestamp
    ended_at: Timestamp | None = None
    outcome: Delivery = Delivery.RUNNING
    error: str | None = None
    late: str | None = None
    late_at: Timestamp | None = None


class QueueRow:
    """A queue: made when it is first used, changed by its owner.

    ``capacity`` bounds how many tasks may wait. At most ``rate_per_s`` are handed out, with one second's worth at once;
    ``throttled_until`` is set while that holds tasks back. ``wakes`` goes up when there is something for idle workers.
    """

    name: str = primary_key()
    capacity: U32 = CAPACITY
    rate_per_s: float | None = None
    paused: bool = False
    throttled_until: Timestamp | None = None
    wakes: int = 0
    created_at: Timestamp


class TotalsRow:
    """What a queue has done since it was made. Each of these is a thing of its own, none contains another.

    ``retried``: a worker failed and the task goes again. ``redelivered``: a lease lapsed. ``released``: a worker gave
    it back. ``ignored``: a word about a lease no longer held. ``repaired``: a start found a timer missing.
    ``next_claim_at`` is where the rate stands. The last seven columns count within ``minute`` (µs, its beginning) and
    within the one before it.
    """

    queue: str = primary_key()
    added: int = 0
    claimed: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    retried: int = 0
    redelivered: int = 0
    released: int = 0
    ignored: int = 0
    repaired: int = 0
    next_claim_at: Timestamp = 0
    minute: Timestamp = 0
    added_now: int = 0
    claimed_now: int = 0
    ended_now: int = 0
    added_before: int = 0
    claimed_before: int = 0
    ended_before: int = 0


class WorkerRow:
    """A connection that takes tasks of a queue, ``slots`` at a time. It goes with its connection.

    ``stale`` is set when nothing was heard of it for the threshold in ``stale_after``.
    """

    id: int = primary_key(auto=True)
    queue: str
    connection_id: str
    identity: str | None
    slots: U32
    last_seen: Timestamp
    stale_after: Duration
    stale: bool = False
    created_at: Timestamp


class TaskTimerRow:
    """A timer of a task, a queue or a worker. See ``reactor.timers``."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    alarm: Alarm
    task_id: int | None = None
    worker_id: int | None = None
    queue: str | None = None
    generation: U32 = 1


TASK_SCHEMA = declare_table(
    TaskRow,
    name="task",
    public=True,
    indexes=[
        index("workflow_id", "status"),
        index("queue", "status"),
        index("queue", "priority", "ready_at", ordered=True),
        index("ended_at", ordered=True),
    ],
    unique=[("queue", "key")],
)
CONTENT_SCHEMA = declare_table(ContentRow, name="task_content")
ATTEMPT_SCHEMA = declare_table(
    AttemptRow, name="task_attempt", indexes=["task_id", index("worker_id", "outcome")], unique=["token"]
)
QUEUE_SCHEMA = declare_table(QueueRow, name="task_queue", public=True)
TOTALS_SCHEMA = declare_table(TotalsRow, name="task_queue_total")
WORKER_SCHEMA = declare_table(
    WorkerRow, name="task_worker", indexes=["connection_id", "queue"], unique=[("connection_id", "queue")]
)
TIMER_SCHEMA = declare_table(
    TaskTimerRow, name="task_timer", indexes=["task_id", "worker_id", "queue"], scheduled=TIMER_REDUCER
)

SCHEMAS: tuple[TableSchema, ...] = (
    TASK_SCHEMA,
    CONTENT_SCHEMA,
    ATTEMPT_SCHEMA,
    QUEUE_SCHEMA,
    TOTALS_SCHEMA,
    WORKER_SCHEMA,
    TIMER_SCHEMA,
)
