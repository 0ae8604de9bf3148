-- What an operator looks at first. The reactor offers these views to SQL for people; they can be pasted into any
-- SQLite shell over a copy of the data as well.

-- Live workflows that nothing will wake: no timer, no signal they take, no child that is still running.
CREATE VIEW stuck_workflows AS
SELECT w.id, w.workflow_type, w.entity_id, w.correlation_id, w.status, w.current_step, w.updated_at
FROM workflow AS w
WHERE w.status IN ('Running', 'Suspended')
  AND w.waits IS NULL
  AND NOT EXISTS (SELECT 1 FROM workflow_timer AS t WHERE t.workflow_id = w.id AND NOT t.cancelled)
  AND NOT EXISTS (SELECT 1 FROM workflow AS c WHERE c.parent_id = w.id AND c.status IN ('Running', 'Suspended'));

-- Timers that wait, by type of workflow and clock, with the first and the last due time on that clock.
CREATE VIEW timer_backlog AS
SELECT w.workflow_type, t.name, t.clock, COUNT(*) AS timers,
       MIN(t.scheduled_at) AS first_due, MAX(t.scheduled_at) AS last_due
FROM workflow_timer AS t JOIN workflow AS w ON w.id = t.workflow_id
WHERE NOT t.cancelled
GROUP BY w.workflow_type, t.name, t.clock;

-- Live workflows with the next due time of each and the size of its state.
CREATE VIEW active_workflows AS
SELECT w.id, w.workflow_type, w.entity_id, w.correlation_id, w.status, w.current_step, w.waits,
       (SELECT MIN(t.scheduled_at) FROM workflow_timer AS t WHERE t.workflow_id = w.id AND NOT t.cancelled) AS next_due,
       LENGTH(CAST(w.state AS BLOB)) AS state_bytes, w.created_at, w.updated_at
FROM workflow AS w
WHERE w.status IN ('Running', 'Suspended');

-- How many workflows of each type stand where.
CREATE VIEW workflow_counts AS
SELECT workflow_type, status, COUNT(*) AS workflows
FROM workflow
GROUP BY workflow_type, status;
