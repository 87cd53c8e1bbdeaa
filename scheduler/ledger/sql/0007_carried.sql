-- The past of jobs that come from elsewhere, until the sync that makes the job takes it.
CREATE TABLE carried (
    job_id TEXT PRIMARY KEY,
    past   TEXT NOT NULL,
    at     TEXT NOT NULL
) WITHOUT ROWID;
