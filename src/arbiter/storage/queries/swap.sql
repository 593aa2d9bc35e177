-- name: add_unit
INSERT INTO units (rollout, position, unit, task, arm, probability, decision, score, ending,
                   latency_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (rollout, unit) DO NOTHING;

-- name: list_units
SELECT position, unit, task, arm, probability, score, ending, latency_ms FROM units
WHERE rollout = ? ORDER BY position;

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
                      soaked_s, total_s, units_at_step, shadow_only, budgets, continues, reason,
                      findings, knowledge_before, started_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING rollout;

-- name: save_rollout
UPDATE rollouts SET phase = ?, step = ?, soaked_s = ?, total_s = ?, units_at_step = ?,
                    shadow_only = ?, budgets = ?, reason = ?, findings = ?, knowledge_after = ?,
                    ended_at = ?
WHERE rollout = ? AND phase = ? RETURNING rollout;

-- name: log_rollout
INSERT INTO rollout_log (rollout, phase, step, weight, units, who, reason, basis, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: list_active_rollouts
SELECT rollout, alias, stable, candidate, plan, salt, phase, step, soaked_s, total_s,
       units_at_step, shadow_only, budgets, continues, reason, findings, knowledge_before,
       knowledge_after, started_at, ended_at
FROM rollouts WHERE phase IN ('validating', 'progressing', 'paused') ORDER BY rollout;

-- name: list_rollouts
SELECT rollout, alias, stable, candidate, plan, salt, phase, step, soaked_s, total_s,
       units_at_step, shadow_only, budgets, continues, reason, findings, knowledge_before,
       knowledge_after, started_at, ended_at
FROM rollouts ORDER BY rollout DESC LIMIT 200;

-- name: get_rollout
SELECT rollout, alias, stable, candidate, plan, salt, phase, step, soaked_s, total_s,
       units_at_step, shadow_only, budgets, continues, reason, findings, knowledge_before,
       knowledge_after, started_at, ended_at
FROM rollouts WHERE rollout = ?;

-- name: last_promoted
SELECT rollout, alias, stable, candidate, plan, salt, phase, step, soaked_s, total_s,
       units_at_step, shadow_only, budgets, continues, reason, findings, knowledge_before,
       knowledge_after, started_at, ended_at
FROM rollouts WHERE alias = ? AND phase = 'promoted' ORDER BY rollout DESC LIMIT 1;

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
