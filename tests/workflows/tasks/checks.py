"""What must hold of the tables of tasks at any moment, whatever was done to them."""

from __future__ import annotations

from typing import Any

from reactor.testing import Rig

TERMINAL = ("Completed", "Failed", "Cancelled", "TimedOut")


def assert_tasks(rig: Rig) -> None:
    """F1, F2 an open task has exactly its timers; C27, E16 it is in one hand at most; D100 deliveries are a chain."""
    tasks = {row.id: row for row in rig.rows("task")}
    attempts = {row.id: row for row in rig.rows("task_attempt")}
    assert_timers(rig, tasks, attempts)
    running = {row.task_id: row.id for row in attempts.values() if row.outcome == "Running"}
    assert running == {row.id: row.attempt_id for row in tasks.values() if row.status == "Leased"}
    last: dict[int, Any] = {}
    for row in attempts.values():
        before = last.get(row.task_id)
        assert row.follows == (None if before is None else before.id)
        if before is not None:
            assert before.outcome in ("Failed", "Lapsed", "Released"), f"delivery {row.id} follows an end"
            assert row.attempt == before.attempt + (before.outcome == "Failed")
            assert (row.delay is not None) == (before.outcome == "Failed")
        last[row.task_id] = row
    for task in tasks.values():
        lapsed = sum(row.outcome == "Lapsed" for row in attempts.values() if row.task_id == task.id)
        assert lapsed - (task.status == "Failed") <= task.redeliveries <= lapsed
    assert {row.task_id for row in rig.rows("task_content")} == set(tasks)
    assert {row.task_id for row in attempts.values()} <= set(tasks)


def assert_timers(rig: Rig, tasks: dict[int, Any], attempts: dict[int, Any]) -> None:
    """A lease, a wait and a deadline are one row each; what is ready has no other, and what has ended none."""
    wanted = []
    for task in tasks.values():
        if task.status == "Leased":
            wanted.append((task.id, "lease", attempts[task.attempt_id].lease_until))
        if task.status == "Delayed":
            wanted.append((task.id, "ready", task.not_before))
        if task.deadline is not None and task.status not in TERMINAL:
            wanted.append((task.id, "deadline", task.deadline))
        assert (task.ready_at is not None) == (task.status == "Ready")
        assert (task.ended_at is not None) == (task.status in TERMINAL)
    timers = rig.rows("task_timer")
    assert sorted((t.task_id, str(t.alarm), t.scheduled_at) for t in timers if t.task_id is not None) == sorted(wanted)
    workers = {row.id for row in rig.rows("task_worker") if not row.stale}
    assert {t.worker_id for t in timers if t.worker_id is not None} == workers
    throttled = {row.name for row in rig.rows("task_queue") if row.throttled_until is not None}
    assert {t.queue for t in timers if t.queue is not None} == throttled
