"""Views over the tasks for SQL. They need no clock: what depends on the time is a column that a timer changes."""

from __future__ import annotations

QUEUE_STATE = """
WITH waiting AS (
  SELECT queue, SUM(status = 'Ready') AS ready, SUM(status = 'Delayed') AS delayed, SUM(status = 'Leased') AS leased,
         MIN(ready_at) AS oldest_ready_at
  FROM task WHERE status IN ('Ready', 'Delayed', 'Leased') GROUP BY queue
), hands AS (
  SELECT worker_id, COUNT(*) AS in_use FROM task_attempt WHERE outcome = 'Running' GROUP BY worker_id
), crew AS (
  SELECT w.queue, SUM(NOT w.stale) AS workers_active, SUM(w.stale) AS workers_stale,
         SUM(CASE WHEN w.stale THEN 0 ELSE w.slots END) AS slots,
         SUM(CASE WHEN w.stale THEN 0 ELSE COALESCE(h.in_use, 0) END) AS slots_in_use
  FROM task_worker AS w LEFT JOIN hands AS h ON h.worker_id = w.id GROUP BY w.queue
), facts AS (
  SELECT q.name AS queue, q.paused, q.capacity, q.rate_per_s, q.throttled_until,
         COALESCE(n.ready, 0) AS ready, COALESCE(n.delayed, 0) AS delayed, COALESCE(n.leased, 0) AS leased,
         n.oldest_ready_at, COALESCE(c.workers_active, 0) AS workers_active,
         COALESCE(c.workers_stale, 0) AS workers_stale, COALESCE(c.slots, 0) AS slots,
         COALESCE(c.slots_in_use, 0) AS slots_in_use
  FROM task_queue AS q LEFT JOIN waiting AS n ON n.queue = q.name LEFT JOIN crew AS c ON c.queue = q.name
)
SELECT f.queue,
       CASE WHEN f.paused THEN 'unavailable'
            WHEN f.ready + f.delayed >= f.capacity THEN 'saturated'
            WHEN f.throttled_until IS NOT NULL THEN 'throttled'
            WHEN f.workers_active = 0 THEN 'no_active_workers'
            WHEN f.slots_in_use >= f.slots THEN 'no_slots'
            ELSE 'accepting' END AS admission,
       f.ready + f.delayed AS backlog, f.capacity, f.ready, f.delayed, f.leased, f.oldest_ready_at,
       f.workers_active, f.workers_stale, f.slots, f.slots_in_use, f.rate_per_s, f.throttled_until,
       t.added, t.claimed, t.completed, t.failed, t.cancelled, t.timed_out,
       t.retried, t.redelivered, t.released, t.ignored, t.repaired,
       t.minute, t.added_now, t.claimed_now, t.ended_now, t.added_before, t.claimed_before, t.ended_before
FROM facts AS f JOIN task_queue_total AS t ON t.queue = f.queue
"""
"""One row for each queue: what it would do with one more task, why, and what it has done."""

LEASES = """
SELECT a.task_id, a.queue, k.name, k.workflow_id, a.attempt, k.redeliveries, a.owner, a.worker_id,
       a.started_at, a.heartbeat_at, a.lease_until
FROM task_attempt AS a JOIN task AS k ON k.id = a.task_id
WHERE a.outcome = 'Running'
"""
"""The tasks that somebody has in hand, without their tokens."""

DETAILS = """
SELECT k.*, c.payload, c.result, c.error, a.owner AS lease_owner, a.lease_until, a.heartbeat_at
FROM task AS k JOIN task_content AS c ON c.task_id = k.id
LEFT JOIN task_attempt AS a ON a.id = k.attempt_id AND a.outcome = 'Running'
"""
"""The tasks with what is in them and who has them in hand."""

VIEWS = {"task_queue_state": QUEUE_STATE, "task_leases": LEASES, "task_details": DETAILS}
