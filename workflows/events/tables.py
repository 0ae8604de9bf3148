"""The tables of events and of those who wait for them."""

from __future__ import annotations

from reactor.columns import U32, Timestamp
from reactor.schema import TableSchema, declare_table, index, primary_key

EVENT_TABLE = "event"
SUBSCRIPTION_TABLE = "event_subscription"
DELIVERY_TABLE = "event_delivery"
DELIVERY_REDUCER = "event_deliver"


class EventRow:
    """A published event that is kept, so that it is found by who waits for it later.

    ``data`` is JSON text. ``at`` is when it happened, ``expires`` when it may be forgotten. ``processed`` says that all
    who waited for it have been told. ``event_id`` is its publisher's own name for it. ``reaches`` is the last
    subscription it may be told to while it is not processed; ``kept`` says that it stays afterwards.
    """

    id: int = primary_key(auto=True)
    name: str
    key: str
    data: str | None
    at: Timestamp
    published_by: str | None
    published_at: Timestamp
    expires: Timestamp
    processed: bool = True
    kept: bool = True
    event_id: str | None = None
    reaches: int = 0


class SubscriptionRow:
    """A workflow that waits for events of one name and key that are not older than ``as_of``.

    It goes with the first event unless ``lasting``, and with its workflow. ``seen`` is the last stored event it
    was told. Somebody outside who works on it holds ``claim_token`` until ``claimed_until``; then anybody may claim it.
    """

    id: int = primary_key(auto=True)
    workflow_id: int
    pointer_id: int | None = None
    name: str
    key: str
    as_of: Timestamp
    lasting: bool = False
    seen: int = 0
    claim_token: str | None = None
    claim_owner: str | None = None
    claimed_until: Timestamp | None = None
    created_at: Timestamp


class DeliveryRow:
    """An event with more waiting for it than one commit should tell: those after subscription ``after`` come next.

    Of the events of one name and key one is delivered at a time, in the order of these rows; the others are
    ``cancelled`` until their turn.
    """

    scheduled_id: int = primary_key(auto=True)
    scheduled_at: Timestamp
    name: str
    key: str
    event: int
    after: int = 0
    generation: U32 = 1
    cancelled: bool = False


EVENT_SCHEMA = declare_table(
    EventRow,
    name=EVENT_TABLE,
    public=True,
    indexes=[
        index("name", "key", "at", ordered=True),
        index("processed", "expires", ordered=True),
    ],
    unique=[("name", "key", "event_id")],
)
# Private: whoever knows a token may answer in the place of who holds it.
SUBSCRIPTION_SCHEMA = declare_table(
    SubscriptionRow, name=SUBSCRIPTION_TABLE, indexes=[index("name", "key"), "workflow_id"]
)
DELIVERY_SCHEMA = declare_table(
    DeliveryRow, name=DELIVERY_TABLE, indexes=[index("name", "key")], scheduled=DELIVERY_REDUCER
)

SCHEMAS: tuple[TableSchema, ...] = (EVENT_SCHEMA, SUBSCRIPTION_SCHEMA, DELIVERY_SCHEMA)
