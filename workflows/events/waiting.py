"""Those who wait for events: workflows, and whoever outside works for one of them under a claim."""

from __future__ import annotations

from typing import Any

from reactor.clock import days
from reactor.context import Context
from reactor.errors import SenderError
from workflows import messages
from workflows.dispatch import Dispatcher
from workflows.handle import Cause, EventSeen, Workflow

SUBSCRIPTIONS_MAX = 1_000
"""Events one workflow may wait for at a time."""
TOKEN_CHARS_MAX = 128
LEASE_US_MAX = days(7)
LOOKED_BACK_MAX = 1_000
"""Stored events that a lasting subscription is told when it begins in the past."""


class Waiting:
    """The subscriptions of one engine's workflows."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    # -- workflows -----------------------------------------------------------------------------

    def wait(
        self, w: Workflow[Any], name: str, key: str = "", as_of: int | None = None, pointer_id: int | None = None
    ) -> int | None:
        """Wait for one event; ``on_event`` is told of it. Returns the subscription's id.

        A stored event that happened after ``as_of`` (µs, by default now) is told when this step is over, the earliest
        first; None is returned then. Raises as ``listen``.
        """
        since = _since(w.ctx, as_of)
        for row in w.ctx.db.event.range("at", low=since, include=(False, True), name=name, key=key, limit=1):
            told = EventSeen(row.id, name, key, row.data, row.at, pointer_id)
            self._dispatcher.tell(w.ctx, w.id, "on_event", told, Cause("event", name))
            return None
        return self._open(w, name, key, since, pointer_id, lasting=False)

    def listen(self, w: Workflow[Any], name: str, key: str = "", as_of: int | None = None) -> int:
        """Wait for every event of a name and key until the workflow ends or ``unlisten``; returns the id.

        Listening twice is listening once. With ``as_of``, stored events that happened after it are told first.
        ``SenderError`` ``limit_exceeded`` when the workflow waits for too many; ``RuntimeError`` if it has ended.
        """
        for sub in self._of(w.ctx, w.id):
            if sub.lasting and (sub.name, sub.key) == (name, key):
                known: int = sub.id
                return known
        opened = self._open(w, name, key, _since(w.ctx, as_of), None, lasting=True)
        events = w.ctx.db.event
        if as_of is not None:
            found = list(
                events.range("at", low=as_of, include=(False, True), name=name, key=key, limit=LOOKED_BACK_MAX)
            )
            for row in found:
                told = EventSeen(row.id, name, key, row.data, row.at, None)
                messages.put_told(w.ctx, w.id, "on_event", told, Cause("event", name))
            if found:
                w.ctx.db.event_subscription.update(opened, seen=max(row.id for row in found))
                self._dispatcher.signalling.deliver_later(w.ctx, w.id)
        return opened

    def _open(self, w: Workflow[Any], name: str, key: str, as_of: int, pointer_id: int | None, *, lasting: bool) -> int:
        if w.ending is not None:
            raise RuntimeError(f"workflow {w.id} has ended in this step ({w.ending}); it cannot wait for {name}")
        table = w.ctx.db.event_subscription
        count = table.count(workflow_id=w.id)
        if count >= SUBSCRIPTIONS_MAX:
            raise SenderError(
                "limit_exceeded",
                f"workflow {w.id} waits for {count} events, and {SUBSCRIPTIONS_MAX} are allowed",
                kind="event_subscriptions",
                value=count,
                limit=SUBSCRIPTIONS_MAX,
            )
        row = table.insert(
            workflow_id=w.id, pointer_id=pointer_id, name=name, key=key, as_of=as_of, lasting=lasting,
            created_at=w.ctx.now,
        )  # fmt: skip
        opened: int = row.id
        return opened

    def unlisten(self, ctx: Context, workflow_id: int, name: str, key: str = "") -> bool:
        """Wait no more for events of a name and key; False if it did not."""
        return self._remove(ctx, [s for s in self._of(ctx, workflow_id) if (s.name, s.key) == (name, key)])

    def drop(self, ctx: Context, workflow_id: int, pointer_id: int) -> bool:
        """The place ``pointer_id`` of a script waits no more; False if it did not."""
        return self._remove(ctx, [s for s in self._of(ctx, workflow_id) if s.pointer_id == pointer_id])

    def ended(self, ctx: Context, workflow_id: int) -> None:
        """A workflow has ended: nothing of it waits any more."""
        if ctx.db.event_subscription.rows:
            self._remove(ctx, self._of(ctx, workflow_id))

    @staticmethod
    def _of(ctx: Context, workflow_id: int) -> list[Any]:
        rows: list[Any] = ctx.db.event_subscription.lookup(("workflow_id",), (workflow_id,))
        return rows

    @staticmethod
    def _remove(ctx: Context, rows: list[Any]) -> bool:
        for row in rows:
            ctx.db.event_subscription.delete(row.id)
        return bool(rows)

    # -- claims --------------------------------------------------------------------------------

    def claim(self, ctx: Context, id: int, token: str, owner: str, lease_us: int) -> bool:
        """Hold a subscription under ``token`` for ``lease_us``, if nobody holds it or his time is over.

        Who holds it already holds it longer. ``SenderError`` ``not_found``, ``bad_arguments``.
        """
        if not 0 < len(token) <= TOKEN_CHARS_MAX or len(owner) > TOKEN_CHARS_MAX:
            raise SenderError(
                "bad_arguments",
                f"a claim needs a token of 1 to {TOKEN_CHARS_MAX} characters, and an owner of no more",
                parameter="token",
            )
        if not 0 < lease_us <= LEASE_US_MAX:
            raise SenderError("bad_arguments", f"parameter lease_us: from 1 to {LEASE_US_MAX} µs", parameter="lease_us")
        table = ctx.db.event_subscription
        sub = table.require(id)
        if sub.claim_token not in (None, token) and not _is_open(ctx, sub):
            return False
        table.update(id, claim_token=token, claim_owner=owner, claimed_until=ctx.now + lease_us)
        return True

    def claim_first(self, ctx: Context, name: str, key: str, token: str, owner: str, lease_us: int) -> Any:
        """Claim the oldest subscription of a name and key that nobody holds; its row, or None."""
        for sub in ctx.db.event_subscription.lookup(("name", "key"), (name, key)):
            if _is_open(ctx, sub):
                self.claim(ctx, sub.id, token, owner, lease_us)
                return ctx.db.event_subscription.require(sub.id)
        return None

    def release(self, ctx: Context, id: int, token: str) -> bool:
        """Give a claim back; False if it is not held under that token. ``SenderError`` ``not_found``."""
        table = ctx.db.event_subscription
        if table.require(id).claim_token != token:
            return False
        table.update(id, claim_token=None, claim_owner=None, claimed_until=None)
        return True

    def answer(self, ctx: Context, id: int, token: str, data: str | None) -> bool:
        """Tell the one workflow whose subscription is held under ``token``, as if its event had been published.

        ``SenderError`` ``not_found``, or ``stale_lease`` if the claim is over or another's.
        """
        table = ctx.db.event_subscription
        sub = table.require(id)
        if sub.claim_token != token or _is_open(ctx, sub):
            raise SenderError("stale_lease", f"subscription {id} is not held with that token, or not any more")
        if sub.lasting:
            self.release(ctx, id, token)
        else:
            table.delete(id)
        told = EventSeen(None, sub.name, sub.key, data, ctx.now, sub.pointer_id)
        return self._dispatcher.tell(ctx, sub.workflow_id, "on_event", told, Cause("event", sub.name))


def _since(ctx: Context, as_of: int | None) -> int:
    """From when on events are waited for. The step of a late timer lies in the past; what it has been told does not,
    and would be found again."""
    return ctx.real_now if as_of is None or as_of == ctx.now else as_of


def _is_open(ctx: Context, sub: Any) -> bool:
    """Whether nobody holds the subscription now."""
    return sub.claim_token is None or sub.claimed_until is None or sub.claimed_until <= ctx.now
