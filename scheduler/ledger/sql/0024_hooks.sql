-- Webhooks that were received, so that none is received twice: hashes only (core/access/hooks.py).
CREATE TABLE hooks (
    key TEXT PRIMARY KEY,
    at  TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX hooks_by_age ON hooks (at);
