"""Timers that wait with their workflow: they keep their due times, and do not fire."""

from __future__ import annotations

from reactor.context import Context


def hold_timers(ctx: Context, workflow_id: int) -> int:
    """Let the armed timers of a workflow not fire until they are released; returns how many there were."""
    timers, count = ctx.db.workflow_timer, 0
    for timer in timers.lookup(("workflow_id",), (workflow_id,)):
        if not timer.cancelled:
            timers.update(timer.scheduled_id, cancelled=True, held=True)
            count += 1
    return count


def release_timers(ctx: Context, workflow_id: int) -> int:
    """Let what ``hold_timers`` held fire again, at the times it was due; returns how many there were.

    What is overdue fires right after this commit, in order, under the catch-up policy of each.
    """
    timers, count = ctx.db.workflow_timer, 0
    for timer in timers.lookup(("workflow_id",), (workflow_id,)):
        if timer.held:
            timers.update(timer.scheduled_id, cancelled=False, held=False)
            count += 1
    return count
