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
