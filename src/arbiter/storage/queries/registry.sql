-- name: add_version
INSERT INTO versions (version, format, path, artifact, predecessor, standing, registered_at)
VALUES (?, ?, ?, ?, ?, 'active', ?)
ON CONFLICT (version) DO UPDATE SET path = excluded.path, artifact = excluded.artifact;

-- name: list_versions
SELECT version, artifact, predecessor, standing, registered_at FROM versions
ORDER BY registered_at, version;

-- name: set_standing
UPDATE versions SET standing = ? WHERE version = ? RETURNING version;

-- name: set_predecessor
UPDATE versions SET predecessor = ? WHERE version = ? AND predecessor IS NULL RETURNING version;

-- name: add_name
INSERT INTO names (name, version, kind, moved_at) VALUES (?, ?, ?, ?) RETURNING name;

-- name: move_name
UPDATE names SET version = ?, moved_at = ? WHERE name = ? AND version = ? RETURNING name;

-- name: remove_name
DELETE FROM names WHERE name = ? RETURNING name;

-- name: list_names
SELECT name, version, kind FROM names ORDER BY name;

-- name: log_move
INSERT INTO moves (name, from_version, to_version, who, why, rollout, keep_until, at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: list_moves
SELECT name, from_version, to_version, who, why, rollout, keep_until, at FROM moves
WHERE name = ? ORDER BY seq;

-- name: list_kept
SELECT m.from_version, m.keep_until, w.left_s
FROM moves m LEFT JOIN watches w ON w.rollout = m.rollout
WHERE m.from_version IS NOT NULL AND m.keep_until IS NOT NULL AND w.ended_at IS NULL
ORDER BY m.seq;

-- name: list_places
SELECT engine, url, model, version FROM places ORDER BY url, model;

-- name: put_place
INSERT INTO places (engine, url, model, version, seen_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (url, model) DO UPDATE
    SET engine = excluded.engine, version = excluded.version, seen_at = excluded.seen_at;
