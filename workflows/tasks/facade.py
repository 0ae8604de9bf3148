"""``ctx.tasks``: how game code and workflows ask for something to be done outside, as part of their own call."""

from __future__ import annotations

from typing import Any

from reactor.clock import seconds
from reactor.context import Context
from workflows.tasks import queues
from workflows.tasks.outbox import Outbox, Wanted, tasks_of


class Tasks:
    """The tasks, as a reducer or handler sees them. What it does is part of the running call."""

    __slots__ = ("_ctx", "_outbox")

    def __init__(self, ctx: Context, outbox: Outbox) -> None:
        self._ctx = ctx
        self._outbox = outbox

    def put(
        self,
        queue: str,
        name: str,
        payload: Any = None,
        *,
        key: str | None = None,
        attempts_max: int = 3,
        redeliveries_max: int = 10,
        backoff_us: int = seconds(1),
        timeout_us: int | None = None,
        delay_us: int = 0,
        priority: int = 5,
        workflow_id: int | None = None,
        pointer_id: int | None = None,
    ) -> int:
        """Ask for ``name`` to be done by a worker of ``queue``, and return the task's id.

        With ``workflow_id`` that workflow is told of the end (``on_task_end``), and its own end cancels the task. The
        same ``key`` in the same queue again is the same task; without one, one is made up. A task that a worker fails
        is tried ``attempts_max`` times, after waits that begin with ``backoff_us`` and double; one whose worker is lost
        is handed out again ``redeliveries_max`` times. After ``timeout_us`` it ends as TimedOut, whoever has it.

        ``SenderError``: ``queue_saturated``, ``bad_arguments``, ``payload_too_large``, ``key_reused``,
        ``unknown_workflow``, ``not_active``, ``limit_exceeded``.
        """
        wanted = Wanted(
            key, attempts_max, redeliveries_max, backoff_us, timeout_us, delay_us, priority, workflow_id, pointer_id
        )
        return self._outbox.put(self._ctx, queue, name, payload, wanted)

    def cancel(self, task_id: int, reason: str) -> bool:
        """End a task, and tell its workflow; False if it had ended. ``SenderError`` ``not_found``."""
        return self._outbox.cancel(self._ctx, self._ctx.db.task.require(task_id), reason)

    def get(self, task_id: int) -> Any:
        """The task's row, or None."""
        return self._ctx.db.task.get(task_id)

    def open(self, workflow_id: int) -> list[Any]:
        """The rows of a workflow's tasks that have not ended, oldest first."""
        return tasks_of(self._ctx, workflow_id)

    def admission(self, queue: str) -> str:
        """What the queue would do with one more task: ``accepting``, ``no_slots``, ``no_active_workers``,
        ``throttled``, ``unavailable`` (all of which take it, and let it wait) or ``saturated`` (refuses it)."""
        if queue not in self._ctx.db.task_queue:
            return "no_active_workers"
        return str(queues.admission(self._ctx, queue)["admission"])
