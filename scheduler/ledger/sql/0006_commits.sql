-- Who made the commit that brought a change; kept once for all audit rows that name it.
CREATE TABLE commits (
    id      TEXT PRIMARY KEY,
    author  TEXT NOT NULL,
    email   TEXT NOT NULL,
    date    TEXT NOT NULL,
    subject TEXT NOT NULL
) WITHOUT ROWID;
ALTER TABLE audit ADD COLUMN commit_id TEXT REFERENCES commits (id);
-- Why there is none where one was looked for.
ALTER TABLE audit ADD COLUMN no_commit TEXT;
-- Whether the text last read is as committed, where it stands in a file of its own.
ALTER TABLE jobs ADD COLUMN task_dirty TEXT;
-- Why a run knows no commit.
ALTER TABLE runs ADD COLUMN no_provenance TEXT;
-- The number of the run whose text this one was given again.
ALTER TABLE runs ADD COLUMN task_of INTEGER;
