"""Workers: who is there, with how many slots, and since when nothing was heard of them.

A worker is a connection that has said hello for a queue. It goes with its connection; what it holds stays leased until
the leases lapse, since it may come back and finish. One that is still connected but silent is marked stale by a timer.
"""

from __future__ import annotations

from typing import Any

from reactor.clock import seconds
from reactor.context import Context
from reactor.errors import SenderError
from reactor.system import watch_connection
from workflows.tasks import queues
from workflows.tasks.tables import READY, Alarm

STALE_AFTER_US = seconds(30)
"""Silence after which a worker no longer counts; three hellos of the client's worker fit in it."""
SLOTS_MAX = 10_000
QUEUES_OF_CONNECTION_MAX = 100
"""Queues for which one connection is a worker at a time."""


def hello(ctx: Context, queue: str, slots: int) -> dict[str, Any]:
    """Count the caller's connection as a worker with that many slots; with none it says goodbye.

    ``SenderError`` ``bad_arguments``, also for a caller without a connection.
    """
    if not 0 <= slots <= SLOTS_MAX:
        raise SenderError("bad_arguments", f"parameter slots: from 0 to {SLOTS_MAX}", parameter="slots")
    if ctx.connection_id is None:
        raise SenderError("bad_arguments", "a worker is known by its connection: say hello over a WebSocket")
    row = _row(ctx, queue)
    if slots == 0:
        if row is not None:
            _remove(ctx, row)
        return {"worker_id": None, "stale_after_us": STALE_AFTER_US, "ready": 0}
    queues.need(ctx, queue, by_client=not (ctx.is_owner or ctx.is_internal))
    if row is None:
        _check_room(ctx)
        watch_connection(ctx)
        row = ctx.db.task_worker.insert(
            queue=queue,
            connection_id=ctx.connection_id,
            identity=ctx.sender,
            slots=slots,
            last_seen=ctx.now,
            stale_after=STALE_AFTER_US,
            created_at=ctx.now,
        )
        _arm(ctx, row)
    else:
        ctx.db.task_worker.update(row.id, slots=slots, last_seen=ctx.now)
        _back(ctx, row)
    return {
        "worker_id": row.id,
        "stale_after_us": STALE_AFTER_US,
        "ready": 0 if ctx.db.task_queue.require(queue).paused else queues.waiting(ctx, queue, READY),
    }


def seen(ctx: Context, queue: str) -> Any:
    """The caller's worker in that queue, or None; it is alive."""
    row = _row(ctx, queue)
    if row is not None and (row.stale or ctx.now - row.last_seen > row.stale_after // 4):
        # Not at every word: a busy worker would be written as often as its tasks.
        ctx.db.task_worker.update(row.id, last_seen=ctx.now)
        _back(ctx, row)
    return row


def gone(ctx: Context) -> None:
    """A connection has ended."""
    for row in ctx.db.task_worker.lookup(("connection_id",), (ctx.connection_id,)):
        _remove(ctx, row)


def look(ctx: Context, worker_id: int, timer: Any) -> None:
    """A worker may have been silent for too long: mark it, or look again when it will have been."""
    row = ctx.db.task_worker.get(worker_id)
    if row is None:
        return
    due = row.last_seen + row.stale_after
    if due > ctx.now:
        ctx.db.task_timer.update(timer.scheduled_id, scheduled_at=due, generation=timer.generation + 1)
    else:
        ctx.db.task_worker.update(row.id, stale=True)


def _check_room(ctx: Context) -> None:
    """``SenderError`` ``limit_exceeded`` for a connection that works for enough queues."""
    count = ctx.db.task_worker.count(connection_id=ctx.connection_id)
    if count >= QUEUES_OF_CONNECTION_MAX:
        raise SenderError(
            "limit_exceeded",
            f"this connection works for {count} queues, and {QUEUES_OF_CONNECTION_MAX} are allowed; say goodbye to "
            "one, or connect again",
            kind="worker_queues",
            value=count,
            limit=QUEUES_OF_CONNECTION_MAX,
        )


def _row(ctx: Context, queue: str) -> Any:
    if ctx.connection_id is None:
        return None
    return ctx.db.task_worker.first(connection_id=ctx.connection_id, queue=queue)


def _back(ctx: Context, row: Any) -> None:
    if row.stale:
        ctx.db.task_worker.update(row.id, stale=False)
        _arm(ctx, row)


def _arm(ctx: Context, row: Any) -> None:
    # Looked at once a threshold, however often the worker is heard of: moving a timer at every word would cost a row.
    ctx.db.task_timer.insert(scheduled_at=ctx.now + row.stale_after, alarm=Alarm.WORKER, worker_id=row.id)


def _remove(ctx: Context, row: Any) -> None:
    for timer in ctx.db.task_timer.lookup(("worker_id",), (row.id,)):
        ctx.db.task_timer.delete(timer.scheduled_id)
    ctx.db.task_worker.delete(row.id)
