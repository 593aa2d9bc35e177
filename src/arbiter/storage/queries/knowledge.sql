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
SELECT source, kind, score, comment, caller FROM feedback
WHERE decision = ? AND is_forgotten = 0 ORDER BY source, kind;

-- name: find_feedback
SELECT score, comment, caller FROM feedback
WHERE decision = ? AND source = ? AND kind = ? AND is_forgotten = 0;

-- name: give_feedback
INSERT INTO feedback (decision, source, kind, task, version, score, comment, caller, at)
SELECT d.decision, ?, ?, d.task, COALESCE(o.version, d.version), ?, ?, ?, ?
FROM decisions d LEFT JOIN outcomes o ON o.decision = d.decision
WHERE d.decision = ?
ON CONFLICT (decision, source, kind) DO UPDATE
    SET score = excluded.score, comment = excluded.comment, caller = excluded.caller,
        at = excluded.at, is_forgotten = 0
    WHERE feedback.score <> excluded.score OR feedback.comment IS DISTINCT FROM excluded.comment
       OR feedback.is_forgotten = 1
RETURNING task, version;

-- name: log_feedback
INSERT INTO feedback_log (decision, source, kind, score, comment, caller, at)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: add_validation
INSERT INTO validations (version, task, grading, case_digest, score, success, latency_ms, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (version, task, grading, case_digest) DO NOTHING;

-- name: list_validations
SELECT case_digest, score, success, CASE WHEN origin IS NULL THEN latency_ms END FROM validations
WHERE version = ? AND task = ? AND grading = ?;

-- How long a case took on another machine says nothing about this one.
-- name: sum_validations
SELECT version, task, grading, COUNT(*), SUM(score), SUM(success),
       SUM(CASE WHEN success = 1 AND origin IS NULL THEN latency_ms END),
       SUM(CASE WHEN success = 1 AND origin IS NULL AND latency_ms IS NOT NULL THEN 1 ELSE 0 END)
FROM validations GROUP BY version, task, grading;

-- name: sum_outcomes
SELECT version, task, COUNT(*), COUNT(grade), SUM(grade),
       SUM(CASE WHEN status = 'success' THEN 1 ELSE 0 END),
       SUM(CASE WHEN status = 'success' THEN latency_ms - COALESCE(wait_ms, 0) END),
       SUM(CASE WHEN status = 'success' AND latency_ms IS NOT NULL THEN 1 ELSE 0 END)
FROM outcomes WHERE status IN ('success', 'failure') AND is_forgotten = 0 GROUP BY version, task;

-- What was carried in from the house O counts as said by O/CALLER there.
-- name: sum_feedback
SELECT version, task, caller, source, COUNT(*), SUM(score) FROM feedback
WHERE is_forgotten = 0 GROUP BY version, task, caller, source
UNION ALL
SELECT version, task, origin || '/' || caller, source, COUNT(*), SUM(score) FROM carried_feedback
GROUP BY version, task, origin, caller, source;

-- name: feedback_graded
SELECT f.caller, f.source, f.score, o.grade, COUNT(*)
FROM feedback f JOIN outcomes o ON o.decision = f.decision
WHERE f.kind = 'quality' AND f.is_forgotten = 0 AND o.grade IS NOT NULL
GROUP BY f.caller, f.source, f.score, o.grade
UNION ALL
SELECT origin || '/' || caller, source, score, grade, COUNT(*) FROM carried_feedback
WHERE kind = 'quality' AND grade IS NOT NULL
GROUP BY origin, caller, source, score, grade;

-- Judgements of answers that no rule graded, where there is more than one of the same answer.
-- name: feedback_together
SELECT '', f.decision, f.source, f.kind, f.score, f.caller
FROM feedback f LEFT JOIN outcomes o ON o.decision = f.decision
WHERE f.kind = 'quality' AND f.is_forgotten = 0 AND o.grade IS NULL
  AND EXISTS (SELECT 1 FROM feedback g WHERE g.decision = f.decision AND g.kind = 'quality'
              AND g.source <> f.source AND g.is_forgotten = 0)
UNION ALL
SELECT origin, decision, source, kind, score, origin || '/' || caller
FROM carried_feedback f
WHERE kind = 'quality' AND grade IS NULL
  AND EXISTS (SELECT 1 FROM carried_feedback g
              WHERE g.origin = f.origin AND g.decision = f.decision AND g.kind = 'quality'
                AND g.source <> f.source);

-- name: sum_carried
SELECT version, task, SUM(samples), SUM(graded), SUM(quality), SUM(successes) FROM carried
GROUP BY version, task;

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
WHERE error NOT IN ('busy', 'shutting_down') AND is_forgotten = 0 GROUP BY version, task;
