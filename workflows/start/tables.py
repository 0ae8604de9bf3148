"""The tables of the start rules. Each row belongs to one workflow and goes with it, except the spent keys."""

from __future__ import annotations

import enum

from reactor.columns import U8, Duration, Timestamp
from reactor.schema import TableSchema, declare_table, index, primary_key
from workflows.life import Status

BEGIN_REDUCER = "workflow_begin"
DEADLINE_REDUCER = "workflow_deadline_fire"


class DefinitionSequenceRow:
    """How many default names were given to workflows of a type."""

    workflow_type: str = primary_key()
    last: int


class RequestRow:
    """An idempotency key of a start. ``workflow_id`` is None once that workflow was removed: the key is spent then.

    ``caller`` is the identity that used it first, None for the server itself.
    """

    request_id: str = primary_key()
    workflow_id: int | None
    fingerprint: str
    caller: str | None
    created_at: Timestamp


class ClaimRow:
    """What a live workflow holds for itself alone. ``claim`` is ``type|entity|key``."""

    claim: str = primary_key()
    workflow_type: str
    entity_id: int | None
    key: str
    workflow_id: int
    since: Timestamp


class SlotRow:
    """The place of a live workflow among those that may run at a time. ``slot`` is ``type|key``."""

    workflow_id: int = primary_key()
    slot: str
    since: Timestamp


class PendingRow:
    """A workflow that has not begun: its payload, and what it waits for.

    ``line`` is the claim or slot it waits for in line, None if it has all it wants; lower ids are before it.
    ``claim`` and ``slot`` are what it wants, ``starts_at`` the instant before which it does not begin. ``lasts_us`` is
    how long its run may take.
    """

    id: int = primary_key(auto=True)
    workflow_id: int
    payload: str
    claim: str | None
    slot: str | None
    line: str | None
    starts_at: Timestamp | None
    lasts_us: Duration | None


class BeginRow:
    """The instant at which a Pending workflow begins, or its line moves on."""

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    workflow_id: int
    cancelled: bool = False


class Span(enum.StrEnum):
    """What a deadline is for."""

    RUN = "run"
    CHAIN = "chain"


class DeadlineRow:
    """The instant at which a workflow ends as TimedOut. ``lasts_us`` is how long each of its runs may take.

    Of what is due at one instant, deadlines come last: what was to be done until then is done.
    """

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    workflow_id: int
    span: Span
    lasts_us: Duration | None = None
    priority: U8 = 255


class LineageRow:
    """An ended workflow whose id or name a later one took over."""

    id: int = primary_key(auto=True)
    workflow_id: int
    replaced_id: int
    name: str
    status: Status
    result: str | None
    error_message: str | None
    created_at: Timestamp
    ended_at: Timestamp


SCHEMAS: tuple[TableSchema, ...] = (
    declare_table(DefinitionSequenceRow, name="definition_sequence"),
    declare_table(RequestRow, name="workflow_request", indexes=["workflow_id"]),
    declare_table(ClaimRow, name="workflow_claim", public=True, indexes=["workflow_id"]),
    declare_table(SlotRow, name="workflow_slot", public=True, indexes=["slot"]),
    declare_table(
        PendingRow,
        name="workflow_pending",
        public=True,
        indexes=[index("line", ordered=True)],
        unique=["workflow_id"],
    ),
    declare_table(BeginRow, name="workflow_start_timer", indexes=["workflow_id"], scheduled=BEGIN_REDUCER),
    declare_table(
        DeadlineRow, name="workflow_deadline", public=True, indexes=["workflow_id"], scheduled=DEADLINE_REDUCER
    ),
    declare_table(LineageRow, name="workflow_lineage", public=True, indexes=["workflow_id"]),
)

# Positions count from 1; what is at the front of its line is 1.
QUEUE_VIEW = (
    "SELECT workflow_id, line, ROW_NUMBER() OVER (PARTITION BY line ORDER BY id) AS position"
    " FROM workflow_pending WHERE line IS NOT NULL"
)
