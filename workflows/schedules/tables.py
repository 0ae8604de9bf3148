"""The tables of schedules: all there is to know about them, so that nothing depends on what a process remembers."""

from __future__ import annotations

import enum

from reactor.columns import U8, U32, Duration, Json, Timestamp
from reactor.schema import declare_table, index, primary_key

TIMER_REDUCER = "schedule_fire"


class Overlap(enum.StrEnum):
    """What happens to an occurrence while a run of the same schedule is live, in whatever status."""

    SKIP = "skip"
    """It is left out, and counted."""
    BUFFER_ONE = "buffer_one"
    """It waits for the run's end; a second one is left out."""
    BUFFER_ALL = "buffer_all"
    """It waits its turn, behind those that wait already."""
    ALLOW_ALL = "allow_all"
    """It starts beside it."""
    CANCEL_OTHER = "cancel_other"
    """The live run is cancelled, then it starts."""
    TERMINATE_OTHER = "terminate_other"
    """The live run is terminated, then it starts."""


class ScheduleStatus(enum.StrEnum):
    """Where a schedule stands."""

    ACTIVE = "active"
    PAUSED = "paused"
    DELETED = "deleted"
    """By an operator, or because it has run as often, or as long, as it was to. The row stays for its history."""


class RunCause(enum.StrEnum):
    """Why there is a run."""

    SCHEDULE = "schedule"
    TRIGGER = "trigger"
    BACKFILL = "backfill"


class TimerKind(enum.StrEnum):
    """What a row of ``schedule_timer`` does when it is due."""

    OCCURRENCE = "occurrence"
    """The next occurrence; every active schedule has one, unless it only finishes what it has begun."""
    DRAIN = "drain"
    """Starts what waits in the buffer."""
    BACKFILL = "backfill"
    """The next portion of a backfill."""
    MORE = "more"
    """The next portion of a command that said there is more."""


class ScheduleRow:
    """One schedule.

    It starts a workflow (``workflow_type`` and what goes with it) or calls a reducer (``command``, ``arguments``). A
    *nominal* time is one the spec names; an occurrence is *due* up to ``jitter_us`` later. ``next_at`` and ``last_at``
    are nominal times: of the next, and of the last that was run, skipped or missed. ``reason`` tells why it is paused
    or deleted. ``updated_at`` is when somebody changed, paused or resumed it.

    ``fires`` counts runs that were started, ``failures`` those that could not be, ``runs_failed`` those that ended
    badly; ``missed`` occurrences that came too late, ``skipped`` those left out because of ``overlap``.
    """

    id: int = primary_key(auto=True)
    name: str
    description: str = ""
    status: ScheduleStatus = ScheduleStatus.ACTIVE
    reason: str | None = None
    workflow_type: str | None = None
    entity_id: int | None = None
    correlation_id: str | None = None
    payload: Json | None = None
    command: str | None = None
    arguments: Json | None = None
    attributes: Json | None = None
    tags: Json | None = None
    spec: Json
    overlap: Overlap = Overlap.SKIP
    catch_up_us: Duration = 0
    jitter_us: Duration = 0
    max_runs: int | None = None
    starts_at: Timestamp | None = None
    ends_at: Timestamp | None = None
    built_in: bool = False
    next_at: Timestamp | None = None
    last_at: Timestamp | None = None
    fires: int = 0
    last_fired_at: Timestamp | None = None
    missed: int = 0
    last_missed_at: Timestamp | None = None
    skipped: int = 0
    last_skipped_at: Timestamp | None = None
    last_skip_reason: str | None = None
    failures: int = 0
    last_failed_at: Timestamp | None = None
    last_failure: str | None = None
    runs_failed: int = 0
    buffered: int = 0
    created_at: Timestamp
    updated_at: Timestamp


class ScheduleTimerRow:
    """What a schedule is to do next, and when (on the wall clock). ``target`` is the backfill or the run, if any.

    ``priority``: after the timers of workflows, so that a run which ends at the instant of the next is not in its way.
    """

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    generation: U32 = 1
    priority: U8 = 9
    schedule_id: int
    kind: TimerKind
    target: int | None = None


class ScheduleBufferRow:
    """An occurrence that waits for the end of a run. Its run has its name, and its workflow its id, already."""

    id: int = primary_key(auto=True)
    schedule_id: int
    nominal_at: Timestamp
    run_name: str
    reserved_id: int | None = None
    cause: RunCause
    buffered_at: Timestamp


class ScheduleRunRow:
    """A run, or an attempt to start one; the newest of each schedule are kept.

    ``outcome`` is ``running``, ``could_not_start``, or how it ended: ``completed``, ``failed``, ``cancelled``,
    ``terminated``, ``timed_out``. ``workflow_id`` is None for a command, and when the workflow has been removed.
    """

    id: int = primary_key(auto=True)
    schedule_id: int
    nominal_at: Timestamp
    run_name: str
    cause: RunCause
    workflow_id: int | None = None
    outcome: str
    detail: str | None = None
    started_at: Timestamp
    ended_at: Timestamp | None = None


class ScheduleEventRow:
    """Something that happened to a schedule, for the audit.

    What people do is kept (``created``, ``updated``, ``paused``, ``resumed``, ``triggered``, ``backfill``,
    ``deleted``); of what happens by itself (``routine``: ``fired``, ``skipped``, ``missed``, ``failed``,
    ``backfilled``) the newest are.
    ``count`` is of occurrences, the last of which is ``nominal_at``.
    """

    id: int = primary_key(auto=True)
    schedule_id: int
    schedule: str
    kind: str
    routine: bool
    at: Timestamp
    real_at: Timestamp
    actor: str
    nominal_at: Timestamp | None = None
    count: int = 1
    detail: str | None = None


class ScheduleBackfillRow:
    """A backfill under way: occurrences from ``next_at`` up to ``to_at`` (inclusive) are still to come."""

    id: int = primary_key(auto=True)
    schedule_id: int
    from_at: Timestamp
    to_at: Timestamp
    next_at: Timestamp
    overlap: Overlap
    started: int = 0
    skipped: int = 0
    failed: int = 0
    created_at: Timestamp
    actor: str


SCHEMAS = (
    declare_table(ScheduleRow, name="schedule", public=True, unique=["name"], indexes=["status"]),
    declare_table(ScheduleTimerRow, name="schedule_timer", indexes=["schedule_id"], scheduled=TIMER_REDUCER),
    declare_table(ScheduleBufferRow, name="schedule_buffer", public=True, indexes=["schedule_id"], unique=["run_name"]),
    declare_table(
        ScheduleRunRow,
        name="schedule_run",
        public=True,
        indexes=[
            "workflow_id",
            index("schedule_id", "outcome"),
            index("schedule_id", "nominal_at"),
            index("schedule_id", "ended_at", ordered=True),
        ],
    ),
    declare_table(ScheduleEventRow, name="schedule_event", indexes=[index("schedule_id", "routine")]),
    declare_table(ScheduleBackfillRow, name="schedule_backfill", indexes=["schedule_id"]),
)
