"""Idempotency keys of starts: the same start, asked for again, is answered with the workflow it made the first time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from reactor.context import Context
from reactor.errors import SenderError
from workflows.amounts import days_us
from workflows.start.asking import Ask
from workflows.start.options import Outcome, Started

KEYS_MAX = 2_000
"""Keys remembered of one workflow."""
FORGET_MAX = 1_000
"""Keys forgotten in one call."""

_encode = msgspec.json.Encoder(order="deterministic").encode


def fingerprint(ask: Ask) -> str:
    """What was asked for, however it was spelt."""
    asked = (ask.kind.name, ask.entity_id, ask.correlation_id, ask.payload, ask.parent_id, ask.options)
    return hashlib.blake2b(_encode(asked), digest_size=16).hexdigest()


def once(ctx: Context, ask: Ask, request_id: str, start: Callable[[Context, Ask], Started]) -> Started:
    """Start, unless it was asked for under this key before.

    ``SenderError`` ``key_reused`` if something else was asked for then, ``key_spent`` if that workflow was removed.
    """
    table, digest = ctx.db.workflow_request, fingerprint(ask)
    known = table.get(request_id)
    if known is None:
        started = start(ctx, ask)
        _make_room(ctx, started.id)
        table.insert(
            request_id=request_id, workflow_id=started.id, fingerprint=digest, caller=ctx.sender, created_at=ctx.now
        )
        return started
    if known.fingerprint != digest:
        raise SenderError(
            "key_reused",
            f"request_id {request_id!r} was used before to start something else; make a new one for each start",
            request_id=request_id,
        )
    row: Any = None if known.workflow_id is None else ctx.db.workflow.get(known.workflow_id)
    if row is None:
        raise SenderError(
            "key_spent",
            f"request_id {request_id!r} has started a workflow that was removed since; to start "
            "another, make a new one",
            request_id=request_id,
        )
    return Started(row.id, row.name, Outcome.EXISTING, str(row.status))


def _make_room(ctx: Context, workflow_id: int) -> None:
    """Forget the older half of a workflow's keys when it has many: each start that joined it has left one."""
    table = ctx.db.workflow_request
    if table.count(workflow_id=workflow_id) >= KEYS_MAX:
        found = table.lookup(("workflow_id",), (workflow_id,))
        for known in sorted(found, key=lambda key: (key.created_at, key.request_id))[: KEYS_MAX // 2]:
            table.delete(known.request_id)


def spend(ctx: Context, workflow_id: int) -> None:
    """A workflow is removed: its keys will start nothing again."""
    table = ctx.db.workflow_request
    if table.rows:
        for known in table.lookup(("workflow_id",), (workflow_id,)):
            table.update(known.request_id, workflow_id=None)


def forget(ctx: Context, older_than_days: float) -> dict[str, Any]:
    """Forget spent keys older than that, a bounded number a call: ``{"removed": n, "more": bool}``."""
    before, table = ctx.now - days_us(older_than_days), ctx.db.workflow_request
    old = [key.request_id for key in table.lookup(("workflow_id",), (None,)) if key.created_at < before]
    for request_id in old[:FORGET_MAX]:
        table.delete(request_id)
    return {"removed": min(len(old), FORGET_MAX), "more": len(old) > FORGET_MAX}
