-- name: put_footprint
INSERT INTO footprints (version, context, slots, host, memory, total_bytes, load_s, method, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (version, context, slots, host, memory) DO UPDATE
    SET total_bytes = excluded.total_bytes, load_s = excluded.load_s, method = excluded.method,
        at = excluded.at;

-- name: list_footprints
SELECT version, context, slots, memory, total_bytes, load_s FROM footprints WHERE host = ?;

-- name: put_pin
INSERT INTO pins (name, until, at) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET until = excluded.until, at = excluded.at;

-- name: remove_pin
DELETE FROM pins WHERE name = ? RETURNING name;

-- name: list_pins
SELECT name, until FROM pins ORDER BY name;

-- name: latest_paced
-- The latest so many answers, and of these the latest of each version, oldest first: how fast each
-- was, and among how many it was made.
SELECT version, latency_ms, wait_ms, ttft_ms, prompt_tokens, completion_tokens, cached_tokens,
       prefill_ms, decode_ms, concurrency
FROM (SELECT recent.*, ROW_NUMBER() OVER (PARTITION BY version ORDER BY decision DESC) AS place
      FROM (SELECT decision, version, latency_ms, wait_ms, ttft_ms, prompt_tokens,
                   completion_tokens, cached_tokens, prefill_ms, decode_ms, concurrency
            FROM outcomes
            WHERE status = 'success' AND latency_ms IS NOT NULL AND concurrency IS NOT NULL
              AND is_forgotten = 0
            ORDER BY decision DESC LIMIT ?) AS recent) AS latest
WHERE place <= ? ORDER BY decision;
