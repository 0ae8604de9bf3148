"""The outbox: tasks put in, made ready, ended and removed, each in the commit of what causes it.

The end of a task is told to its workflow in the same commit, so a result reaches it exactly once. The effect outside
is another matter: it happens at least once, and the task's ``key`` lets the outside tell the second time.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from reactor.clock import days, seconds
from reactor.context import Context
from reactor.errors import SenderError
from workflows.dispatch import Dispatcher
from workflows.handle import Cause, TaskEnd
from workflows.payload import bounded_json
from workflows.tasks import queues
from workflows.tasks.tables import DELAYED, LEASED, OPEN, READY, Alarm, Delivery, TaskStatus

MESSAGE_CHARS_MAX = 2_000
KEY_CHARS_MAX = 200
TIME_US_MAX = days(365)
PRIORITY_MAX = 9

_TOTAL_OF = {
    TaskStatus.COMPLETED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "cancelled",
    TaskStatus.TIMED_OUT: "timed_out",
}
_encode = msgspec.json.Encoder().encode


class Wanted(NamedTuple):
    """How a task is to be done; see ``Tasks.put``."""

    key: str | None = None
    attempts_max: int = 3
    redeliveries_max: int = 10
    backoff_us: int = seconds(1)
    timeout_us: int | None = None
    delay_us: int = 0
    priority: int = 5
    workflow_id: int | None = None
    pointer_id: int | None = None


class Outbox:
    """The tasks of one engine. It knows nothing of leases: those are ``workflows.tasks.leases``."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    # -- in ----------------------------------------------------------------------------------

    def put(self, ctx: Context, queue: str, name: str, payload: Any, wanted: Wanted) -> int:
        """Add a task and return its id; see ``Tasks.put``."""
        _check(name, wanted)
        text = self.json(payload, "payload")
        row = queues.need(ctx, queue)
        if wanted.key is not None:
            known = ctx.db.task.first(queue=queue, key=wanted.key)
            if known is not None:
                return _same(ctx, known, name, text, wanted)
        self._check_workflow(ctx, wanted.workflow_id)
        queues.refuse_if_full(ctx, row)
        not_before = ctx.now + wanted.delay_us if wanted.delay_us else None
        task = ctx.db.task.insert(
            queue=queue,
            name=name,
            workflow_id=wanted.workflow_id,
            pointer_id=wanted.pointer_id,
            key=wanted.key or ctx.new_uuid(),
            status=DELAYED,
            priority=wanted.priority,
            attempts_max=wanted.attempts_max,
            redeliveries_max=wanted.redeliveries_max,
            backoff=wanted.backoff_us,
            not_before=not_before,
            deadline=None if wanted.timeout_us is None else ctx.now + wanted.timeout_us,
            created_at=ctx.now,
        )
        ctx.db.task_content.insert(task_id=task.id, payload=text)
        queues.count(ctx, queue, "added")
        if task.deadline is not None:
            arm(ctx, task.id, Alarm.DEADLINE, task.deadline)
        if not_before is None:
            make_ready(ctx, task)
        else:
            arm(ctx, task.id, Alarm.READY, not_before)
        return int(task.id)

    def json(self, value: Any, parameter: str) -> str:
        """A value as JSON text; ``SenderError`` ``bad_arguments`` or ``payload_too_large``."""
        bytes_max = self._dispatcher.limits.payload_bytes_max
        return bounded_json(value, parameter, bytes_max, _encode, "; pass a reference to it")

    def _check_workflow(self, ctx: Context, workflow_id: int | None) -> None:
        """``SenderError`` ``unknown_workflow`` or ``not_active`` unless the workflow may hear of the end."""
        if workflow_id is None:
            return
        inside = self._dispatcher.steps.open.get(workflow_id)
        if inside is None:
            # In its first step it has no row yet.
            self._dispatcher.live_row(ctx, workflow_id)
        elif inside.ending is not None:
            raise SenderError(
                "not_active",
                f"workflow {workflow_id} has ended in this step ({inside.ending}); put the task without workflow_id",
                workflow_id=workflow_id,
            )

    # -- out ---------------------------------------------------------------------------------

    def end(
        self,
        ctx: Context,
        task: Any,
        status: TaskStatus,
        outcome: Delivery,
        *,
        result: str | None = None,
        error: str | None = None,
        tell: bool = True,
    ) -> None:
        """End a task and tell its workflow. ``outcome`` is what becomes of the delivery under way, if there is one."""
        close(ctx, task, outcome, error)
        disarm(ctx, task.id)
        error = None if error is None else error[:MESSAGE_CHARS_MAX]
        task = ctx.db.task.update(task.id, status=status, ended_at=ctx.now, ready_at=None, not_before=None)
        ctx.db.task_content.update(task.id, result=result, error=error)
        queues.count(ctx, task.queue, _TOTAL_OF[status])
        if tell and task.workflow_id is not None:
            told = TaskEnd(
                task.id, task.queue, task.name, _TOTAL_OF[status], result, error, task.attempt, task.pointer_id
            )
            self._dispatcher.tell(ctx, task.workflow_id, "on_task_end", told, Cause("task", task.name))

    def cancel(self, ctx: Context, task: Any, reason: str, *, tell: bool = True) -> bool:
        """End a task nobody wants any more; False if it has ended. Whoever is at it hears so at the next heartbeat."""
        if task.status not in OPEN:
            return False
        self.end(ctx, task, TaskStatus.CANCELLED, Delivery.CANCELLED, error=reason, tell=tell)
        return True

    def workflow_ended(self, ctx: Context, row: Any) -> None:
        """Nobody waits for the tasks of a workflow that has ended."""
        for task in tasks_of(ctx, row.id):
            self.cancel(ctx, task, f"its workflow {row.id} has ended ({row.status})", tell=False)


def tasks_of(ctx: Context, workflow_id: int, statuses: Iterable[TaskStatus] = OPEN) -> list[Any]:
    """The tasks of a workflow that have one of these statuses, oldest first."""
    # Each by its index: a workflow that lives long leaves many tasks that have ended.
    found = [row for status in statuses for row in ctx.db.task.where(workflow_id=workflow_id, status=status)]
    return sorted(found, key=attrgetter("id"))


# -- steps of a task -----------------------------------------------------------------------------------


def make_ready(ctx: Context, task: Any, *, wake: bool = False) -> None:
    """Let a task be claimed. Idle workers are woken when there was nothing for them before, or if ``wake`` says so."""
    first = not ctx.db.task.count(queue=task.queue, status=READY)
    ctx.db.task.update(task.id, status=READY, ready_at=ctx.now, not_before=None)
    if first or wake:
        queues.wake(ctx, task.queue)


def close(ctx: Context, task: Any, outcome: Delivery, error: str | None = None) -> None:
    """End the delivery under way, and with it the lease."""
    if task.status is LEASED:
        shown = None if error is None else error[:MESSAGE_CHARS_MAX]
        ctx.db.task_attempt.update(task.attempt_id, outcome=outcome, ended_at=ctx.now, error=shown)


def arm(ctx: Context, task_id: int, alarm: Alarm, at: int) -> None:
    """Set a timer of a task."""
    ctx.db.task_timer.insert(scheduled_at=at, alarm=alarm, task_id=task_id)


def disarm(ctx: Context, task_id: int, alarm: Alarm | None = None) -> None:
    """Take away the timers of a task, or those of one kind."""
    for timer in timers_of(ctx, task_id):
        if alarm is None or timer.alarm is alarm:
            ctx.db.task_timer.delete(timer.scheduled_id)


def timers_of(ctx: Context, task_id: int) -> list[Any]:
    """The timers of a task."""
    rows: list[Any] = ctx.db.task_timer.lookup(("task_id",), (task_id,))
    return rows


def remove(ctx: Context, task: Any) -> None:
    """Forget a task and its deliveries."""
    disarm(ctx, task.id)
    for attempt in ctx.db.task_attempt.lookup(("task_id",), (task.id,)):
        ctx.db.task_attempt.delete(attempt.id)
    ctx.db.task_content.delete(task.id)
    ctx.db.task.delete(task.id)


# -- small parts ---------------------------------------------------------------------------------------


def _check(name: str, wanted: Wanted) -> None:
    if not name:
        raise _wrong("name", "a text that tells the worker what to do")
    if wanted.key is not None and not 0 < len(wanted.key) <= KEY_CHARS_MAX:
        raise _wrong("key", f"1 to {KEY_CHARS_MAX} characters")
    if not 0 <= wanted.priority <= PRIORITY_MAX:
        raise _wrong("priority", f"from 0 (first) to {PRIORITY_MAX}")
    if wanted.attempts_max < 1 or wanted.redeliveries_max < 0:
        raise _wrong("attempts_max", "1 or more; redeliveries_max: 0 or more")
    for parameter, value in (("delay_us", wanted.delay_us), ("backoff_us", wanted.backoff_us)):
        if not 0 <= value <= TIME_US_MAX:
            raise _wrong(parameter, f"from 0 to {TIME_US_MAX} µs")
    if wanted.timeout_us is not None and not 0 < wanted.timeout_us <= TIME_US_MAX:
        raise _wrong("timeout_us", f"from 1 to {TIME_US_MAX} µs")


def _wrong(parameter: str, wanted: str) -> SenderError:
    return SenderError("bad_arguments", f"parameter {parameter}: {wanted}", parameter=parameter)


def _same(ctx: Context, known: Any, name: str, payload: str, wanted: Wanted) -> int:
    """The id of the task that was put under this key before; ``SenderError`` ``key_reused`` if it was another."""
    before = (known.name, ctx.db.task_content.require(known.id).payload, known.workflow_id, known.pointer_id)
    if before != (name, payload, wanted.workflow_id, wanted.pointer_id):
        raise SenderError(
            "key_reused",
            f"queue {known.queue} has task {known.id} under key {wanted.key!r}, and it is another; make a new key",
            task_id=known.id,
        )
    return int(known.id)
