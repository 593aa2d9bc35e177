-- name: add_task
INSERT INTO tasks (task, spec, added_at) VALUES (?, ?, ?)
ON CONFLICT (task) DO UPDATE SET spec = excluded.spec;

-- name: remove_task
DELETE FROM tasks WHERE task = ? RETURNING task;

-- name: clear_cases
DELETE FROM cases WHERE task = ?;

-- name: add_case
INSERT INTO cases (task, position, spec) VALUES (?, ?, ?);

-- name: list_tasks
SELECT task, spec FROM tasks ORDER BY task;

-- name: list_cases
SELECT task, spec FROM cases ORDER BY task, position;

-- name: add_rule
INSERT INTO rules (task, prefer, why, added_at) VALUES (?, ?, ?, ?)
ON CONFLICT (task) DO UPDATE SET prefer = excluded.prefer, why = excluded.why;

-- name: remove_rule
DELETE FROM rules WHERE task = ? RETURNING task;

-- name: list_rules
SELECT task, prefer, why FROM rules ORDER BY task;

-- name: put_guessing
INSERT INTO guessing (task, state, at) VALUES (?, ?, ?)
ON CONFLICT (task) DO UPDATE SET state = excluded.state, at = excluded.at;

-- name: remove_guessing
DELETE FROM guessing WHERE task = ?;

-- name: list_guessing
SELECT task, state FROM guessing ORDER BY task;

-- name: add_decision
INSERT INTO decisions (decision, task, alias, version, arm, rollout, probability, reason, detail,
                       caller, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (decision) DO NOTHING;

-- name: add_outcome
INSERT INTO outcomes (decision, task, version, status, error, detail, latency_ms, wait_ms,
                      ttft_ms, prompt_tokens, completion_tokens, cached_tokens, prefill_ms,
                      decode_ms, cpu_ms, cpu_method, cpu_note, grade, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (decision) DO NOTHING;

-- name: get_decision
SELECT decision, task, alias, version, arm, rollout, probability, reason, detail, caller, at
FROM decisions WHERE decision = ?;

-- name: get_outcome
SELECT decision, task, version, status, error, detail, latency_ms, wait_ms, ttft_ms, prompt_tokens,
       completion_tokens, cached_tokens, prefill_ms, decode_ms, cpu_ms, cpu_method, cpu_note,
       grade, at
FROM outcomes WHERE decision = ?;

-- name: get_feedback
SELECT source, kind, score, comment, at FROM feedback WHERE decision = ? ORDER BY source, kind;

-- name: find_feedback
SELECT score, comment FROM feedback WHERE decision = ? AND source = ? AND kind = ?;

-- name: give_feedback
INSERT INTO feedback (decision, source, kind, task, version, score, comment, at)
SELECT d.decision, ?, ?, d.task, COALESCE(o.version, d.version), ?, ?, ?
FROM decisions d LEFT JOIN outcomes o ON o.decision = d.decision
WHERE d.decision = ?
ON CONFLICT (decision, source, kind) DO UPDATE
    SET score = excluded.score, comment = excluded.comment, at = excluded.at
    WHERE feedback.score <> excluded.score OR feedback.comment IS DISTINCT FROM excluded.comment
RETURNING task, version;

-- name: log_feedback
INSERT INTO feedback_log (decision, source, kind, score, comment, at)
VALUES (?, ?, ?, ?, ?, ?);

-- name: add_validation
INSERT INTO validations (version, task, grading, case_digest, score, success, latency_ms, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (version, task, grading, case_digest) DO NOTHING;

-- name: list_validations
SELECT case_digest, score, success, latency_ms FROM validations
WHERE version = ? AND task = ? AND grading = ?;

-- name: sum_validations
SELECT version, task, grading, COUNT(*), SUM(score), SUM(success),
       SUM(CASE WHEN success = 1 THEN latency_ms END),
       SUM(CASE WHEN success = 1 AND latency_ms IS NOT NULL THEN 1 ELSE 0 END)
FROM validations GROUP BY version, task, grading;

-- name: sum_outcomes
SELECT version, task, COUNT(*), COUNT(grade), SUM(grade),
       SUM(CASE WHEN status = 'success' THEN 1 ELSE 0 END),
       SUM(CASE WHEN status = 'success' THEN latency_ms - COALESCE(wait_ms, 0) END),
       SUM(CASE WHEN status = 'success' AND latency_ms IS NOT NULL THEN 1 ELSE 0 END)
FROM outcomes WHERE status IN ('success', 'failure')
  AND COALESCE(error, '') NOT IN ('busy', 'shutting_down', 'server_gone', 'server_cut',
                                  'not_offered')
GROUP BY version, task;

-- name: sum_feedback
SELECT version, task, COUNT(*), SUM(score) FROM feedback GROUP BY version, task;

-- name: count_outcomes
SELECT COUNT(*), SUM(CASE WHEN status = 'failure' THEN 1 ELSE 0 END), SUM(cpu_ms),
       SUM(prompt_tokens), SUM(completion_tokens) FROM outcomes;

-- name: add_attempt
INSERT INTO attempts (decision, position, task, version, error) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (decision, position) DO NOTHING;

-- name: list_attempts
SELECT version, error FROM attempts WHERE decision = ? ORDER BY position;

-- name: sum_attempts
SELECT version, task, COUNT(*) FROM attempts
WHERE error NOT IN ('busy', 'shutting_down', 'server_gone', 'server_cut', 'not_offered')
GROUP BY version, task;
