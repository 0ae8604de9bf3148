"""Leases: a task is in the hands of at most one worker, who holds a token nobody else has.

Whoever speaks of a task shows the token of its delivery. While that delivery is under way the word counts; when it is
over, because it was finished, given back or taken for lost, the answer is ``stale_lease`` and the word changes
nothing; if it says how the task ended, it is noted on the delivery as late. The same word said twice is answered as the
first time.
"""

from __future__ import annotations

from typing import Any

import orjson

from reactor.clock import days, hours, milliseconds
from reactor.context import Context
from reactor.errors import SenderError
from workflows.tasks import presence, queues
from workflows.tasks.outbox import TIME_US_MAX, Outbox, arm, close, disarm, make_ready, timers_of
from workflows.tasks.tables import LEASED, READY, Alarm, Delivery, TaskStatus

CLAIM_MAX = 1_000
LEASE_US_MIN, LEASE_US_MAX = milliseconds(100), days(7)
BACKOFF_US_MAX = hours(1)


class Leases:
    """What workers may do with the tasks of an outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    # -- claim -------------------------------------------------------------------------------

    def claim(self, ctx: Context, queue: str, limit: int, lease_us: int) -> list[dict[str, Any]]:
        """Hand out up to ``limit`` tasks that are ready, each with a token of its own.

        Fewer when fewer are ready, the queue is paused, its rate is used up, or the worker's slots are.
        """
        _check_lease(lease_us)
        if not 1 <= limit <= CLAIM_MAX:
            raise SenderError("bad_arguments", f"parameter limit: from 1 to {CLAIM_MAX}", parameter="limit")
        row = ctx.db.task_queue.get(queue)
        if row is None or row.paused:
            return []
        worker = presence.seen(ctx, queue)
        if worker is not None:
            limit = min(limit, worker.slots - queues.in_hand(ctx, worker.id))
        allowed = queues.allowance(ctx, row)
        wanted = max(limit if allowed is None else min(limit, allowed), 0)
        tasks = list(ctx.db.task.range("priority", queue=queue, limit=wanted)) if wanted else []
        claimed = [self._lease(ctx, task, worker, lease_us) for task in tasks]
        held_back = wanted < limit and queues.waiting(ctx, queue, READY) > 0
        if claimed or held_back:
            queues.spend(ctx, row, len(claimed), held_back)
        if claimed:
            queues.count(ctx, queue, "claimed", len(claimed))
        return claimed

    def _lease(self, ctx: Context, task: Any, worker: Any, lease_us: int) -> dict[str, Any]:
        until = ctx.now + lease_us
        attempt = ctx.db.task_attempt.insert(
            task_id=task.id,
            queue=task.queue,
            attempt=task.attempt,
            token=ctx.new_uuid(),
            follows=task.attempt_id,
            delay=task.retry_delay,
            owner=ctx.sender,
            worker_id=None if worker is None else worker.id,
            lease_until=until,
            heartbeat_at=ctx.now,
            started_at=ctx.now,
        )
        task = ctx.db.task.update(
            task.id,
            status=LEASED,
            attempt_id=attempt.id,
            retry_delay=None,
            ready_at=None,
            started_at=ctx.now if task.started_at is None else task.started_at,
        )
        arm(ctx, task.id, Alarm.LEASE, until)
        told = ("id", "queue", "name", "key", "workflow_id", "attempt", "attempts_max", "redeliveries", "priority")
        return {
            **{name: getattr(task, name) for name in told},
            # As it was stored: what JSON can say and a decoder cannot hold must not keep a queue from being claimed.
            "payload": orjson.Fragment(ctx.db.task_content.require(task.id).payload),
            "token": attempt.token,
            "lease_until": until,
            "deadline": task.deadline,
            "created_at": task.created_at,
        }

    # -- what the holder says ----------------------------------------------------------------

    def heartbeat(self, ctx: Context, task_id: int, token: str, lease_us: int) -> int:
        """The worker is still at it; returns until when it holds the lease now."""
        _check_lease(lease_us)
        task, attempt = self._held(ctx, task_id, token)
        if attempt.outcome is not Delivery.RUNNING:
            raise _stale(task_id, attempt)
        until = ctx.now + lease_us
        worker = presence.seen(ctx, task.queue)
        changes = {} if worker is None else {"worker_id": worker.id}
        ctx.db.task_attempt.update(attempt.id, lease_until=until, heartbeat_at=ctx.now, **changes)
        for timer in timers_of(ctx, task_id):
            if timer.alarm is Alarm.LEASE:
                ctx.db.task_timer.update(timer.scheduled_id, scheduled_at=until, generation=timer.generation + 1)
        return until

    def complete(self, ctx: Context, task_id: int, token: str, result: Any) -> str:
        """It is done: ``completed``. ``stale_lease`` if the lease was no longer held; that is noted, and ignored."""
        task, attempt = self._held(ctx, task_id, token)
        presence.seen(ctx, task.queue)
        if attempt.outcome is Delivery.COMPLETED:
            return "completed"
        if attempt.outcome is not Delivery.RUNNING:
            raise _late(ctx, attempt, "completed")
        text = None if result is None else self._outbox.json(result, "result")
        self._outbox.end(ctx, task, TaskStatus.COMPLETED, Delivery.COMPLETED, result=text)
        return "completed"

    def fail(
        self, ctx: Context, task_id: int, token: str, message: str, retry_after_us: int | None, fatal: bool
    ) -> str:
        """It could not be done: ``retrying``, or ``failed`` for good. ``stale_lease`` as for ``complete``."""
        if retry_after_us is not None and not 0 <= retry_after_us <= TIME_US_MAX:
            raise SenderError(
                "bad_arguments", f"parameter retry_after_us: from 0 to {TIME_US_MAX}", parameter="retry_after_us"
            )
        task, attempt = self._held(ctx, task_id, token)
        presence.seen(ctx, task.queue)
        if attempt.outcome is Delivery.FAILED:
            last = task.status is TaskStatus.FAILED and task.attempt_id == attempt.id
            return "failed" if last else "retrying"
        if attempt.outcome is not Delivery.RUNNING:
            raise _late(ctx, attempt, "failed")
        if fatal or task.attempt >= task.attempts_max:
            self._outbox.end(ctx, task, TaskStatus.FAILED, Delivery.FAILED, error=message)
            return "failed"
        delay = retry_after_us if retry_after_us is not None else _backoff(task)
        self._give_back(ctx, task, Delivery.FAILED, message, attempt=task.attempt + 1, retry_delay=delay)
        queues.count(ctx, task.queue, "retried")
        return "retrying"

    def release(self, ctx: Context, task_id: int, token: str) -> str:
        """The worker gives the task back untouched, because it stops: ``released``."""
        task, attempt = self._held(ctx, task_id, token)
        if attempt.outcome is Delivery.RELEASED:
            return "released"
        if attempt.outcome is not Delivery.RUNNING:
            raise _stale(task_id, attempt)
        self._give_back(ctx, task, Delivery.RELEASED)
        queues.count(ctx, task.queue, "released")
        return "released"

    # -- what nobody says --------------------------------------------------------------------

    def lapse(self, ctx: Context, task: Any) -> None:
        """The lease has run out: the worker is taken for lost, and the task is handed out again."""
        if task.redeliveries >= task.redeliveries_max:
            # What takes every worker down with it must not go round for ever.
            error = f"{task.redeliveries + 1} leases of it lapsed without a word from the worker"
            self._outbox.end(ctx, task, TaskStatus.FAILED, Delivery.LAPSED, error=error)
            return
        self._give_back(ctx, task, Delivery.LAPSED, "the lease lapsed", redeliveries=task.redeliveries + 1)
        queues.count(ctx, task.queue, "redelivered")

    # -- small parts -------------------------------------------------------------------------

    def _give_back(
        self, ctx: Context, task: Any, outcome: Delivery, message: str | None = None, **changes: Any
    ) -> None:
        """Let the task wait for another delivery, for as long as its ``retry_delay`` says."""
        close(ctx, task, outcome, message)
        disarm(ctx, task.id, Alarm.LEASE)
        delay = changes.get("retry_delay")
        if delay:
            at = ctx.now + delay
            ctx.db.task.update(task.id, status=TaskStatus.DELAYED, not_before=at, **changes)
            arm(ctx, task.id, Alarm.READY, at)
        else:
            task = ctx.db.task.update(task.id, status=TaskStatus.DELAYED, **changes)
            make_ready(ctx, task, wake=True)

    @staticmethod
    def _held(ctx: Context, task_id: int, token: str) -> tuple[Any, Any]:
        """The task and the delivery that has this token; ``SenderError`` ``not_found`` or ``stale_lease``."""
        task = ctx.db.task.require(task_id)
        attempt = ctx.db.task_attempt.first(token=token)
        if attempt is None or attempt.task_id != task_id:
            raise SenderError(
                "stale_lease", f"task {task_id} was never handed out with this token; claim it", task_id=task_id
            )
        return task, attempt


def _backoff(task: Any) -> int:
    """The wait before the next attempt: twice as long each time, an hour at most."""
    return int(min(task.backoff << min(task.attempt - 1, 40), BACKOFF_US_MAX))


def _check_lease(lease_us: int) -> None:
    if not LEASE_US_MIN <= lease_us <= LEASE_US_MAX:
        raise SenderError(
            "bad_arguments", f"parameter lease_us: from {LEASE_US_MIN} to {LEASE_US_MAX} µs", parameter="lease_us"
        )


def _stale(task_id: int, attempt: Any) -> SenderError:
    return SenderError(
        "stale_lease",
        f"the lease of task {task_id} is not held any more, its delivery is {attempt.outcome}; stop working on it",
        task_id=task_id,
        outcome=str(attempt.outcome),
    )


def _late(ctx: Context, attempt: Any, word: str) -> SenderError:
    """The error for a word about the end that came too late. That it was said, and ignored, is kept once."""

    def note(ctx: Context, error: Any) -> None:
        row = ctx.db.task_attempt.get(attempt.id)
        if row is not None and row.late is None:
            ctx.db.task_attempt.update(row.id, late=word, late_at=ctx.now)
            queues.count(ctx, row.queue, "ignored")

    ctx.after_refusal(note)
    return _stale(attempt.task_id, attempt)
