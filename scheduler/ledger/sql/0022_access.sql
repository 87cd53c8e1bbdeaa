-- Who is let in over HTTP. Of each secret only its SHA-256 is kept.
CREATE TABLE access_tokens (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    role TEXT NOT NULL,
    jobs TEXT NOT NULL, -- patterns, as JSON; [] is all jobs
    created_at TEXT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at TEXT,
    last_used_at TEXT, -- to the minute
    revoked_at TEXT
) STRICT;
CREATE TABLE access_links ( -- a link is used once
    sha256 TEXT PRIMARY KEY,
    actor TEXT NOT NULL,
    expires_at TEXT NOT NULL
) STRICT;
CREATE TABLE access_sessions (
    sha256 TEXT PRIMARY KEY,
    actor TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at TEXT NOT NULL,
    seen_at TEXT NOT NULL, -- to the minute
    expires_at TEXT NOT NULL
) STRICT;
