"""Who holds what: claims of one workflow, and slots among those that may run at a time.

Both are rows, written in the commit of the start and removed in the commit of the end. A slot's users are counted by
its index, so nothing is counted twice and nothing has to be counted anew after a crash.
"""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from reactor.errors import SenderError
from workflows.definition import Definition
from workflows.start.asking import Ask
from workflows.start.options import KEY_CHARS_MAX, WhenFull


def _checked(kind: Definition, key: str) -> str:
    if len(key) > KEY_CHARS_MAX:
        raise SenderError(
            "bad_arguments", f"the key that {kind.name} computes has {len(key)} characters; at most {KEY_CHARS_MAX}"
        )
    return key


def claim_of(ask: Ask) -> str | None:
    """What the start wants to hold alone, as ``type|entity|key``; None for nothing."""
    key = ask.options.exclusive
    if key is None:
        if ask.kind.exclusive is None:
            return None
        key = _checked(ask.kind, ask.kind.exclusive.key_of(ask.payload))
    entity = "" if ask.entity_id is None else ask.entity_id
    return f"{ask.kind.name}|{entity}|{key}"


def slot_of(ask: Ask) -> str | None:
    """The slot the start needs, as ``type|key``; None for none."""
    limit = ask.kind.concurrency
    if limit is None:
        return None
    key = ask.options.concurrency_key
    if key is None:
        key = _checked(ask.kind, limit.key_of(ask.entity_id, ask.payload))
    return f"{ask.kind.name}|{key}"


def take_claim(ctx: Context, claim: str, workflow_id: int) -> None:
    """Give a claim to a workflow, also if another holds it."""
    table = ctx.db.workflow_claim
    if claim in table.rows:
        table.update(claim, workflow_id=workflow_id, since=ctx.now)
        return
    workflow_type, entity, key = claim.split("|", 2)
    table.insert(
        claim=claim,
        workflow_type=workflow_type,
        entity_id=int(entity) if entity else None,
        key=key,
        workflow_id=workflow_id,
        since=ctx.now,
    )


def is_full(ctx: Context, kind: Definition, slot: str) -> bool:
    """Whether as many run as may. Those that wait in line come first, so a slot with a line is full."""
    limit = kind.concurrency
    if limit is None:
        return False
    return ctx.db.workflow_slot.count(slot=slot) >= limit.max or has_line(ctx, slot)


def has_line(ctx: Context, line: str) -> bool:
    """Whether anybody waits in a line."""
    return first_in_line(ctx, line) is not None


def first_in_line(ctx: Context, line: str) -> Any:
    """The one whose turn is next, or None."""
    pending = ctx.db.workflow_pending
    return next(pending.range("line", line, line, limit=1), None) if pending.rows else None


def check_slot(ctx: Context, ask: Ask, slot: str) -> bool:
    """Whether the start has to wait in line; ``SenderError`` ``limit_exceeded`` if it may not."""
    limit = ask.kind.concurrency
    if limit is None or not is_full(ctx, ask.kind, slot):
        return False
    if WhenFull(ask.options.when_full or limit.when_full) is WhenFull.QUEUE:
        return True
    used = ctx.db.workflow_slot.count(slot=slot)
    key = slot.split("|", 1)[1]
    where = f" for key {key!r}" if key else ""
    raise SenderError(
        "limit_exceeded",
        f"{used} workflows of type {ask.kind.name} are live{where} and {limit.max} may be; start it when one has ended",
        kind="concurrency",
        workflow_type=ask.kind.name,
        key=key,
        value=used,
        limit=limit.max,
    )


def conflict(ctx: Context, held: Any, holder: Any, why: str = "") -> SenderError:
    """The error for a claim that another workflow holds."""
    return SenderError(
        "conflict",
        f"workflow {holder.id} ({holder.name}, {holder.status}) holds {held.claim!r} since {held.since} µs{why}; wait "
        "for its end, or say with on_conflict what is to happen",
        holder=holder.id,
        holder_name=holder.name,
        claim=held.claim,
        since=held.since,
        left_us=left_us(ctx, holder),
    )


def left_us(ctx: Context, row: Any) -> int | None:
    """How long until the last of a workflow's one-shot timers, or its deadline, whichever is first; None if unknown."""
    spans = [] if row.deadline is None else [row.deadline - ctx.now]
    timers = ctx.db.workflow_timer.lookup(("workflow_id",), (row.id,))
    ends = [t.scheduled_at - ctx.clock_value(t.clock) for t in timers if not t.cancelled and t.interval is None]
    if ends:
        spans.append(max(ends))
    return max(min(spans), 0) if spans else None
