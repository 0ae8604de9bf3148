"""The part of the engine that has to do with events: its tables and reducers, and ``ctx.events``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactor.columns import Duration, Timestamp
from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from workflows.dispatch import Dispatcher
from workflows.events.facade import Events
from workflows.events.publishing import Publishing
from workflows.events.tables import DELIVERY_REDUCER, SCHEMAS
from workflows.events.waiting import Waiting
from workflows.parts import Part

CLEANUP_MAX = 1_000
FOUND_MAX = 1_000


class EventPart(Part):
    """Events and those who wait for them."""

    schemas = SCHEMAS

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self.publishing = Publishing(dispatcher)
        self.waiting = Waiting(dispatcher)

    def declare(self, module: Module) -> None:
        """Add the reducers and ``ctx.events``."""
        public: tuple[Callable[..., Any], ...] = (
            self.event_publish,
            self.event_find,
            self.event_claim,
            self.event_claim_first,
            self.event_release,
            self.event_answer,
        )
        owners: tuple[Callable[..., Any], ...] = (self.event_mark, self.event_runnable, self.cleanup_old_events)
        for function in public:
            module.reducer(function)
        for function in owners:
            module.reducer(access="owner")(function)
        module.reducer(name=DELIVERY_REDUCER, access="internal")(self.publishing.deliver)
        module.extension("events", lambda ctx: Events(ctx, self.publishing, self.waiting))

    def wakes(self, ctx: Context, workflow_id: int) -> bool:
        """Whether an event will wake the workflow."""
        waiting = ctx.db.event_subscription
        return bool(waiting.rows) and waiting.count(workflow_id=workflow_id) > 0

    def ended(self, ctx: Context, row: Any) -> None:
        """It waits for nothing any more."""
        self.waiting.ended(ctx, row.id)

    # -- publishing ----------------------------------------------------------------------------

    def event_publish(
        self,
        ctx: Context,
        name: str,
        key: str = "",
        data: Any = None,
        at: Timestamp | None = None,
        keep: bool = True,
        event_id: str | None = None,
    ) -> dict[str, Any]:
        """Publish an event to every workflow that waits for its name and key; each is told once.

        Kept events are found by workflows that wait later; ``keep=False`` tells only those who wait already. ``at`` is
        when it happened (µs), by default now. With an ``event_id`` it counts once however often it is published.
        Returns ``{"id", "outcome", "told"}``: ``published``, ``queued`` (so many wait that they are told in pieces) or
        ``duplicate``.
        """
        self.dispatcher.allow(ctx, None, name, "publish")
        by_client = not (ctx.is_owner or ctx.is_internal)
        return self.publishing.publish(ctx, name, key, data, at, keep, event_id, by_client)._asdict()

    def event_find(self, ctx: Context, name: str, key: str = "", as_of: Timestamp | None = None) -> list[int]:
        """The ids of kept events of a name and key that happened after ``as_of`` (µs), earliest first."""
        return [row.id for row in ctx.events.find(name, key, as_of=as_of, limit=FOUND_MAX)]

    def event_runnable(self, ctx: Context) -> list[int]:
        """The ids of events that are still to be told to somebody, in the order of their expiry."""
        return [row.id for row in ctx.db.event.range("expires", processed=False, limit=FOUND_MAX)]

    def event_mark(self, ctx: Context, id: int, processed: bool) -> None:
        """Mark an event: ``false`` tells it to all who wait for it now, ``true`` spares those it has not reached."""
        row = ctx.db.event.require(id)
        if row.processed == processed:
            return
        if processed:
            ctx.db.event.update(id, processed=True)
        else:
            self.publishing.queue(ctx, row)

    def cleanup_old_events(self, ctx: Context) -> dict[str, Any]:
        """Remove events that have expired, a bounded number a call: {"removed": n, "more": bool}."""
        removed = self.publishing.cleanup(ctx, CLEANUP_MAX)
        return {"removed": removed, "more": removed == CLEANUP_MAX}

    # -- claims --------------------------------------------------------------------------------

    def event_claim(self, ctx: Context, subscription_id: int, token: str, owner: str, lease_us: Duration) -> bool:
        """Hold a subscription under a token of your own for ``lease_us``; false while another holds it.

        With the token that holds it already, the claim is longer from now. ``not_found`` if there is none.
        """
        self._allow(ctx, subscription_id)
        return self.waiting.claim(ctx, subscription_id, token, owner, lease_us)

    def event_claim_first(
        self, ctx: Context, name: str, key: str, token: str, owner: str, lease_us: Duration
    ) -> dict[str, Any] | None:
        """Claim the oldest subscription of a name and key that nobody holds.

        Returns ``{"id", "workflow_id", "claimed_until"}``, or null if there is none.
        """
        self.dispatcher.allow(ctx, None, name, "claim")
        sub = self.waiting.claim_first(ctx, name, key, token, owner, lease_us)
        if sub is None:
            return None
        return {"id": sub.id, "workflow_id": sub.workflow_id, "claimed_until": sub.claimed_until}

    def event_release(self, ctx: Context, subscription_id: int, token: str) -> bool:
        """Give a claim back; false if the subscription is not held under that token. ``not_found`` if it is gone."""
        self._allow(ctx, subscription_id)
        return self.waiting.release(ctx, subscription_id, token)

    def event_answer(self, ctx: Context, subscription_id: int, token: str, data: Any = None) -> bool:
        """Tell the one workflow whose subscription you hold, as if its event had been published with that data.

        ``not_found`` if the subscription is gone, ``stale_lease`` if the claim is over or another's.
        """
        self._allow(ctx, subscription_id)
        return self.waiting.answer(ctx, subscription_id, token, self.publishing.text_of(data))

    def _allow(self, ctx: Context, subscription_id: int) -> None:
        sub = ctx.db.event_subscription.require(subscription_id)
        row = ctx.db.workflow.get(sub.workflow_id)
        if row is None:
            raise SenderError("unknown_workflow", f"there is no workflow {sub.workflow_id}")
        self.dispatcher.allow(ctx, row, row.workflow_type, "claim")
