-- name: add_unit
INSERT INTO units (rollout, position, unit, task, arm, probability, decision, score, ending,
                   latency_ms, awaits)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (rollout, unit) DO NOTHING;

-- name: list_units
SELECT u.position, u.unit, u.task, u.arm, u.probability, COALESCE(u.score, j.score), u.ending,
       u.latency_ms, u.decision, CASE WHEN j.score IS NULL THEN u.awaits ELSE 0 END
FROM units u LEFT JOIN unit_judgements j ON j.rollout = u.rollout AND j.position = u.position
WHERE u.rollout = ? ORDER BY u.position;

-- name: judge_unit
INSERT INTO unit_judgements (rollout, position, score, is_late, at)
SELECT u.rollout, u.position, COALESCE(f.score, 0.0), CASE WHEN f.score IS NULL THEN 1 ELSE 0 END, ?
FROM units u LEFT JOIN feedback_log f
     ON f.seq = (SELECT MIN(g.seq) FROM feedback_log g
                 WHERE g.decision = u.decision AND g.source IN ('person', 'judge'))
WHERE u.rollout = ? AND u.position = ? AND u.awaits = 1 AND (f.score IS NOT NULL OR ? = 1)
ON CONFLICT (rollout, position) DO NOTHING RETURNING score;

-- name: count_judged
SELECT is_late, COUNT(*) FROM unit_judgements WHERE rollout = ? GROUP BY is_late;

-- name: add_pair
INSERT INTO pairs (rollout, position, unit, task, arm, share, decision, old, new)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (rollout, unit) DO NOTHING;

-- name: list_pairs
SELECT position, unit, task, arm, share, old, new FROM pairs
WHERE rollout = ? ORDER BY position;

-- name: list_candidate_ends
SELECT o.status, o.error, a.error
FROM decisions d JOIN outcomes o ON o.decision = d.decision
LEFT JOIN attempts a ON a.decision = d.decision AND a.position = 0
WHERE d.rollout = ? AND d.arm = 'candidate' AND o.status IN ('success', 'failure')
ORDER BY o.at, d.decision;

-- name: add_rollout
INSERT INTO rollouts (rollout, alias, stable, candidate, plan, plan_digest, salt, phase, step,
                      soaked_s, total_s, sliced_s, units_at_step, shadow_only, budgets, continues,
                      reason, findings, knowledge_before, started_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING rollout;

-- name: save_rollout
UPDATE rollouts SET phase = ?, step = ?, soaked_s = ?, total_s = ?, sliced_s = ?,
                    units_at_step = ?, shadow_only = ?, budgets = ?, reason = ?, findings = ?, knowledge_after = ?,
                    ended_at = ?
WHERE rollout = ? AND phase = ? RETURNING rollout;

-- name: log_rollout
INSERT INTO rollout_log (rollout, phase, step, weight, units, who, reason, basis, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: list_active_rollouts
SELECT rollout, alias, stable, candidate, plan, salt, phase, step, soaked_s, total_s,
       sliced_s, units_at_step, shadow_only, budgets, continues, reason, findings, knowledge_before,
       knowledge_after, started_at, ended_at
FROM rollouts WHERE phase IN ('validating', 'progressing', 'paused') ORDER BY rollout;

-- name: list_rollouts
SELECT rollout, alias, stable, candidate, plan, salt, phase, step, soaked_s, total_s,
       sliced_s, units_at_step, shadow_only, budgets, continues, reason, findings, knowledge_before,
       knowledge_after, started_at, ended_at
FROM rollouts WHERE ? = '' OR rollout < ? ORDER BY rollout DESC LIMIT ?;

-- name: get_rollout
SELECT rollout, alias, stable, candidate, plan, salt, phase, step, soaked_s, total_s,
       sliced_s, units_at_step, shadow_only, budgets, continues, reason, findings, knowledge_before,
       knowledge_after, started_at, ended_at
FROM rollouts WHERE rollout = ?;

-- name: last_promoted
SELECT rollout, alias, stable, candidate, plan, salt, phase, step, soaked_s, total_s,
       sliced_s, units_at_step, shadow_only, budgets, continues, reason, findings, knowledge_before,
       knowledge_after, started_at, ended_at
FROM rollouts WHERE alias = ? AND phase IN ('promoted', 'undone') ORDER BY rollout DESC LIMIT 1;

-- name: retried_as
SELECT rollout FROM rollouts WHERE continues = ? ORDER BY rollout DESC LIMIT 1;

-- name: list_rollout_log
SELECT phase, step, weight, units, who, reason, basis, at FROM rollout_log
WHERE rollout = ? ORDER BY seq;

-- name: rollout_plan_digest
SELECT plan_digest FROM rollouts WHERE rollout = ?;

-- name: get_lease
SELECT holder, beat FROM leases WHERE rollout = ?;

-- name: take_lease
INSERT INTO leases (rollout, holder, beat) VALUES (?, ?, 1)
ON CONFLICT (rollout) DO UPDATE SET holder = excluded.holder, beat = leases.beat + 1
WHERE leases.beat = ? RETURNING beat;

-- name: hold_lease
UPDATE leases SET beat = beat + 1 WHERE rollout = ? AND holder = ? RETURNING beat;

-- name: drop_lease
DELETE FROM leases WHERE rollout = ? AND holder = ?;

-- name: add_watch
INSERT INTO watches (rollout, before, left_s) VALUES (?, ?, ?) RETURNING rollout;

-- name: list_watches
SELECT rollout, before, left_s, ended_at, why FROM watches WHERE ended_at IS NULL ORDER BY rollout;

-- name: get_watch
SELECT rollout, before, left_s, ended_at, why FROM watches WHERE rollout = ?;

-- name: count_watch
UPDATE watches SET left_s = ? WHERE rollout = ? AND ended_at IS NULL RETURNING rollout;

-- name: end_watch
UPDATE watches SET ended_at = ?, why = ? WHERE rollout = ? AND ended_at IS NULL RETURNING rollout;

-- name: add_alarm
INSERT INTO alarms (rollout, sign, sentence, basis, at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (rollout, sign) DO NOTHING RETURNING sign;

-- name: list_alarms
SELECT sign, sentence, basis, at FROM alarms WHERE rollout = ? ORDER BY sign;

-- name: add_after_unit
INSERT INTO after_units (rollout, position, unit, task, arm, probability, decision, score, ending,
                         latency_ms, awaits)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (rollout, unit) DO NOTHING;

-- name: list_after_units
SELECT u.position, u.unit, u.task, u.arm, u.probability, COALESCE(u.score, j.score), u.ending,
       u.latency_ms, u.decision, CASE WHEN j.position IS NULL THEN u.awaits ELSE 0 END, u.awaits
FROM after_units u LEFT JOIN after_judgements j ON j.rollout = u.rollout AND j.position = u.position
WHERE u.rollout = ? ORDER BY u.position;

-- name: judge_after_unit
INSERT INTO after_judgements (rollout, position, score, at)
SELECT u.rollout, u.position, f.score, ?
FROM after_units u LEFT JOIN feedback_log f
     ON f.seq = (SELECT MIN(g.seq) FROM feedback_log g
                 WHERE g.decision = u.decision AND g.source IN ('person', 'judge'))
WHERE u.rollout = ? AND u.position = ? AND u.awaits = 1 AND (f.score IS NOT NULL OR ? = 1)
ON CONFLICT (rollout, position) DO NOTHING RETURNING score;
