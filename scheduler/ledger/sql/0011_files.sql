-- Files as a pass last read and applied them. As long as a stat says the same of one, it need not be read (ADR 48).
-- Nothing depends on a row being here: a file without one is read.
CREATE TABLE files (
    kind      TEXT NOT NULL, -- job: a job file; task: the file of a task
    path      TEXT NOT NULL, -- from the root, without a link on the way
    mark      BLOB NOT NULL, -- size, mtime, ctime, inode
    young     INTEGER NOT NULL, -- written so shortly before it was read that the next write may leave the same mark
    sha256    BLOB NOT NULL,
    blob      BLOB, -- of the commit, if the bytes are the same
    untracked INTEGER NOT NULL,
    warnings  TEXT,
    PRIMARY KEY (kind, path)
) WITHOUT ROWID;
-- The task files of each job file in there.
CREATE TABLE task_files (
    path TEXT NOT NULL,
    task TEXT NOT NULL,
    PRIMARY KEY (path, task)
) WITHOUT ROWID;
CREATE INDEX task_files_task ON task_files (task);
-- What the files were read by: a digest of settings and version, and the commit; NULL: nothing is known.
ALTER TABLE root ADD COLUMN files_by TEXT;
ALTER TABLE root ADD COLUMN files_commit TEXT;
-- The time zones of all definitions, and perhaps of earlier ones, as JSON. NULL: not known.
ALTER TABLE root ADD COLUMN zones TEXT;
CREATE INDEX jobs_path ON jobs (path, id) WHERE archived_at IS NULL;
CREATE INDEX jobs_not_firing ON jobs (id) WHERE paused_at NOTNULL OR stopped_at NOTNULL;
-- The last good scheduler.yaml, parsed: parsing it takes longer than a pass with nothing to do. As `parsed_form`.
ALTER TABLE root ADD COLUMN parsed_settings TEXT;
