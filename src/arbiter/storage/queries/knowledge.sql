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
INSERT INTO rules (task, prefer, pinned, never, why, added_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (task) DO UPDATE
    SET prefer = excluded.prefer, pinned = excluded.pinned, never = excluded.never,
        why = excluded.why;

-- name: remove_rule
DELETE FROM rules WHERE task = ? RETURNING task;

-- name: list_rules
SELECT task, prefer, pinned, never, why FROM rules ORDER BY task;

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
                      decode_ms, cpu_ms, cpu_method, cpu_note, grade, at, prompt_chars,
                      answer_room, needs, load_ms, concurrency)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (decision) DO NOTHING;

-- name: get_decision
SELECT decision, task, alias, version, arm, rollout, probability, reason, detail, caller, at
FROM decisions WHERE decision = ?;

-- name: get_outcome
SELECT decision, task, version, status, error, detail, latency_ms, wait_ms, ttft_ms, prompt_tokens,
       completion_tokens, cached_tokens, prefill_ms, decode_ms, cpu_ms, cpu_method, cpu_note,
       grade, at, prompt_chars, answer_room, needs, load_ms, concurrency
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
ON CONFLICT (version, task, grading, case_digest) DO NOTHING
RETURNING case_digest;

-- name: count_validations_since
SELECT (SELECT COUNT(*) FROM validations v WHERE v.at >= ?)
     + (SELECT COUNT(*) FROM reruns r WHERE r.at >= ?);

-- name: validation_times
SELECT task, grading, case_digest, at FROM validations WHERE version = ?;

-- name: begin_examination
INSERT INTO examinations (version, task, odds, scores, began) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: list_examinations
SELECT version, task, odds, scores, began, ended, cases, fell FROM examinations ORDER BY seq;

-- name: add_rerun
INSERT INTO reruns (version, task, grading, case_digest, score, success, latency_ms, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (version, task, grading, case_digest) DO NOTHING;

-- name: list_reruns
SELECT version, task, grading, case_digest, score, success, latency_ms FROM reruns;

-- name: take_reruns
-- What was forgotten meanwhile stays forgotten.
UPDATE validations SET score = r.score, success = r.success, latency_ms = r.latency_ms,
                       origin = NULL, at = ?
FROM reruns r
WHERE validations.version = ? AND r.version = validations.version AND r.task = validations.task
  AND r.grading = validations.grading AND r.case_digest = validations.case_digest;

-- name: drop_reruns
DELETE FROM reruns WHERE version = ?;

-- name: end_examination
UPDATE examinations SET ended = ?, cases = ?, fell = ? WHERE version = ? AND ended IS NULL;

-- name: list_validations
SELECT case_digest, score, success, CASE WHEN origin IS NULL THEN latency_ms END FROM validations
WHERE version = ? AND task = ? AND grading = ?;

-- name: sum_validations
-- How long a case took on another machine says nothing about this one.
SELECT version, task, grading, COUNT(*), SUM(score), SUM(success),
       SUM(CASE WHEN success = 1 AND origin IS NULL THEN latency_ms END),
       SUM(CASE WHEN success = 1 AND origin IS NULL AND latency_ms IS NOT NULL THEN 1 ELSE 0 END)
FROM validations GROUP BY version, task, grading;

-- name: sum_outcomes
SELECT version, task, COUNT(*), COUNT(grade), SUM(grade),
       SUM(CASE WHEN status = 'success' THEN 1 ELSE 0 END),
       SUM(CASE WHEN status = 'success' THEN latency_ms - COALESCE(wait_ms, 0) END),
       SUM(CASE WHEN status = 'success' AND latency_ms IS NOT NULL THEN 1 ELSE 0 END)
FROM outcomes WHERE status IN ('success', 'failure') AND is_forgotten = 0
  AND COALESCE(error, '') NOT IN ('busy', 'no_room', 'shutting_down', 'server_gone', 'server_cut',
                                  'not_offered', 'key_refused')
GROUP BY version, task;

-- name: sum_feedback
-- What was carried in from the house O counts as said by O/CALLER there.
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

-- name: feedback_together
-- Judgements of answers that no rule graded, where there is more than one of the same answer.
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
WHERE error NOT IN ('busy', 'no_room', 'shutting_down', 'server_gone', 'server_cut', 'not_offered', 'key_refused')
  AND is_forgotten = 0
GROUP BY version, task;

-- name: latest_timed
-- The latest so many answers, and of these the latest of each version and task, oldest first.
SELECT version, task, latency_ms, wait_ms, ttft_ms, prompt_tokens, completion_tokens,
       cached_tokens, prefill_ms, decode_ms, prompt_chars
FROM (SELECT recent.*,
             ROW_NUMBER() OVER (PARTITION BY version, task ORDER BY decision DESC) AS place
      FROM (SELECT decision, version, task, latency_ms, wait_ms, ttft_ms, prompt_tokens,
                   completion_tokens, cached_tokens, prefill_ms, decode_ms, prompt_chars
            FROM outcomes
            WHERE status = 'success' AND latency_ms IS NOT NULL AND is_forgotten = 0
            ORDER BY decision DESC LIMIT ?) AS recent) AS latest
WHERE place <= ? ORDER BY decision;

-- name: latest_asked
-- What the answered ones of the latest so many requests asked of a name.
SELECT o.prompt_tokens, o.completion_tokens, o.answer_room, o.needs
FROM (SELECT decision, alias FROM decisions ORDER BY decision DESC LIMIT ?) AS recent
JOIN outcomes o ON o.decision = recent.decision
WHERE recent.alias = ? AND o.status = 'success' AND o.is_forgotten = 0;

-- name: latest_timed_cases
-- Of a case only the whole time is kept, and what it took on another machine says nothing here.
SELECT version, task, latency_ms, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
FROM (SELECT recent.*,
             ROW_NUMBER() OVER (PARTITION BY version, task ORDER BY at DESC, case_digest) AS place
      FROM (SELECT version, task, latency_ms, case_digest, at FROM validations
            WHERE success = 1 AND origin IS NULL AND latency_ms IS NOT NULL
            ORDER BY at DESC LIMIT ?) AS recent) AS latest
WHERE place <= ? ORDER BY at, case_digest;

-- name: get_house
SELECT house FROM house;

-- name: add_house
INSERT INTO house (only_one, house, made_at) VALUES (1, ?, ?) ON CONFLICT (only_one) DO NOTHING;

-- name: all_validations
SELECT origin, version, task, grading, case_digest, score, success, latency_ms, at
FROM validations;

-- name: own_sums
-- What this house's own requests add up to. The parameters narrow it to a task and a version, and
-- an empty text is any. Last: what is left of the scores from after the last fall, and until when.
SELECT version, task, SUM(samples), SUM(graded), SUM(quality), SUM(successes), SUM(timed),
       SUM(latency_ms), MIN(decision), MAX(decision), SUM(graded * is_left),
       SUM(quality * is_left), MAX(at)
FROM (SELECT decision, version, task, 1 AS samples, at,
             CASE WHEN EXISTS (SELECT 1 FROM falls f
                               WHERE f.version = outcomes.version AND f.since > outcomes.at
                                 AND f.origin IS NULL
                                 AND (f.task IS NULL OR f.task = outcomes.task))
                  THEN 0 ELSE 1 END AS is_left,
             CASE WHEN grade IS NULL THEN 0 ELSE 1 END AS graded,
             COALESCE(grade, 0.0) AS quality,
             CASE WHEN status = 'success' THEN 1 ELSE 0 END AS successes,
             CASE WHEN status = 'success' AND latency_ms IS NOT NULL THEN 1 ELSE 0 END AS timed,
             CASE WHEN status = 'success' THEN COALESCE(latency_ms - COALESCE(wait_ms, 0.0), 0.0)
                  ELSE 0.0 END AS latency_ms
      FROM outcomes WHERE status IN ('success', 'failure') AND is_forgotten = 0
        AND COALESCE(error, '') NOT IN ('busy', 'no_room', 'shutting_down', 'server_gone', 'server_cut',
                                        'not_offered', 'key_refused')
      UNION ALL
      SELECT decision, version, task, 1, '', 1, 0, 0.0, 0, 0, 0.0
      FROM attempts
      WHERE error NOT IN ('busy', 'no_room', 'shutting_down', 'server_gone', 'server_cut', 'not_offered', 'key_refused')
        AND is_forgotten = 0) AS own
WHERE (? = '' OR task = ?) AND (? = '' OR version = ?)
GROUP BY version, task;

-- name: all_carried
SELECT origin, version, task, samples, graded, quality, successes, timed, latency_ms, latest,
       graded_left, quality_left, until
FROM carried;

-- name: own_feedback
SELECT f.decision, f.source, f.kind, f.task, f.version, f.score, o.grade, f.caller, f.at,
       f.is_forgotten
FROM feedback f LEFT JOIN outcomes o ON o.decision = f.decision;

-- name: all_carried_feedback
SELECT origin, decision, source, kind, task, version, score, grade, caller, at
FROM carried_feedback;

-- name: all_lineage
SELECT version, predecessor FROM versions WHERE predecessor IS NOT NULL
UNION ALL
SELECT version, predecessor FROM carried_lineage
WHERE version NOT IN (SELECT version FROM versions WHERE predecessor IS NOT NULL);

-- name: carry_lineage
INSERT INTO carried_lineage (version, predecessor) VALUES (?, ?)
ON CONFLICT (version) DO NOTHING;

-- name: carry_validation
INSERT INTO validations (version, task, grading, case_digest, score, success, latency_ms, origin,
                         at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (version, task, grading, case_digest) DO NOTHING RETURNING version;

-- name: carry_sums
INSERT INTO carried (origin, version, task, samples, graded, quality, successes, timed, latency_ms,
                     latest, graded_left, quality_left, until)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (origin, version, task) DO UPDATE
    SET samples = excluded.samples, graded = excluded.graded, quality = excluded.quality,
        successes = excluded.successes, timed = excluded.timed, latency_ms = excluded.latency_ms,
        latest = excluded.latest, graded_left = excluded.graded_left,
        quality_left = excluded.quality_left, until = excluded.until;

-- name: carry_feedback
INSERT INTO carried_feedback (origin, decision, source, kind, task, version, score, grade, caller,
                              at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (origin, decision, source, kind) DO UPDATE
    SET score = excluded.score, grade = excluded.grade, caller = excluded.caller, at = excluded.at;

-- name: restore_feedback
UPDATE feedback SET is_forgotten = 0 WHERE decision = ? AND source = ? AND kind = ?;

-- name: count_evidence
SELECT (SELECT COUNT(*) FROM validations v
        WHERE (? = '' OR v.task = ?) AND (? = '' OR v.version = ?)),
       (SELECT COUNT(*) FROM feedback f WHERE f.is_forgotten = 0
        AND (? = '' OR f.task = ?) AND (? = '' OR f.version = ?)),
       (SELECT COUNT(*) FROM carried_feedback c
        WHERE (? = '' OR c.task = ?) AND (? = '' OR c.version = ?)),
       (SELECT SUM(samples) FROM carried r
        WHERE (? = '' OR r.task = ?) AND (? = '' OR r.version = ?));

-- name: forget_validations
DELETE FROM validations WHERE (? = '' OR task = ?) AND (? = '' OR version = ?)
RETURNING version, task, grading, score, success,
          CASE WHEN origin IS NULL AND success = 1 THEN latency_ms END;

-- name: forget_outcomes
UPDATE outcomes SET is_forgotten = 1
WHERE is_forgotten = 0 AND (? = '' OR task = ?) AND (? = '' OR version = ?);

-- name: forget_attempts
UPDATE attempts SET is_forgotten = 1
WHERE is_forgotten = 0 AND (? = '' OR task = ?) AND (? = '' OR version = ?);

-- name: forget_feedback
UPDATE feedback SET is_forgotten = 1
WHERE is_forgotten = 0 AND (? = '' OR task = ?) AND (? = '' OR version = ?);

-- name: forget_carried
DELETE FROM carried WHERE (? = '' OR task = ?) AND (? = '' OR version = ?)
RETURNING version, task, samples, graded, quality, successes;

-- name: forget_carried_feedback
DELETE FROM carried_feedback WHERE (? = '' OR task = ?) AND (? = '' OR version = ?);

-- name: add_fall
INSERT INTO falls (version, task, since, origin, at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING;

-- name: list_falls
SELECT version, task, since, origin, at FROM falls ORDER BY seq;

-- name: score_floor
-- When the oldest of the latest so many scores came, or nothing when there are fewer.
SELECT at FROM (
    SELECT at FROM outcomes WHERE grade IS NOT NULL AND is_forgotten = 0
    UNION ALL SELECT at FROM feedback_log
    UNION ALL SELECT at FROM carried_feedback
    UNION ALL SELECT at FROM validations
) AS scores ORDER BY at DESC LIMIT 1 OFFSET ?;

-- name: scores_since
-- Every score from then on, in the order in which they came: what it was before and who said that
-- (a judgement that was changed), and how a case was graded.
SELECT at, version, task, caller, source, score, score_before, caller_before, grading FROM (
    SELECT o.at, o.decision AS place, 0 AS seq, o.version, o.task, '' AS caller,
           'grades' AS source, o.grade AS score, CAST(NULL AS DOUBLE PRECISION) AS score_before,
           CAST(NULL AS TEXT) AS caller_before, CAST(NULL AS TEXT) AS grading
    FROM outcomes o
    WHERE o.grade IS NOT NULL AND o.is_forgotten = 0 AND o.status IN ('success', 'failure')
      AND COALESCE(o.error, '') NOT IN ('busy', 'no_room', 'shutting_down', 'server_gone', 'server_cut',
                                        'not_offered', 'key_refused')
      AND o.at >= ?
    UNION ALL
    SELECT l.at, l.decision, l.seq, f.version, f.task, l.caller, l.source, l.score,
           LAG(l.score) OVER (PARTITION BY l.decision, l.source, l.kind ORDER BY l.seq),
           LAG(l.caller) OVER (PARTITION BY l.decision, l.source, l.kind ORDER BY l.seq), NULL
    FROM feedback_log l
    JOIN feedback f ON f.decision = l.decision AND f.source = l.source AND f.kind = l.kind
    WHERE f.is_forgotten = 0 AND l.at >= ?
    UNION ALL
    SELECT c.at, c.decision, 0, c.version, c.task, c.origin || '/' || c.caller, c.source, c.score,
           NULL, NULL, NULL
    FROM carried_feedback c
    WHERE c.at >= ?
      AND NOT EXISTS (SELECT 1 FROM falls f
                      WHERE f.version = c.version AND f.since > c.at AND f.origin = c.origin
                        AND (f.task IS NULL OR f.task = c.task))
    UNION ALL
    SELECT v.at, v.case_digest, 0, v.version, v.task, '', 'cases', v.score, NULL, NULL, v.grading
    FROM validations v
    WHERE v.at >= ?
      AND NOT EXISTS (SELECT 1 FROM falls f
                      WHERE f.version = v.version AND f.since > v.at AND f.origin = v.origin
                        AND (f.task IS NULL OR f.task = v.task))
) AS scores ORDER BY at, seq, place;

-- name: faded_grades
-- How many grades a version has at a task, how many are left of them when each later one fades it
-- (the first parameters), and their sum. None of those from before a fall are left. Only scores and
-- falls from before a moment (the others).
SELECT version, task, COUNT(*),
       SUM(CASE WHEN is_left = 1 THEN POW(?, CASE WHEN age < 20000 THEN age ELSE 20000 END) ELSE 0.0 END),
       SUM(CASE WHEN is_left = 1 THEN grade * POW(?, CASE WHEN age < 20000 THEN age ELSE 20000 END) ELSE 0.0 END)
FROM (SELECT o.version, o.task, o.grade,
             ROW_NUMBER() OVER (PARTITION BY o.version, o.task
                                ORDER BY o.at DESC, o.decision DESC) - 1 AS age,
             CASE WHEN EXISTS (SELECT 1 FROM falls f
                               WHERE f.version = o.version AND f.since > o.at AND f.at < ?
                                 AND f.origin IS NULL
                                 AND (f.task IS NULL OR f.task = o.task))
                  THEN 0 ELSE 1 END AS is_left
      FROM outcomes o
      WHERE o.grade IS NOT NULL AND o.is_forgotten = 0 AND o.status IN ('success', 'failure')
        AND COALESCE(o.error, '') NOT IN ('busy', 'no_room', 'shutting_down', 'server_gone', 'server_cut',
                                          'not_offered', 'key_refused')
        AND o.at < ?) AS graded
GROUP BY version, task;

-- name: faded_feedback
-- The same of what each caller says, by the kind of its word.
SELECT version, task, caller, kind, COUNT(*),
       SUM(CASE WHEN is_left = 1 THEN POW(?, CASE WHEN age < 20000 THEN age ELSE 20000 END) ELSE 0.0 END),
       SUM(CASE WHEN is_left = 1 THEN score * POW(?, CASE WHEN age < 20000 THEN age ELSE 20000 END) ELSE 0.0 END)
FROM (SELECT s.version, s.task, s.caller, s.kind, s.score,
             ROW_NUMBER() OVER (PARTITION BY s.version, s.task, s.caller, s.kind
                                ORDER BY s.at DESC, s.decision DESC) - 1 AS age,
             CASE WHEN EXISTS (SELECT 1 FROM falls f
                               WHERE f.version = s.version AND f.since > s.at AND (CASE WHEN f.origin IS NULL THEN f.at < ? ELSE f.origin = s.origin END)
                                 AND (f.task IS NULL OR f.task = s.task))
                  THEN 0 ELSE 1 END AS is_left
      FROM (SELECT NULL AS origin, version, task, caller, score, at, decision,
                   CASE WHEN source IN ('person', 'grader', 'judge', 'implicit') THEN source
                        ELSE 'other' END AS kind
            FROM feedback WHERE is_forgotten = 0
            UNION ALL
            SELECT origin, version, task, origin || '/' || caller, score, at, decision,
                   CASE WHEN source IN ('person', 'grader', 'judge', 'implicit') THEN source
                        ELSE 'other' END
            FROM carried_feedback) AS s
      WHERE s.at < ?) AS said
GROUP BY version, task, caller, kind;

-- name: standing_cases
-- How many cases were run on a version, how many of them from after it fell, and their sum.
SELECT version, task, grading, COUNT(*), SUM(is_left), SUM(is_left * score)
FROM (SELECT v.version, v.task, v.grading, v.score,
             CASE WHEN EXISTS (SELECT 1 FROM falls f
                               WHERE f.version = v.version AND f.since > v.at
                                 AND (CASE WHEN f.origin IS NULL THEN f.at < ?
                                           ELSE f.origin = v.origin END)
                                 AND (f.task IS NULL OR f.task = v.task))
                  THEN 0 ELSE 1 END AS is_left
      FROM validations v WHERE v.at < ?) AS cases_run
GROUP BY version, task, grading;

-- name: standing_carried
-- What is left of the sums of other houses, by when the last of their scores came.
SELECT until, version, task, graded_left, quality_left FROM carried
WHERE graded_left > 0 ORDER BY until, origin;

-- name: replay_decisions
-- What a rule, a grader or a person said of the answer, whoever is the first to have said anything.
SELECT d.at, d.task, d.alias, d.arm, d.probability, d.reason, d.detail, o.version, o.status,
       o.latency_ms - COALESCE(o.wait_ms, 0),
       COALESCE(o.grade,
                (SELECT f.score FROM feedback f WHERE f.decision = d.decision
                  AND f.kind = 'quality' AND f.source = 'grader' AND f.is_forgotten = 0),
                (SELECT f.score FROM feedback f WHERE f.decision = d.decision
                  AND f.kind = 'quality' AND f.source = 'person' AND f.is_forgotten = 0))
FROM decisions d JOIN outcomes o ON o.decision = d.decision
WHERE o.status IN ('success', 'failure') AND o.is_forgotten = 0
  AND COALESCE(o.error, '') NOT IN ('busy', 'no_room', 'shutting_down', 'server_gone', 'server_cut',
                                    'not_offered', 'key_refused')
ORDER BY d.at, d.decision;

-- name: replay_cases
SELECT at, task, version, score, success, CASE WHEN origin IS NULL THEN latency_ms END
FROM validations ORDER BY at, version, task, case_digest;

-- name: forget_falls
DELETE FROM falls WHERE (? = '' OR task = ?) AND (? = '' OR version = ?);
