"""Queues: whether they take tasks and hand them out, how fast, and what they have done.

How many tasks wait or are in hand is counted by the index of the tasks; only what no row tells any more is kept as a
number. Whatever depends on the time is a row that a timer changes, so that a query needs no clock.
"""

from __future__ import annotations

from typing import Any

from reactor.clock import MINUTE, SECOND
from reactor.context import Context
from reactor.errors import SenderError
from workflows.tasks.tables import DELAYED, LEASED, READY, Alarm, Delivery

QUEUES_MAX = 1_000
CLIENT_QUEUES_MAX = QUEUES_MAX // 2
"""With so many queues no client makes another by saying hello: the rest is for game code and the owner."""
NAME_CHARS_MAX = 100
RATE_MIN, RATE_MAX = 0.001, 100_000.0
CAPACITY_MAX = 10_000_000

_TOTALS = ("added", "claimed", "completed", "failed", "cancelled", "timed_out", "retried", "redelivered", "released")
_ENDS = ("completed", "failed", "cancelled", "timed_out")
_PER_MINUTE = {"added": "added", "claimed": "claimed", **dict.fromkeys(_ENDS, "ended")}


def need(ctx: Context, name: str, *, by_client: bool = False) -> Any:
    """The queue's row, made now if there is none; ``SenderError`` ``bad_arguments`` or ``limit_exceeded``.

    ``by_client``: it is a client that wants it, not the owner or the game.
    """
    queues = ctx.db.task_queue
    row = queues.get(name)
    if row is not None:
        return row
    if not name or len(name) > NAME_CHARS_MAX:
        raise SenderError(
            "bad_arguments", f"parameter queue: a name of 1 to {NAME_CHARS_MAX} characters", parameter="queue"
        )
    bound = CLIENT_QUEUES_MAX if by_client else QUEUES_MAX
    if len(queues) >= bound:
        raise SenderError(
            "limit_exceeded",
            f"there are {len(queues)} task queues, and no more are made; use one of them",
            kind="task_queues",
            value=len(queues),
            limit=bound,
        )
    ctx.db.task_queue_total.insert(queue=name)
    return queues.insert(name=name, created_at=ctx.now)


# -- what a queue has done ---------------------------------------------------------------------------


def count(ctx: Context, queue: str, what: str, times: int = 1) -> None:
    """Add to a total of the queue, and to its present minute."""
    totals = ctx.db.task_queue_total
    row = totals.require(queue)
    changes: dict[str, Any] = {what: getattr(row, what) + times}
    rate = _PER_MINUTE.get(what)
    if rate is not None:
        changes.update(_turned(row, ctx.real_now))
        present = f"{rate}_now"
        changes[present] = changes.get(present, getattr(row, present)) + times
    totals.update(queue, **changes)


def _turned(row: Any, now: int) -> dict[str, Any]:
    """The columns that change because another minute has begun."""
    minute = now - now % MINUTE
    if minute <= row.minute:
        return {}
    follows = minute == row.minute + MINUTE
    changes: dict[str, Any] = {"minute": minute}
    for rate in ("added", "claimed", "ended"):
        changes[f"{rate}_before"] = getattr(row, f"{rate}_now") if follows else 0
        changes[f"{rate}_now"] = 0
    return changes


def _last_minute(row: Any, now: int) -> dict[str, int]:
    """How many were added, claimed and ended in the 60 s up to now, as if those of a minute came evenly."""
    turned = _turned(row, now)
    left = MINUTE - now % MINUTE

    def value(name: str) -> int:
        return int(turned.get(name, getattr(row, name)))

    rates = ("added", "claimed", "ended")
    return {rate: value(f"{rate}_now") + value(f"{rate}_before") * left // MINUTE for rate in rates}


# -- the pace ----------------------------------------------------------------------------------------


def allowance(ctx: Context, row: Any) -> int | None:
    """How many tasks the queue's rate lets go now; None for as many as there are."""
    if row.rate_per_s is None:
        return None
    interval, burst, spent = _pace(ctx, row)
    return (ctx.now + burst - spent) // interval


def spend(ctx: Context, row: Any, times: int, held_back: bool) -> None:
    """Note that tasks were handed out; if the rate holds others back, until when."""
    if row.rate_per_s is None:
        return
    interval, burst, spent = _pace(ctx, row)
    spent += times * interval
    ctx.db.task_queue_total.update(row.name, next_claim_at=spent)
    if held_back and row.throttled_until is None:
        until = spent + interval - burst
        ctx.db.task_queue.update(row.name, throttled_until=until)
        ctx.db.task_timer.insert(scheduled_at=until, alarm=Alarm.THROTTLE, queue=row.name)


def _pace(ctx: Context, row: Any) -> tuple[int, int, int]:
    """µs between two tasks, µs worth that may go at once, and up to when the rate is spent."""
    interval = max(int(SECOND / row.rate_per_s), 1)
    burst = max(SECOND, interval)
    spent = ctx.db.task_queue_total.require(row.name).next_claim_at
    # Bounded from above as well: a wall clock that was set back must not stop the queue.
    return interval, burst, min(max(spent, ctx.now), ctx.now + burst)


def unthrottle(ctx: Context, queue: str) -> None:
    """The rate lets something go again: tell the workers."""
    for timer in ctx.db.task_timer.lookup(("queue",), (queue,)):
        ctx.db.task_timer.delete(timer.scheduled_id)
    ctx.db.task_queue.update(queue, throttled_until=None)
    if waiting(ctx, queue, READY):
        wake(ctx, queue)


def wake(ctx: Context, queue: str) -> None:
    """Let the workers that have nothing to do look again."""
    row = ctx.db.task_queue.require(queue)
    ctx.db.task_queue.update(queue, wakes=row.wakes + 1)


# -- the owner's hand --------------------------------------------------------------------------------


def configure(ctx: Context, name: str, capacity: int | None, rate_per_s: float | None, paused: bool | None) -> None:
    """Change what is given; a rate of 0 takes the limit away. ``SenderError`` ``bad_arguments``."""
    changes: dict[str, Any] = {}
    if capacity is not None:
        if not 0 <= capacity <= CAPACITY_MAX:
            raise _wrong("capacity", f"from 0 to {CAPACITY_MAX}")
        changes["capacity"] = capacity
    if rate_per_s is not None:
        if rate_per_s and not RATE_MIN <= rate_per_s <= RATE_MAX:
            raise _wrong("rate_per_s", f"0 for no limit, or from {RATE_MIN} to {RATE_MAX:.0f}")
        changes["rate_per_s"] = rate_per_s or None
    if paused is not None:
        changes["paused"] = paused
    need(ctx, name)
    ctx.db.task_queue.update(name, **changes)
    unthrottle(ctx, name)


def _wrong(parameter: str, wanted: str) -> SenderError:
    return SenderError("bad_arguments", f"parameter {parameter}: {wanted}", parameter=parameter)


# -- admission ---------------------------------------------------------------------------------------


def waiting(ctx: Context, queue: str, *statuses: Any) -> int:
    """How many tasks of the queue have one of these statuses."""
    return sum(ctx.db.task.count(queue=queue, status=status) for status in statuses)


def backlog(ctx: Context, queue: str) -> int:
    """How many tasks wait: for a worker, or for their time."""
    return waiting(ctx, queue, READY, DELAYED)


def refuse_if_full(ctx: Context, row: Any) -> None:
    """``SenderError`` ``queue_saturated`` if the queue holds as many tasks as may wait in it."""
    held = backlog(ctx, row.name)
    if held >= row.capacity:
        raise SenderError(
            "queue_saturated",
            f"{held} tasks wait in queue {row.name}, and it takes {row.capacity}; start more workers, or raise its "
            "capacity with task_queue_configure",
            queue=row.name,
            backlog=held,
            capacity=row.capacity,
        )


def _state(row: Any, held: int, workers: dict[str, Any]) -> str:
    if row.paused:
        return "unavailable"
    if held >= row.capacity:
        return "saturated"
    if row.throttled_until is not None:
        return "throttled"
    if not workers["active"]:
        return "no_active_workers"
    return "no_slots" if workers["in_use"] >= workers["slots"] else "accepting"


def admission(ctx: Context, name: str) -> dict[str, Any]:
    """What the queue would do with one more task, and why; ``SenderError`` ``not_found`` for no such queue."""
    row = ctx.db.task_queue.require(name)
    totals = ctx.db.task_queue_total.require(name)
    held = backlog(ctx, name)
    workers = _workers(ctx, name)
    oldest = _oldest_ready(ctx, name)
    return {
        "queue": name,
        "admission": _state(row, held, workers),
        "backlog": held,
        "capacity": row.capacity,
        "ready": waiting(ctx, name, READY),
        "delayed": waiting(ctx, name, DELAYED),
        "leased": waiting(ctx, name, LEASED),
        "oldest_ready_us": None if oldest is None else max(ctx.now - oldest, 0),
        "throttled_until": row.throttled_until,
        "workers": workers,
        "last_minute": _last_minute(totals, ctx.real_now),
        "totals": {name: getattr(totals, name) for name in (*_TOTALS, "ignored", "repaired")},
    }


def _workers(ctx: Context, queue: str) -> dict[str, Any]:
    rows = ctx.db.task_worker.lookup(("queue",), (queue,))
    active = [row for row in rows if not row.stale]
    return {
        "active": len(active),
        "stale": len(rows) - len(active),
        "slots": sum(row.slots for row in active),
        "in_use": sum(in_hand(ctx, row.id) for row in active),
    }


def in_hand(ctx: Context, worker_id: int) -> int:
    """How many tasks a worker holds."""
    held: int = ctx.db.task_attempt.count(worker_id=worker_id, outcome=Delivery.RUNNING)
    return held


def _oldest_ready(ctx: Context, queue: str) -> int | None:
    """When the task that has been ready longest became so."""
    firsts = (
        next(ctx.db.task.range("ready_at", queue=queue, priority=priority, limit=1), None) for priority in range(10)
    )
    return min((row.ready_at for row in firsts if row is not None), default=None)
