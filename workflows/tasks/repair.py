"""What a start mends: open tasks whose timer is missing, because somebody deleted its row.

That is repair, not redelivery: the lease was lost, not the worker. It is counted apart.
"""

from __future__ import annotations

from typing import Any

from reactor.context import Context
from workflows.life import is_live
from workflows.tasks import queues
from workflows.tasks.outbox import Outbox, arm, timers_of
from workflows.tasks.tables import DELAYED, LEASED, READY, Alarm


def repair(ctx: Context, outbox: Outbox) -> None:
    """Give every open task back the timers it needs, and end those that wait for a workflow that has ended."""
    for queue in ctx.db.task_queue:
        mended = sum(
            _mend(ctx, outbox, task)
            for status in (LEASED, DELAYED, READY)
            for task in ctx.db.task.lookup(("queue", "status"), (queue.name, status))
        )
        if mended:
            queues.count(ctx, queue.name, "repaired", mended)
            ctx.log(f"mended {mended} tasks of queue {queue.name}", "warning")


def _mend(ctx: Context, outbox: Outbox, task: Any) -> bool:
    if task.workflow_id is not None:
        row = ctx.db.workflow.get(task.workflow_id)
        if row is None or not is_live(row.status):
            return outbox.cancel(ctx, task, f"its workflow {task.workflow_id} is not there any more", tell=False)
    needed: dict[Alarm, int] = {}
    if task.status is LEASED:
        needed[Alarm.LEASE] = ctx.db.task_attempt.require(task.attempt_id).lease_until
    elif task.status is DELAYED:
        needed[Alarm.READY] = ctx.now if task.not_before is None else task.not_before
    if task.deadline is not None:
        needed[Alarm.DEADLINE] = task.deadline
    for timer in timers_of(ctx, task.id) if needed else ():
        needed.pop(timer.alarm, None)
    for alarm, at in needed.items():
        arm(ctx, task.id, alarm, at)
    return bool(needed)
