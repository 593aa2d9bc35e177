-- name: add_cost
INSERT INTO costs (decision, energy_mwh, energy_method, energy_error_pct, energy_note, energy_by,
                   gpu_ms, gpu_method, gpu_note, peak_bytes, mean_bytes, memory_method,
                   memory_note, device_bytes, device_method, device_note)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (decision) DO NOTHING;

-- name: get_cost
SELECT energy_mwh, energy_method, energy_error_pct, energy_note, energy_by, gpu_ms, gpu_method,
       gpu_note, peak_bytes, mean_bytes, memory_method, memory_note, device_bytes, device_method,
       device_note
FROM costs WHERE decision = ?;

-- name: list_costs
-- The latest so many requests that ended, since a moment, with what they cost.
SELECT d.decision, d.task, d.alias, o.version, d.caller, d.at, o.status, o.latency_ms, o.wait_ms,
       o.ttft_ms, o.prompt_tokens, o.completion_tokens, o.cached_tokens, o.prefill_ms, o.decode_ms,
       o.cpu_ms, o.grade, c.energy_mwh, c.energy_method, c.gpu_ms, c.peak_bytes, o.load_ms,
       o.concurrency
FROM outcomes o JOIN decisions d ON d.decision = o.decision
     LEFT JOIN costs c ON c.decision = o.decision
WHERE d.at >= ? ORDER BY d.at DESC, d.decision DESC LIMIT ?;

-- name: add_try
INSERT INTO tries (decision, position, version, place, error, took_ms, cpu_ms, gpu_ms, energy_mwh,
                   energy_method, peak_bytes, cost)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (decision, position) DO NOTHING;

-- name: get_tries
SELECT version, place, error, took_ms, cost FROM tries WHERE decision = ? ORDER BY position;

-- name: list_tries
-- What the tries of requests that ended used in vain, since a moment.
SELECT d.task, d.alias, t.version, d.caller, d.at, t.cpu_ms, t.gpu_ms, t.energy_mwh,
       t.energy_method, t.peak_bytes, o.grade
FROM tries t JOIN decisions d ON d.decision = t.decision
     JOIN outcomes o ON o.decision = t.decision
WHERE t.error IS NOT NULL AND d.at >= ? ORDER BY t.decision, t.position;

-- name: sum_energy
-- What counters gave to the answers of each version at each task, tries in vain with no answer.
SELECT version, task, SUM(energy_mwh), SUM(answers), alone
FROM (SELECT o.version, o.task, c.energy_mwh,
             CASE o.status WHEN 'success' THEN 1 ELSE 0 END AS answers,
             CASE c.energy_method WHEN 'measured' THEN 1 ELSE 0 END AS alone
      FROM costs c JOIN outcomes o ON o.decision = c.decision
      WHERE c.energy_method IN ('measured', 'shared') AND o.status IN ('success', 'failure')
        AND o.is_forgotten = 0
      UNION ALL
      SELECT t.version, d.task, t.energy_mwh, 0,
             CASE t.energy_method WHEN 'measured' THEN 1 ELSE 0 END
      FROM tries t JOIN decisions d ON d.decision = t.decision
           JOIN outcomes o ON o.decision = t.decision AND o.is_forgotten = 0
      WHERE t.energy_method IN ('measured', 'shared') AND t.error <> 'cancelled') AS own
GROUP BY version, task, alone;
