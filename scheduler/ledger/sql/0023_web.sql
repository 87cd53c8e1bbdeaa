-- Runs that were requested with a key: the same request, sent again, must not start a second one.
CREATE TABLE requests (
    key    TEXT PRIMARY KEY,  -- sha256 of the caller, the job and the key
    at     TEXT NOT NULL,
    job_id TEXT NOT NULL,
    run_n  INTEGER            -- NULL until the daemon has made the run
) WITHOUT ROWID;
