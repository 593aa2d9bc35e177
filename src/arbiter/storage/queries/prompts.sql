-- name: add_prompt
INSERT INTO prompts (decision, task, messages, expected, answer, at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (decision) DO NOTHING;

-- name: trim_prompts
DELETE FROM prompts
WHERE decision <= (SELECT decision FROM prompts ORDER BY decision DESC LIMIT 1 OFFSET ?);

-- name: expire_prompts
DELETE FROM prompts WHERE at < ?;

-- name: count_prompts
SELECT task, COUNT(*), MIN(at), MAX(at) FROM prompts GROUP BY task ORDER BY task;

-- name: forget_prompts
DELETE FROM prompts WHERE task = ? RETURNING decision;

-- name: forget_all_prompts
DELETE FROM prompts RETURNING decision;

-- name: list_answered_prompts
SELECT p.decision, p.messages, p.expected, p.answer, o.grade, f.score
FROM prompts p JOIN outcomes o ON o.decision = p.decision
LEFT JOIN feedback f
    ON f.decision = p.decision AND f.source = 'person' AND f.kind = 'quality'
WHERE p.task = ? AND (p.expected IS NOT NULL OR o.grade >= ? OR f.score >= ?)
ORDER BY p.decision DESC LIMIT ?;
