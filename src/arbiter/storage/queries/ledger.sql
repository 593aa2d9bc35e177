-- name: add_ledger_entry
INSERT INTO ledger (seq, kind, at, who, body, previous, hash) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: last_ledger_entry
SELECT seq, kind, at, who, body, previous, hash FROM ledger ORDER BY seq DESC LIMIT 1;

-- name: list_ledger
SELECT seq, kind, at, who, body, previous, hash FROM ledger ORDER BY seq;

-- name: list_latest_entries
SELECT seq, kind, at, who, body, previous, hash FROM ledger
WHERE kind LIKE ? AND seq < ? ORDER BY seq DESC LIMIT ?;

-- name: list_of_kind
SELECT seq, kind, at, who, body, previous, hash FROM ledger WHERE kind = ? ORDER BY seq;
