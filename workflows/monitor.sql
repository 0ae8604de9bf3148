-- What an operator looks at first. The reactor offers these views to SQL for people; they can be pasted into any
-- SQLite shell over a copy of the data as well.

-- Live workflows that nothing will wake: no timer, no signal they take, no child that is still running.
CREATE VIEW stuck_workflows AS
SELECT w.id, w.workflow_type, w.entity_id, w.correlation_id, w.status, w.current_step, w.updated_at
FROM workflow AS w
WHERE w.status IN ('Running', 'Suspended')
  AND w.waits IS NULL
  AND NOT EXISTS (SELECT 1 FROM workflow_timer AS t WHERE t.workflow_id = w.id AND NOT t.cancelled)
  AND NOT EXISTS (SELECT 1 FROM task AS k WHERE k.workflow_id = w.id AND k.status IN ('Delayed', 'Ready', 'Leased'))
  AND NOT EXISTS (SELECT 1 FROM workflow AS c WHERE c.parent_id = w.id
                  AND c.status IN ('Pending', 'Running', 'Suspended', 'Paused', 'Faulted'));

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
WHERE w.status IN ('Pending', 'Running', 'Suspended', 'Paused', 'Faulted');

-- Workflows whose handler has failed, with the last failure of each. Those without a retry_at wait for somebody to
-- decide: retry, skip or cancel.
CREATE VIEW faulted_workflows AS
SELECT w.id, w.workflow_type, w.entity_id, w.correlation_id, w.current_step, p.kind AS failed_in, p.name AS failed_name,
       p.attempt, CASE WHEN p.cancelled THEN NULL ELSE p.scheduled_at END AS retry_at, p.since AS faulted_at,
       w.failure_category, w.error_message, e.traceback
FROM workflow AS w
LEFT JOIN workflow_parked AS p ON p.workflow_id = w.id
LEFT JOIN execution_error AS e ON e.id = p.error_id
WHERE w.status = 'Faulted';

-- Workflows that an operator has stopped, and what waits for them meanwhile.
CREATE VIEW paused_workflows AS
SELECT w.id, w.workflow_type, w.entity_id, w.correlation_id, w.current_step, p.since AS paused_at, p.actor, p.reason,
       (SELECT COUNT(*) FROM workflow_timer AS t WHERE t.workflow_id = w.id AND t.held) AS held_timers,
       (SELECT COUNT(*) FROM workflow_message AS m WHERE m.workflow_id = w.id) AS held_messages
FROM workflow AS w
LEFT JOIN workflow_parked AS p ON p.workflow_id = w.id
WHERE w.status = 'Paused';

-- How many workflows of each type stand where.
CREATE VIEW workflow_counts AS
SELECT workflow_type, status, COUNT(*) AS workflows
FROM workflow
GROUP BY workflow_type, status;
