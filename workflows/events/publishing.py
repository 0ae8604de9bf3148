"""Publishing: every workflow that waits for an event is told of it, once.

Up to ``AT_ONCE_MAX`` are told in the publisher's commit. When more wait, the event is stored and delivered in pieces by
a row of ``event_delivery``, so that live calls come in between; a crash loses nothing, since how far it has come is in
the row. Events of one name and key are delivered one after another: each waiter sees them in the order in which they
were published.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from reactor.budget import CallBudgetExceededError
from reactor.clock import days
from reactor.context import Context
from reactor.errors import SenderError
from workflows.dispatch import Dispatcher
from workflows.handle import Cause, EventSeen
from workflows.payload import bounded_json

AT_ONCE_MAX = 1_000
"""Waiters told in the publisher's commit."""
CHUNK = 500
"""Waiters told in one commit when there are more."""
KEPT_US = days(7)
"""How long a kept event is found by those who wait for it later."""
EXPIRED_PER_PUBLISH = 4
"""Expired events removed with each one that is published, so that they go faster than they come."""
NAME_BYTES_MAX = 256
CLIENT_EVENTS_MAX = 100_000
"""With so many events stored no client stores another; game code and the owner may. One that is not kept may come."""


class Published(NamedTuple):
    """What became of an event: ``outcome`` is ``published``, ``queued`` (told in pieces) or ``duplicate``.

    ``id`` is its row in ``event``, None if it is not kept; ``told`` how many workflows were told in this commit.
    """

    id: int | None
    outcome: str
    told: int


class Publishing:
    """Publishes events to the workflows of one engine."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def publish(
        self,
        ctx: Context,
        name: str,
        key: str = "",
        data: Any = None,
        at: int | None = None,
        keep: bool = True,
        event_id: str | None = None,
        by_client: bool = False,
    ) -> Published:
        """Publish an event. With an ``event_id`` it is kept, and publishing it again does nothing.

        ``at`` is when it happened (µs), by default now; who waits for newer ones only is not told. ``keep=False``:
        only those who wait already are told. ``by_client``: it is refused where many are stored. ``SenderError``:
        ``bad_arguments``, ``payload_too_large``, ``key_reused``, ``limit_exceeded``.
        """
        for what, text in (("name", name), ("key", key), ("event_id", event_id)):
            _check_text(what, text)
        text = self.text_of(data)
        events = ctx.db.event
        if event_id is not None:
            first = events.first(name=name, key=key, event_id=event_id)
            if first is not None:
                return self._again(first, text)
        self._forget_expired(ctx)
        # When it is published, not when a late timer was due: whoever waits already is told.
        at = ctx.real_now if at is None else at
        waiting = ctx.db.event_subscription.count(name=name, key=key)
        queued = waiting > AT_ONCE_MAX or self._is_busy(ctx, name, key)
        row = None
        if queued or keep or event_id is not None:
            if by_client:
                _check_room(ctx)
            row = events.insert(
                name=name, key=key, data=text, at=at, published_by=ctx.sender, published_at=ctx.now,
                expires=ctx.now + KEPT_US, processed=not queued, kept=keep or event_id is not None, event_id=event_id,
            )  # fmt: skip
        if row is not None and queued:
            self.queue(ctx, row)
            return Published(row.id, "queued", 0)
        seen = EventSeen(None if row is None else row.id, name, key, text, at, None)
        told = sum(self._tell(ctx, sub, seen) for sub in self._subscriptions(ctx, name, key))
        return Published(seen.id, "published", told)

    def text_of(self, data: Any) -> str | None:
        """The data of an event as JSON text; ``SenderError`` ``bad_arguments`` or ``payload_too_large``."""
        return _json(data, self._dispatcher.limits.payload_bytes_max)

    @staticmethod
    def _again(first: Any, text: str | None) -> Published:
        if first.data != text:
            raise SenderError(
                "key_reused",
                f"event {first.name} {first.key!r} with id {first.event_id!r} was published before with other data; "
                "use a new id for a new event",
                event_id=first.event_id,
            )
        return Published(first.id, "duplicate", 0)

    @staticmethod
    def _subscriptions(ctx: Context, name: str, key: str) -> list[Any]:
        rows: list[Any] = ctx.db.event_subscription.lookup(("name", "key"), (name, key))
        return rows

    def _tell(self, ctx: Context, known: Any, seen: EventSeen) -> bool:
        """Tell one waiter; False if it waits for something newer, has been told, or is gone."""
        table = ctx.db.event_subscription
        sub = table.get(known.id)
        if sub is None or seen.at < sub.as_of or (seen.id is not None and seen.id <= sub.seen):
            return False
        if not sub.lasting:
            table.delete(sub.id)
        elif seen.id is not None:
            table.update(sub.id, seen=seen.id)
        told = seen._replace(pointer_id=sub.pointer_id)
        return self._dispatcher.tell(ctx, sub.workflow_id, "on_event", told, Cause("event", seen.name))

    # -- in pieces -----------------------------------------------------------------------------

    @staticmethod
    def _is_busy(ctx: Context, name: str, key: str) -> bool:
        deliveries = ctx.db.event_delivery
        return bool(deliveries.rows) and deliveries.count(name=name, key=key) > 0

    def queue(self, ctx: Context, event: Any) -> None:
        """Deliver a stored event to all who wait for it now, in commits of its own."""
        ctx.db.event.update(event.id, reaches=ctx.db.event_subscription.reserve_id(), processed=False)
        ctx.db.event_delivery.insert(
            scheduled_at=ctx.real_now,
            name=event.name,
            key=event.key,
            event=event.id,
            cancelled=self._is_busy(ctx, event.name, event.key),
        )

    def deliver(self, ctx: Context, delivery: Any) -> None:
        """Tell the next ``CHUNK`` waiters; run by a row of ``event_delivery``."""
        event = ctx.db.event.get(delivery.event)
        rest: list[Any] = []
        after = delivery.after
        if event is not None and not event.processed:
            found = self._subscriptions(ctx, event.name, event.key)
            rest = [sub for sub in found if after < sub.id <= event.reaches]
            after = self._tell_some(ctx, event, rest[:CHUNK], after)
            rest = [sub for sub in rest if sub.id > after]
        if rest:
            again = {"scheduled_at": ctx.real_now, "generation": delivery.generation + 1}
            ctx.db.event_delivery.update(delivery.scheduled_id, after=after, **again)
        else:
            self._finish(ctx, delivery, event)

    def _tell_some(self, ctx: Context, event: Any, subs: list[Any], after: int) -> int:
        """Tell these; returns the last that was told before the time of the call was used up."""
        seen = EventSeen(event.id, event.name, event.key, event.data, event.at, None)
        for count, sub in enumerate(subs):
            try:
                with ctx.savepoint():
                    self._tell(ctx, sub, seen)
            except CallBudgetExceededError as error:
                if count:
                    break
                # Alone it takes longer than a call may.
                row = ctx.db.workflow.get(sub.workflow_id)
                self._dispatcher.fail(ctx, row, Cause("event", event.name), error)
            after = sub.id
        return after

    @staticmethod
    def _finish(ctx: Context, delivery: Any, event: Any) -> None:
        """All are told: the next event of the name and key has its turn."""
        deliveries = ctx.db.event_delivery
        deliveries.delete(delivery.scheduled_id)
        if event is not None and event.kept:
            ctx.db.event.update(event.id, processed=True)
        elif event is not None:
            ctx.db.event.delete(event.id)
        for following in deliveries.lookup(("name", "key"), (delivery.name, delivery.key))[:1]:
            deliveries.update(following.scheduled_id, cancelled=False, scheduled_at=ctx.real_now)

    # -- what is kept --------------------------------------------------------------------------

    @staticmethod
    def _forget_expired(ctx: Context, limit: int = EXPIRED_PER_PUBLISH) -> int:
        events = ctx.db.event
        expired = events.range("expires", high=ctx.now, processed=True, limit=limit) if events.rows else ()
        return sum(events.delete(row.id) for row in list(expired))

    def cleanup(self, ctx: Context, limit: int) -> int:
        """Remove up to so many events that have expired; returns how many."""
        return self._forget_expired(ctx, limit)


def _check_room(ctx: Context) -> None:
    """``SenderError`` ``limit_exceeded`` where there are many events already."""
    count = len(ctx.db.event)
    if count >= CLIENT_EVENTS_MAX:
        raise SenderError(
            "limit_exceeded",
            f"{count} events are stored, and {CLIENT_EVENTS_MAX} may be by clients; publish it with keep=false, or "
            "later, when older ones have expired",
            kind="events",
            value=count,
            limit=CLIENT_EVENTS_MAX,
        )


def _check_text(what: str, text: str | None) -> None:
    wanted = what != "key"
    if text is not None and (len(text.encode()) > NAME_BYTES_MAX or (wanted and not text)):
        raise SenderError(
            "bad_arguments",
            f"parameter {what}: {'1' if wanted else '0'} to {NAME_BYTES_MAX} bytes of UTF-8 are allowed",
            parameter=what,
        )


def _json(data: Any, bytes_max: int) -> str | None:
    return None if data is None else bounded_json(data, "data", bytes_max)
