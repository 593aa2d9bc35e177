-- The house as it first stood. A migration is never edited after a release; add the next number.
-- Only SQL that PostgreSQL understands too, so that one set of files serves both.
-- Times are RFC 3339 text in UTC; digests are 'sha256:' and 64 hexadecimal digits.

CREATE TABLE versions (
    version         TEXT PRIMARY KEY CHECK (length(version) = 71 AND version LIKE 'sha256:%'),
    format          TEXT NOT NULL,
    path            TEXT NOT NULL,
    artifact        TEXT NOT NULL,               -- JSON: what was read from the file
    predecessor     TEXT REFERENCES versions (version),
    standing        TEXT NOT NULL DEFAULT 'active'
                    CHECK (standing IN ('active', 'candidate', 'rolled_back', 'retired')),
    registered_at   TEXT NOT NULL
);

CREATE TABLE names (
    name            TEXT PRIMARY KEY,
    version         TEXT NOT NULL REFERENCES versions (version),
    kind            TEXT NOT NULL CHECK (kind IN ('model', 'alias')),
    moved_at        TEXT NOT NULL
);

-- Where a version is found that another program serves. A place has one version at a time.
CREATE TABLE places (
    url             TEXT NOT NULL,
    model           TEXT NOT NULL,
    engine          TEXT NOT NULL,
    version         TEXT NOT NULL REFERENCES versions (version),
    seen_at         TEXT NOT NULL,
    PRIMARY KEY (url, model)
);

CREATE TABLE moves (
    seq             INTEGER PRIMARY KEY,
    name            TEXT NOT NULL,
    from_version    TEXT,
    to_version      TEXT,
    who             TEXT NOT NULL,
    why             TEXT NOT NULL,
    rollout         TEXT,
    keep_until      TEXT,                        -- the old version stays warm until then
    at              TEXT NOT NULL
);

CREATE TABLE tasks (
    task            TEXT PRIMARY KEY,
    spec            TEXT NOT NULL,               -- JSON: needs, limits, grader, weights
    added_at        TEXT NOT NULL
);

CREATE TABLE cases (
    task            TEXT NOT NULL REFERENCES tasks (task) ON DELETE CASCADE,
    position        INTEGER NOT NULL,
    spec            TEXT NOT NULL,               -- JSON: messages, expected
    PRIMARY KEY (task, position)
);

CREATE TABLE rules (
    task            TEXT PRIMARY KEY,
    prefer          TEXT,
    pinned          TEXT,                        -- this alias or nobody
    never           TEXT NOT NULL,               -- JSON: aliases that are not to be taken
    why             TEXT NOT NULL,
    added_at        TEXT NOT NULL,
    CHECK (prefer IS NULL OR pinned IS NULL),
    CHECK (prefer IS NOT NULL OR pinned IS NOT NULL OR never <> '[]')
);

-- What guesses of a task are made from: how often each hashed trait was there. No prompt.
CREATE TABLE guessing (
    task            TEXT PRIMARY KEY,            -- or '' for what belongs to no task
    state           TEXT NOT NULL,               -- JSON
    at              TEXT NOT NULL
);

-- Graded cases that were run on a version: its first samples. A case scored by another grader is
-- another measurement, so the grading is part of what a row is known by. The version need not be
-- registered: what another house measured is kept for the day when it is.
CREATE TABLE validations (
    version         TEXT NOT NULL CHECK (length(version) = 71 AND version LIKE 'sha256:%'),
    task            TEXT NOT NULL,
    grading         TEXT NOT NULL,
    case_digest     TEXT NOT NULL,
    score           DOUBLE PRECISION NOT NULL CHECK (score BETWEEN 0 AND 1),
    success         INTEGER NOT NULL CHECK (success IN (0, 1)),
    latency_ms      DOUBLE PRECISION CHECK (latency_ms >= 0),
    origin          TEXT,                        -- the house that ran it; NULL: this one
    at              TEXT NOT NULL,
    PRIMARY KEY (version, task, grading, case_digest)
);

CREATE INDEX validations_by_time ON validations (at);

-- A version's cases are run again because it may have got worse (swap/examining.py). task NULL: in
-- general. scores: how many the version ever had when this began. ended NULL: not yet.
CREATE TABLE examinations (
    seq             INTEGER PRIMARY KEY,
    version         TEXT NOT NULL,
    task            TEXT,
    odds            DOUBLE PRECISION NOT NULL,
    scores          DOUBLE PRECISION NOT NULL,
    began           TEXT NOT NULL,
    ended           TEXT,
    cases           INTEGER,
    fell            INTEGER CHECK (fell IN (0, 1))
);

CREATE UNIQUE INDEX one_examination_at_a_time ON examinations (version) WHERE ended IS NULL;

-- Results of an examination that has not ended: they count when it has.
CREATE TABLE reruns (
    version         TEXT NOT NULL,
    task            TEXT NOT NULL,
    grading         TEXT NOT NULL,
    case_digest     TEXT NOT NULL,
    score           DOUBLE PRECISION NOT NULL CHECK (score BETWEEN 0 AND 1),
    success         INTEGER NOT NULL CHECK (success IN (0, 1)),
    latency_ms      DOUBLE PRECISION CHECK (latency_ms >= 0),
    at              TEXT NOT NULL,
    PRIMARY KEY (version, task, grading, case_digest)
);

-- Measured at its loads: what an instance of this version held on this host, and how long it took.
CREATE TABLE footprints (
    version         TEXT NOT NULL REFERENCES versions (version),
    context         INTEGER NOT NULL,
    slots           INTEGER NOT NULL,
    host            TEXT NOT NULL,
    memory          TEXT NOT NULL,               -- 'host', or an accelerator of it
    total_bytes     BIGINT NOT NULL CHECK (total_bytes > 0),
    load_s          DOUBLE PRECISION CHECK (load_s >= 0),
    method          TEXT NOT NULL,
    at              TEXT NOT NULL,
    PRIMARY KEY (version, context, slots, host, memory)
);

-- What a person wants to have in memory, whatever version it is; until NULL: for good.
CREATE TABLE pins (
    name            TEXT PRIMARY KEY,
    until           TEXT,
    at              TEXT NOT NULL
);

CREATE TABLE decisions (
    decision        TEXT PRIMARY KEY,
    task            TEXT NOT NULL,
    alias           TEXT NOT NULL,
    version         TEXT NOT NULL,
    arm             TEXT NOT NULL CHECK (arm IN
                        ('none', 'stable', 'candidate', 'promoted', 'holdback')),
    rollout         TEXT,
    probability     DOUBLE PRECISION NOT NULL CHECK (probability > 0 AND probability <= 1),
    reason          TEXT NOT NULL,
    detail          TEXT NOT NULL,               -- JSON: scores, drops, fallback
    caller          TEXT NOT NULL,
    at              TEXT NOT NULL
);

CREATE INDEX decisions_by_time ON decisions (at);

CREATE TABLE outcomes (
    decision        TEXT PRIMARY KEY REFERENCES decisions (decision),
    task            TEXT NOT NULL,
    version         TEXT NOT NULL,               -- the version that served it, or failed last
    status          TEXT NOT NULL CHECK (status IN ('success', 'failure', 'cancelled', 'refused')),
    error           TEXT,                        -- the error's code
    detail          TEXT,                        -- its sentence, for whoever runs the house
    latency_ms      DOUBLE PRECISION CHECK (latency_ms >= 0),
    wait_ms         DOUBLE PRECISION CHECK (wait_ms >= 0),  -- the part spent on a slot or a load
    load_ms         DOUBLE PRECISION CHECK (load_ms >= 0),  -- the part of that spent on a load
    ttft_ms         DOUBLE PRECISION CHECK (ttft_ms >= 0),
    prompt_chars    INTEGER CHECK (prompt_chars >= 0),  -- how long it was, to learn the ratio
    prompt_tokens   INTEGER CHECK (prompt_tokens >= 0),
    completion_tokens INTEGER CHECK (completion_tokens >= 0),
    cached_tokens   INTEGER CHECK (cached_tokens >= 0),
    prefill_ms      DOUBLE PRECISION CHECK (prefill_ms >= 0),
    decode_ms       DOUBLE PRECISION CHECK (decode_ms >= 0),
    cpu_ms          DOUBLE PRECISION CHECK (cpu_ms >= 0),
    cpu_method      TEXT NOT NULL,
    cpu_note        TEXT,
    concurrency     DOUBLE PRECISION CHECK (concurrency >= 1),  -- among how many it ran on average
    grade           DOUBLE PRECISION CHECK (grade BETWEEN 0 AND 1),
    answer_room     INTEGER CHECK (answer_room >= 0),  -- tokens asked for as the answer's most
    needs           TEXT,                        -- words: what the version had to be able to do
    is_forgotten    INTEGER NOT NULL DEFAULT 0 CHECK (is_forgotten IN (0, 1)),
    at              TEXT NOT NULL
);

CREATE INDEX outcomes_by_version ON outcomes (version, task);

-- The rest of a request's receipt, which is known a moment after its end. No row: nothing of it
-- could be read. Where a value is NULL its note says why.
CREATE TABLE costs (
    decision        TEXT PRIMARY KEY REFERENCES decisions (decision),
    energy_mwh      DOUBLE PRECISION CHECK (energy_mwh >= 0),
    energy_method   TEXT NOT NULL,
    energy_error_pct DOUBLE PRECISION CHECK (energy_error_pct >= 0),
    energy_note     TEXT,
    energy_by       TEXT NOT NULL,               -- JSON: milliwatt-hours by part of the machine
    gpu_ms          DOUBLE PRECISION CHECK (gpu_ms >= 0),
    gpu_method      TEXT NOT NULL,
    gpu_note        TEXT,
    peak_bytes      BIGINT CHECK (peak_bytes >= 0),
    mean_bytes      BIGINT CHECK (mean_bytes >= 0),
    memory_method   TEXT NOT NULL,
    memory_note     TEXT,
    device_bytes    BIGINT CHECK (device_bytes >= 0),
    device_method   TEXT NOT NULL,
    device_note     TEXT
);

-- Tries of a request that was tried more than once, or in vain. What those used that gave no answer
-- is the request's cost too.
CREATE TABLE tries (
    decision        TEXT NOT NULL REFERENCES decisions (decision),
    position        INTEGER NOT NULL,
    version         TEXT NOT NULL,
    place           TEXT,                        -- the process or the server that was asked
    error           TEXT,                        -- NULL: it answered, and its cost is in costs
    took_ms         DOUBLE PRECISION NOT NULL CHECK (took_ms >= 0),
    cpu_ms          DOUBLE PRECISION CHECK (cpu_ms >= 0),
    gpu_ms          DOUBLE PRECISION CHECK (gpu_ms >= 0),
    energy_mwh      DOUBLE PRECISION CHECK (energy_mwh >= 0),
    energy_method   TEXT NOT NULL,
    peak_bytes      BIGINT CHECK (peak_bytes >= 0),
    cost            TEXT NOT NULL,               -- JSON: every figure with its method and its note
    PRIMARY KEY (decision, position)
);

CREATE TABLE feedback (
    decision        TEXT NOT NULL REFERENCES decisions (decision),
    source          TEXT NOT NULL,
    kind            TEXT NOT NULL,
    task            TEXT NOT NULL,
    version         TEXT NOT NULL,
    score           DOUBLE PRECISION NOT NULL CHECK (score BETWEEN 0 AND 1),
    comment         TEXT,
    caller          TEXT NOT NULL,               -- who gave it: a key's id, or who runs the house
    is_forgotten    INTEGER NOT NULL DEFAULT 0 CHECK (is_forgotten IN (0, 1)),
    at              TEXT NOT NULL,
    PRIMARY KEY (decision, source, kind)
);

-- Every feedback that ever changed something, in order: the table above holds the latest.
CREATE TABLE feedback_log (
    seq             INTEGER PRIMARY KEY,
    decision        TEXT NOT NULL,
    source          TEXT NOT NULL,
    kind            TEXT NOT NULL,
    score           DOUBLE PRECISION NOT NULL,
    comment         TEXT,
    caller          TEXT NOT NULL,
    at              TEXT NOT NULL
);

-- A version that silently got worse: what it earned before counts no more. task NULL: at all tasks.
CREATE TABLE falls (
    seq             INTEGER PRIMARY KEY,
    version         TEXT NOT NULL,
    task            TEXT,
    since           TEXT NOT NULL,               -- when the first score of the loss came
    origin          TEXT,                        -- the house that noticed it; NULL: this one
    at              TEXT NOT NULL                -- when the score came that showed it
);

CREATE UNIQUE INDEX one_fall_once ON falls
    (version, COALESCE(task, ''), since, COALESCE(origin, ''));

-- Requests with their answers, only while privacy.store_prompts is on: see knowledge/prompts.py.
CREATE TABLE prompts (
    decision        TEXT PRIMARY KEY REFERENCES decisions (decision),
    task            TEXT NOT NULL,
    messages        TEXT NOT NULL,               -- JSON
    expected        TEXT,                        -- the right answer, when it came along
    answer          TEXT NOT NULL,
    at              TEXT NOT NULL
);

CREATE INDEX prompts_by_task ON prompts (task, decision);

-- Which house this is: what it measured is known by this when it is carried to another one.
CREATE TABLE house (
    only_one        INTEGER PRIMARY KEY CHECK (only_one = 1),
    house           TEXT NOT NULL,
    made_at         TEXT NOT NULL
);

-- What requests at other houses added up to, as it was carried in. The latest sums of a house
-- replace its earlier ones; latest is the last decision that is in them. What is left is the part of
-- the scores from after the version last fell there, until the last of them came.
CREATE TABLE carried (
    origin          TEXT NOT NULL,
    version         TEXT NOT NULL CHECK (length(version) = 71 AND version LIKE 'sha256:%'),
    task            TEXT NOT NULL,
    samples         INTEGER NOT NULL CHECK (samples >= 0),
    graded          INTEGER NOT NULL CHECK (graded BETWEEN 0 AND samples),
    quality         DOUBLE PRECISION NOT NULL CHECK (quality BETWEEN 0 AND graded),
    successes       INTEGER NOT NULL CHECK (successes BETWEEN 0 AND samples),
    timed           INTEGER NOT NULL CHECK (timed BETWEEN 0 AND successes),
    latency_ms      DOUBLE PRECISION NOT NULL CHECK (latency_ms >= 0),
    latest          TEXT NOT NULL,
    graded_left     INTEGER NOT NULL CHECK (graded_left BETWEEN 0 AND graded),
    quality_left    DOUBLE PRECISION NOT NULL CHECK (quality_left BETWEEN 0 AND quality),
    until           TEXT NOT NULL,               -- '' when it is not known
    PRIMARY KEY (origin, version, task)
);

-- Judgements that were given at other houses. grade: what a rule gave the same answer there.
CREATE TABLE carried_feedback (
    origin          TEXT NOT NULL,
    decision        TEXT NOT NULL,
    source          TEXT NOT NULL,
    kind            TEXT NOT NULL,
    task            TEXT NOT NULL,
    version         TEXT NOT NULL CHECK (length(version) = 71 AND version LIKE 'sha256:%'),
    score           DOUBLE PRECISION NOT NULL CHECK (score BETWEEN 0 AND 1),
    grade           DOUBLE PRECISION CHECK (grade BETWEEN 0 AND 1),
    caller          TEXT NOT NULL,
    at              TEXT NOT NULL,
    PRIMARY KEY (origin, decision, source, kind)
);

-- Which version came after which, as other houses know it.
CREATE TABLE carried_lineage (
    version         TEXT PRIMARY KEY CHECK (length(version) = 71 AND version LIKE 'sha256:%'),
    predecessor     TEXT NOT NULL
);

CREATE TABLE rollouts (
    rollout         TEXT PRIMARY KEY,
    alias           TEXT NOT NULL,
    stable          TEXT NOT NULL REFERENCES versions (version),
    candidate       TEXT NOT NULL REFERENCES versions (version),
    plan            TEXT NOT NULL,
    plan_digest     TEXT NOT NULL,
    salt            TEXT NOT NULL,
    phase           TEXT NOT NULL CHECK (phase IN ('validating', 'progressing', 'paused',
                        'promoted', 'rolled_back', 'blocked', 'aborted', 'undone')),
    step            INTEGER NOT NULL CHECK (step >= 0),
    soaked_s        DOUBLE PRECISION NOT NULL CHECK (soaked_s >= 0),
    total_s         DOUBLE PRECISION NOT NULL CHECK (total_s >= 0),
    sliced_s        DOUBLE PRECISION NOT NULL DEFAULT 0 CHECK (sliced_s >= 0),  -- of time slices
    units_at_step   INTEGER NOT NULL CHECK (units_at_step >= 0),
    shadow_only     INTEGER NOT NULL DEFAULT 0 CHECK (shadow_only IN (0, 1)),
    budgets         INTEGER NOT NULL DEFAULT 1 CHECK (budgets >= 1),
    continues       TEXT REFERENCES rollouts (rollout),  -- goes on with the evidence of this one
    reason          TEXT NOT NULL,
    findings        TEXT NOT NULL,               -- JSON: validation and compatibility
    knowledge_before TEXT NOT NULL,
    knowledge_after TEXT,
    started_at      TEXT NOT NULL,
    ended_at        TEXT
);

-- One active rollout an alias, and a version is the candidate of one rollout at a time.
CREATE UNIQUE INDEX one_active_rollout ON rollouts (alias)
    WHERE phase IN ('validating', 'progressing', 'paused');
CREATE UNIQUE INDEX one_active_candidate ON rollouts (candidate)
    WHERE phase IN ('validating', 'progressing', 'paused');

-- What was done to a rollout, by whom and why.
CREATE TABLE rollout_log (
    seq             INTEGER PRIMARY KEY,
    rollout         TEXT NOT NULL REFERENCES rollouts (rollout),
    phase           TEXT NOT NULL,
    step            INTEGER NOT NULL,
    weight          DOUBLE PRECISION NOT NULL,
    units           INTEGER NOT NULL,
    who             TEXT NOT NULL,
    reason          TEXT NOT NULL,
    basis           TEXT NOT NULL,               -- JSON: what it was decided on, to repeat it
    at              TEXT NOT NULL
);

-- Who drives a rollout. A holder raises the beat; one that stands still has expired.
CREATE TABLE leases (
    rollout         TEXT PRIMARY KEY REFERENCES rollouts (rollout),
    holder          TEXT NOT NULL,
    beat            INTEGER NOT NULL CHECK (beat >= 1)
);

-- Assignment units: one a conversation. The position is the order of assignment; the arm and its
-- probability were fixed then. A row is written when the unit's first request has ended, so a
-- missing position was in flight when the house died. score NULL: no rule graded it. ending NULL:
-- it says nothing of the version that was drawn; latency_ms is without the wait for a slot or load.
CREATE TABLE units (
    rollout         TEXT NOT NULL REFERENCES rollouts (rollout),
    position        INTEGER NOT NULL CHECK (position >= 0),
    unit            TEXT NOT NULL,
    task            TEXT NOT NULL,
    arm             TEXT NOT NULL CHECK (arm IN ('stable', 'candidate')),
    probability     DOUBLE PRECISION NOT NULL CHECK (probability > 0 AND probability < 1),
    decision        TEXT NOT NULL,
    score           DOUBLE PRECISION CHECK (score BETWEEN 0 AND 1),
    ending          TEXT CHECK (ending IN ('answered', 'load', 'oom', 'timeout', 'empty', 'crash')),
    latency_ms      DOUBLE PRECISION CHECK (latency_ms >= 0),
    awaits          INTEGER NOT NULL DEFAULT 0 CHECK (awaits IN (0, 1)),  -- to be judged
    PRIMARY KEY (rollout, position),
    CHECK (awaits = 0 OR score IS NULL)
);

-- What became of the units that a coin chose to be judged: the first judgement, or 0 when it was
-- late. The first row stays.
CREATE TABLE unit_judgements (
    rollout         TEXT NOT NULL,
    position        INTEGER NOT NULL,
    score           DOUBLE PRECISION NOT NULL CHECK (score BETWEEN 0 AND 1),
    is_late         INTEGER NOT NULL CHECK (is_late IN (0, 1)),
    at              TEXT NOT NULL,
    PRIMARY KEY (rollout, position),
    FOREIGN KEY (rollout, position) REFERENCES units (rollout, position)
);

CREATE UNIQUE INDEX one_row_a_unit ON units (rollout, unit);

-- A promotion is watched for as long as the old version is kept, in seconds of an open house.
CREATE TABLE watches (
    rollout         TEXT PRIMARY KEY REFERENCES rollouts (rollout),
    before          TEXT NOT NULL,               -- JSON: what grades had come to by then
    left_s          DOUBLE PRECISION NOT NULL CHECK (left_s >= 0),
    ended_at        TEXT,
    why             TEXT,                        -- it ended
    CHECK ((ended_at IS NULL) = (why IS NULL))
);

-- Alarms that went off after a promotion: each once.
CREATE TABLE alarms (
    rollout         TEXT NOT NULL REFERENCES watches (rollout),
    sign            TEXT NOT NULL CHECK (sign IN ('drifted', 'drift_suspected')),
    sentence        TEXT NOT NULL,
    basis           TEXT NOT NULL,               -- JSON: the rows and the evidence, to repeat it
    at              TEXT NOT NULL,
    PRIMARY KEY (rollout, sign)
);

-- Conversations that began since a promotion, as in units. The probability is the new version's;
-- it is 1 where nobody could be held back.
CREATE TABLE after_units (
    rollout         TEXT NOT NULL REFERENCES watches (rollout),
    position        INTEGER NOT NULL CHECK (position >= 0),
    unit            TEXT NOT NULL,
    task            TEXT NOT NULL,
    arm             TEXT NOT NULL CHECK (arm IN ('promoted', 'holdback')),
    probability     DOUBLE PRECISION NOT NULL CHECK (probability > 0 AND probability <= 1),
    decision        TEXT NOT NULL,
    score           DOUBLE PRECISION CHECK (score BETWEEN 0 AND 1),
    ending          TEXT CHECK (ending IN ('answered', 'load', 'oom', 'timeout', 'empty', 'crash')),
    latency_ms      DOUBLE PRECISION CHECK (latency_ms >= 0),
    awaits          INTEGER NOT NULL DEFAULT 0 CHECK (awaits IN (0, 1)),  -- to be judged
    PRIMARY KEY (rollout, position),
    CHECK (arm = 'promoted' OR probability < 1),
    CHECK (awaits = 0 OR score IS NULL)
);

-- What became of those that were to be judged: the first judgement, or NULL when it was late, which
-- counts for nothing on either side. The first row stays.
CREATE TABLE after_judgements (
    rollout         TEXT NOT NULL,
    position        INTEGER NOT NULL,
    score           DOUBLE PRECISION CHECK (score BETWEEN 0 AND 1),
    at              TEXT NOT NULL,
    PRIMARY KEY (rollout, position),
    FOREIGN KEY (rollout, position) REFERENCES after_units (rollout, position)
);

CREATE UNIQUE INDEX one_row_a_unit_after ON after_units (rollout, unit);

-- Conversations whose first request both versions answered. The position is that of the unit, and
-- its row there has no score: a conversation is evidence once. arm: whose answer was served. share:
-- the chance of being drawn for a pair. old, new: the scores of the stable version and the candidate.
CREATE TABLE pairs (
    rollout         TEXT NOT NULL REFERENCES rollouts (rollout),
    position        INTEGER NOT NULL CHECK (position >= 0),
    unit            TEXT NOT NULL,
    task            TEXT NOT NULL,
    arm             TEXT NOT NULL CHECK (arm IN ('stable', 'candidate')),
    share           DOUBLE PRECISION NOT NULL CHECK (share > 0 AND share <= 1),
    decision        TEXT NOT NULL,
    old             DOUBLE PRECISION NOT NULL CHECK (old BETWEEN 0 AND 1),
    new             DOUBLE PRECISION NOT NULL CHECK (new BETWEEN 0 AND 1),
    PRIMARY KEY (rollout, position)
);

CREATE UNIQUE INDEX one_pair_a_unit ON pairs (rollout, unit);

-- Versions that were tried for a decision and failed before their first byte; another served it.
CREATE TABLE attempts (
    decision        TEXT NOT NULL REFERENCES decisions (decision),
    position        INTEGER NOT NULL,
    task            TEXT NOT NULL,
    version         TEXT NOT NULL,
    error           TEXT NOT NULL,
    is_forgotten    INTEGER NOT NULL DEFAULT 0 CHECK (is_forgotten IN (0, 1)),
    PRIMARY KEY (decision, position)
);

-- Keys of the door: what is kept of each is its hash.
CREATE TABLE keys (
    id              TEXT PRIMARY KEY,
    name            TEXT NOT NULL,
    digest          TEXT NOT NULL UNIQUE CHECK (length(digest) = 64),  -- SHA-256 of the secret
    scopes          TEXT NOT NULL,               -- some of use,feedback,admin
    made_at         TEXT NOT NULL,
    made_by         TEXT NOT NULL,
    revoked_at      TEXT,
    in_flight       INTEGER CHECK (in_flight >= 1),         -- NULL: no bound, as below
    per_minute      INTEGER CHECK (per_minute >= 1),
    tokens_per_minute INTEGER CHECK (tokens_per_minute >= 1)
);

-- What happened to models, in a chain: see arbiter/ledger.py. Nothing is changed or taken out.
-- An entry follows another one that is there, and none is followed by two.
CREATE TABLE ledger (
    seq             INTEGER PRIMARY KEY CHECK (seq >= 1),
    kind            TEXT NOT NULL,
    at              TEXT NOT NULL,
    who             TEXT NOT NULL,
    body            TEXT NOT NULL,               -- canonical JSON
    previous        TEXT UNIQUE REFERENCES ledger (hash),
    hash            TEXT NOT NULL UNIQUE CHECK (length(hash) = 71 AND hash LIKE 'sha256:%'),
    CHECK ((seq = 1) = (previous IS NULL))
);
