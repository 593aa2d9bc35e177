-- name: list_keys
SELECT id, name, digest, scopes, made_at, made_by, revoked_at, in_flight, per_minute,
       tokens_per_minute
FROM keys ORDER BY id;

-- name: add_key
INSERT INTO keys (id, name, digest, scopes, made_at, made_by, in_flight, per_minute,
                  tokens_per_minute)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: revoke_key
UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL
RETURNING id, name, digest, scopes, made_at, made_by, revoked_at, in_flight, per_minute,
          tokens_per_minute;
