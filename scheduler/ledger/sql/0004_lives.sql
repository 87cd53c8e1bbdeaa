-- When a daemon was there, and why it fired nothing, if it did not. A row grows while nothing of that changes.
CREATE TABLE lives (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    owner    TEXT NOT NULL,
    began_at TEXT NOT NULL,
    seen_at  TEXT NOT NULL,
    silent   TEXT NOT NULL DEFAULT '',
    over     INTEGER NOT NULL DEFAULT 0
);
