"""The part of the engine that has to do with tasks: its tables, its reducers, and who may call them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

from reactor.columns import Duration
from reactor.context import Context
from reactor.errors import SenderError
from reactor.module import Module
from workflows.amounts import days_us
from workflows.dispatch import Dispatcher
from workflows.parts import Part
from workflows.tasks import presence, queues
from workflows.tasks.facade import Tasks
from workflows.tasks.leases import Leases
from workflows.tasks.outbox import Outbox, make_ready, remove, tasks_of
from workflows.tasks.repair import repair
from workflows.tasks.tables import DELAYED, LEASED, OPEN, SCHEMAS, TIMER_REDUCER, Alarm, Delivery, TaskStatus
from workflows.tasks.views import VIEWS

CLEANUP_MAX = 1_000

MayWork = Callable[[Context, str], bool]


def anybody_may_work(ctx: Context, queue: str) -> bool:
    """The rule unless an engine is given another: every client may take tasks of every queue."""
    return True


class TaskPart(Part):
    """Tasks. ``may_work(ctx, queue)`` says who is a worker; the owner of the database always is."""

    schemas = SCHEMAS

    def __init__(self, dispatcher: Dispatcher) -> None:
        super().__init__(dispatcher)
        self.may_work: MayWork = anybody_may_work
        self.outbox = Outbox(dispatcher)
        self.leases = Leases(self.outbox)

    def declare(self, module: Module) -> None:
        """Add the reducers, the views, ``ctx.tasks``, and what happens at a start and when a client goes."""
        public: tuple[Callable[..., Any], ...] = (
            self.task_worker_hello,
            self.task_claim,
            self.task_heartbeat,
            self.task_complete,
            self.task_fail,
            self.task_release,
            self.task_admission,
        )
        owners: tuple[Callable[..., Any], ...] = (self.task_queue_configure, self.task_cancel, self.cleanup_old_tasks)
        for function in public:
            module.reducer(function)
        for function in owners:
            module.reducer(access="owner")(function)
        module.reducer(name=TIMER_REDUCER, access="internal")(self.task_timer_fire)
        for name, select in VIEWS.items():
            module.view(name, select)
        module.extension("tasks", lambda ctx: Tasks(ctx, self.outbox))
        module.client_gone(presence.gone)
        module.on_start(self._repair)

    # -- what workflows do -------------------------------------------------------------------

    def wakes(self, ctx: Context, workflow_id: int) -> bool:
        """Whether the end of a task will wake the workflow."""
        return any(ctx.db.task.count(workflow_id=workflow_id, status=status) for status in OPEN)

    def ended(self, ctx: Context, row: Any) -> None:
        """Nobody waits for its tasks any more."""
        self.outbox.workflow_ended(ctx, row)

    def removed(self, ctx: Context, row: Any) -> None:
        """Its tasks go with it."""
        for task in tasks_of(ctx, row.id, TaskStatus):
            remove(ctx, task)

    # -- what workers call -------------------------------------------------------------------

    def task_worker_hello(self, ctx: Context, queue: str, slots: int) -> dict[str, Any]:
        """Count this connection as a worker of the queue with that many slots; with 0 it says goodbye.

        To be said again before ``stale_after_us`` is over. ``ready`` tells how many tasks there are to claim.
        """
        self._allow(ctx, queue)
        return presence.hello(ctx, queue, slots)

    def task_claim(self, ctx: Context, queue: str, limit: int, lease_us: Duration) -> list[dict[str, Any]]:
        """Take up to ``limit`` tasks of a queue, each with a token that is good for ``lease_us``."""
        self._allow(ctx, queue)
        return self.leases.claim(ctx, queue, limit, lease_us)

    def task_heartbeat(self, ctx: Context, id: int, token: str, lease_us: Duration) -> int:
        """Hold a task for ``lease_us`` from now; returns until when. ``stale_lease`` if it is not held any more."""
        self._allow_task(ctx, id)
        return self.leases.heartbeat(ctx, id, token, lease_us)

    def task_complete(self, ctx: Context, id: int, token: str, result: Any = None) -> str:
        """A task is done: ``completed``, also if it is said again. ``stale_lease`` if it is not held any more."""
        self._allow_task(ctx, id)
        return self.leases.complete(ctx, id, token, result)

    def task_fail(
        self,
        ctx: Context,
        id: int,
        token: str,
        message: str,
        retry_after_us: Duration | None = None,
        fatal: bool = False,
    ) -> str:
        """A task could not be done: ``retrying``, or ``failed`` if that was the last attempt or is ``fatal``."""
        self._allow_task(ctx, id)
        return self.leases.fail(ctx, id, token, message, retry_after_us, fatal)

    def task_release(self, ctx: Context, id: int, token: str) -> str:
        """Give a task back untouched; another worker gets it at once, and no attempt is counted."""
        self._allow_task(ctx, id)
        return self.leases.release(ctx, id, token)

    def task_admission(self, ctx: Context, queue: str) -> dict[str, Any]:
        """What the queue would do with one more task, and the numbers behind it."""
        self._allow(ctx, queue)
        return queues.admission(ctx, queue)

    # -- what the owner calls ----------------------------------------------------------------

    def task_queue_configure(
        self,
        ctx: Context,
        queue: str,
        capacity: int | None = None,
        rate_per_s: float | None = None,
        paused: bool | None = None,
    ) -> None:
        """Change what is given of a queue. A paused queue takes tasks and hands out none; a rate of 0 is no limit."""
        queues.configure(ctx, queue, capacity, rate_per_s, paused)

    def task_cancel(self, ctx: Context, id: int, reason: str) -> bool:
        """End a task, and tell its workflow; false if it had ended."""
        return self.outbox.cancel(ctx, ctx.db.task.require(id), reason)

    def cleanup_old_tasks(self, ctx: Context, days: float) -> dict[str, Any]:
        """Remove tasks that ended ``days`` ago, a bounded number a call: {"removed": n, "more": bool}."""
        before = ctx.now - days_us(days)
        found = list(islice(ctx.db.task.range("ended_at", high=before, include=(True, False)), CLEANUP_MAX + 1))
        for task in found[:CLEANUP_MAX]:
            remove(ctx, task)
        return {"removed": min(len(found), CLEANUP_MAX), "more": len(found) > CLEANUP_MAX}

    # -- what time does ----------------------------------------------------------------------

    def task_timer_fire(self, ctx: Context, timer: Any) -> None:
        """Run by the reactor for every due row of ``task_timer``; nobody else can."""
        if timer.alarm is Alarm.THROTTLE:
            queues.unthrottle(ctx, timer.queue)
        elif timer.alarm is Alarm.WORKER:
            presence.look(ctx, timer.worker_id, timer)
        else:
            self._task_due(ctx, timer)

    def _task_due(self, ctx: Context, timer: Any) -> None:
        task = ctx.db.task.get(timer.task_id)
        if task is None:
            return
        if timer.alarm is Alarm.READY and task.status is DELAYED:
            make_ready(ctx, task)
        elif timer.alarm is Alarm.LEASE and task.status is LEASED:
            self.leases.lapse(ctx, task)
        elif timer.alarm is Alarm.DEADLINE and task.status in OPEN:
            error = "its deadline has passed"
            self.outbox.end(ctx, task, TaskStatus.TIMED_OUT, Delivery.TIMED_OUT, error=error)

    def _repair(self, ctx: Context) -> None:
        repair(ctx, self.outbox)

    # -- who may -----------------------------------------------------------------------------

    def _allow(self, ctx: Context, queue: str) -> None:
        """``SenderError`` ``forbidden`` unless the caller may work for the queue."""
        if not (ctx.is_owner or ctx.is_internal or self.may_work(ctx, queue)):
            raise SenderError("forbidden", f"this identity may not work for queue {queue}", queue=queue)

    def _allow_task(self, ctx: Context, task_id: int) -> None:
        task = ctx.db.task.get(task_id)
        if task is None:
            raise SenderError("not_found", f"there is no task {task_id}; it was removed, or never was", table="task")
        self._allow(ctx, task.queue)
