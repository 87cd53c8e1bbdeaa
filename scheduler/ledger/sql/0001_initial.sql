-- Columns stand in groups by owner (docs/explanation/how-a-sync-works.md): nobody writes another's.
-- Nothing cascades: a job row is never deleted, so neither is a run.

CREATE TABLE jobs (
    id                   TEXT PRIMARY KEY,
    -- file: written by a sync
    generation           INTEGER NOT NULL,
    path                 TEXT NOT NULL,
    line                 INTEGER NOT NULL,
    revision             TEXT,
    dirty                TEXT,
    file_sha256          TEXT NOT NULL,
    task_sha256          TEXT,
    activated_at         TEXT NOT NULL,
    archived_at          TEXT,
    sync_state           TEXT NOT NULL,
    -- operator
    paused_at            TEXT,
    pause_reason         TEXT,
    paused_until         TEXT,
    paused_by            TEXT,
    -- runtime: written at the start and the end of a run
    run_count            INTEGER NOT NULL DEFAULT 0,
    consecutive_errors   INTEGER NOT NULL DEFAULT 0,
    errors_at_arm        INTEGER NOT NULL DEFAULT 0,
    stopped_at           TEXT,
    stop_reason          TEXT,
    last_run_at          TEXT,
    last_run_status      TEXT,
    last_run_duration_ms INTEGER,
    last_run_error       TEXT,
    last_delivery_status TEXT,
    -- cursor: written by a sync and by a claim
    next_run_at          TEXT,
    -- ledger: the highest run number given out, so that none is given twice
    last_n               INTEGER NOT NULL DEFAULT 0,
    created_at           TEXT NOT NULL,
    created_by           TEXT NOT NULL,
    updated_at           TEXT NOT NULL,
    FOREIGN KEY (id, generation) REFERENCES definitions (job_id, generation) DEFERRABLE INITIALLY DEFERRED
);

-- Every definition a job ever had, so that a run's generation can always be read back.
CREATE TABLE definitions (
    job_id      TEXT NOT NULL REFERENCES jobs (id) DEFERRABLE INITIALLY DEFERRED,
    generation  INTEGER NOT NULL,
    digest      TEXT NOT NULL,
    spec        TEXT NOT NULL,
    recorded_at TEXT NOT NULL,
    PRIMARY KEY (job_id, generation)
) WITHOUT ROWID;

CREATE TABLE texts (
    sha256 TEXT PRIMARY KEY,
    bytes  BLOB NOT NULL
);

CREATE TABLE runs (
    job_id         TEXT NOT NULL REFERENCES jobs (id),
    n              INTEGER NOT NULL,
    "trigger"      TEXT NOT NULL,
    status         TEXT NOT NULL,
    reason         TEXT,
    fire_time      TEXT,
    fire_time_last TEXT,
    slots          INTEGER NOT NULL DEFAULT 1,
    requested_at   TEXT NOT NULL,
    requested_by   TEXT,
    started_at     TEXT,
    finished_at    TEXT,
    duration_ms    INTEGER,
    exit_code      INTEGER,
    error          TEXT,
    task_sha256    TEXT REFERENCES texts (sha256),
    task_bytes     INTEGER,
    source_path    TEXT,
    source_sha256  TEXT,
    source_blob    TEXT,
    revision       TEXT,
    dirty          TEXT,
    generation     INTEGER NOT NULL,
    result         TEXT,
    output_bytes   INTEGER,
    truncated      INTEGER NOT NULL DEFAULT 0,
    owner          TEXT,
    PRIMARY KEY (job_id, n),
    FOREIGN KEY (job_id, generation) REFERENCES definitions (job_id, generation)
);

-- A slot has one row (F4): the database, not the process, makes a fire unique.
CREATE UNIQUE INDEX runs_slot ON runs (job_id, fire_time)
    WHERE "trigger" IN ('schedule', 'catch_up') AND reason IS NOT 'void';
CREATE INDEX runs_active ON runs (job_id) WHERE status IN ('queued', 'claimed', 'running');
CREATE INDEX runs_skipped ON runs (job_id, n) WHERE status = 'skipped';

CREATE TABLE attempts (
    job_id      TEXT NOT NULL,
    run_n       INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    status      TEXT NOT NULL,
    reason      TEXT,
    started_at  TEXT NOT NULL,
    finished_at TEXT,
    exit_code   INTEGER,
    pid         INTEGER,
    pid_started INTEGER,
    boot_id     TEXT,
    PRIMARY KEY (job_id, run_n, n),
    FOREIGN KEY (job_id, run_n) REFERENCES runs (job_id, n)
) WITHOUT ROWID;

CREATE TABLE audit (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    at       TEXT NOT NULL,
    job_id   TEXT NOT NULL,
    action   TEXT NOT NULL,
    field    TEXT,
    before   TEXT,
    after    TEXT,
    revision TEXT,
    actor    TEXT NOT NULL,
    cause    TEXT NOT NULL
);
CREATE INDEX audit_job ON audit (job_id, seq);

-- What the last pass found wrong; replaced as a whole by the next.
CREATE TABLE problems (
    path    TEXT NOT NULL,
    job_id  TEXT,
    problem TEXT NOT NULL
);

-- One row: the settings in force, and a counter of passes and of changes that a plan must not overlook.
CREATE TABLE root (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    settings    TEXT,
    synced_at   TEXT,
    plan_inputs INTEGER NOT NULL DEFAULT 0
);
INSERT INTO root (only) VALUES (1);

CREATE TRIGGER jobs_stay BEFORE DELETE ON jobs BEGIN
    SELECT RAISE(ABORT, 'a job row is archived, never deleted');
END;
CREATE TRIGGER audit_is_final BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'an audit row is never changed');
END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'an audit row is never deleted');
END;
