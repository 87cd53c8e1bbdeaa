-- What somebody is told. A streak is something wrong that lasts, as far as it has been told (core/due/events.py).
CREATE TABLE streaks (
    key      TEXT PRIMARY KEY,  -- failure/JOB, alarm/JOB/KIND, root/KIND, place/KEY, channel/NAME
    open     INTEGER NOT NULL,
    flapping TEXT,
    streak   TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX streaks_flapping ON streaks (flapping) WHERE flapping NOTNULL;

CREATE TABLE events (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    key    TEXT NOT NULL UNIQUE,
    at     TEXT NOT NULL,
    kind   TEXT NOT NULL,
    phase  TEXT NOT NULL,
    job_id TEXT NOT NULL,
    run_n  INTEGER,
    streak TEXT,
    since  TEXT,
    times  INTEGER,
    facts  TEXT NOT NULL
);
CREATE INDEX events_run ON events (job_id, run_n);
CREATE INDEX events_streak ON events (streak) WHERE streak NOTNULL;

CREATE TABLE deliveries (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    event      INTEGER NOT NULL REFERENCES events (seq),
    channel    TEXT NOT NULL,
    status     TEXT NOT NULL,  -- pending, sending, delivered, dropped, error
    reason     TEXT,
    tries      INTEGER NOT NULL DEFAULT 0,
    next_at    TEXT,
    give_up_at TEXT NOT NULL,
    sent_at    TEXT,
    done_at    TEXT,
    token      TEXT NOT NULL,  -- the same over all tries
    within     INTEGER,        -- the delivery whose digest tells this one too
    UNIQUE (event, channel)
);
CREATE INDEX deliveries_waiting ON deliveries (channel, id) WHERE status IN ('pending', 'sending');
CREATE INDEX deliveries_failed ON deliveries (id) WHERE status IN ('dropped', 'error');

-- The breaker of each channel. No secret is kept here, only references to secrets go into the digest.
CREATE TABLE channels (
    name       TEXT PRIMARY KEY,
    digest     TEXT,             -- of how it is reached, without values of references
    failures   INTEGER NOT NULL DEFAULT 0,
    failing_at TEXT,             -- the first of these failures
    open_since TEXT,
    probes     INTEGER NOT NULL DEFAULT 0,
    probe_at   TEXT,
    last_ok_at TEXT,
    last_error TEXT,
    sent_at    TEXT              -- the last message
) WITHOUT ROWID;

ALTER TABLE runs ADD COLUMN watched INTEGER NOT NULL DEFAULT 0;  -- a person waits for it at a terminal

CREATE TRIGGER delivery_begins AFTER INSERT ON deliveries WHEN NEW.channel NOT GLOB 'ping:*' BEGIN
    UPDATE jobs SET last_delivery_status = NEW.status WHERE id = (SELECT job_id FROM events WHERE seq = NEW.event);
END;
CREATE TRIGGER delivery_goes_on AFTER UPDATE OF status ON deliveries
WHEN NEW.status IS NOT OLD.status AND NEW.channel NOT GLOB 'ping:*' BEGIN
    UPDATE jobs SET last_delivery_status = CASE
        WHEN NEW.status = 'sending' THEN 'pending'
        WHEN NEW.status IN ('dropped', 'error') THEN NEW.status || ':' || coalesce(NEW.reason, '')
        ELSE NEW.status END
    WHERE id = (SELECT job_id FROM events WHERE seq = NEW.event);
END;

-- What earlier versions have told is not told again.
INSERT INTO streaks (key, open, streak)
SELECT 'failure/' || id, 1, json_object(
    'key', 'failure/' || id, 'event', 'run/' || id || '/0/failure', 'since', at, 'told_at', at,
    'times', consecutive_errors, 'open', json('true'), 'members', json('[]'), 'edges', json('[]'), 'flapping', NULL)
FROM (SELECT id, consecutive_errors, coalesce(
    (SELECT max(at) FROM audit WHERE job_id = jobs.id AND action = 'failure'), last_run_at, updated_at) AS at
    FROM jobs WHERE consecutive_errors > 0);
INSERT INTO streaks (key, open, streak)
SELECT 'alarm/' || job_id || '/' || field, 1, json_object(
    'key', 'alarm/' || job_id || '/' || field, 'event', 'alarm/' || job_id || '/' || field || '/' || at, 'since', at,
    'told_at', at, 'times', 1, 'open', json('true'), 'members', json('[]'), 'edges', json('[]'), 'flapping', NULL)
FROM audit WHERE action = 'alarm' AND seq IN
    (SELECT max(seq) FROM audit WHERE action IN ('alarm', 'all_clear') GROUP BY job_id, field);
