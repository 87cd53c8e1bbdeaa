-- Counters for `/metrics` (ledger/tallies.py): whoever ends a run or skips a slot, and however, it counts once, in the
-- same transaction. They only grow. Deleting rows of a history lowers none, and imported history is not counted.
CREATE TABLE run_tallies (
    job_id      TEXT NOT NULL,
    status      TEXT NOT NULL,
    "trigger"   TEXT NOT NULL,
    runs        INTEGER NOT NULL,
    started     INTEGER NOT NULL, -- of these, those with a duration
    duration_ms INTEGER NOT NULL,
    punctual    INTEGER NOT NULL, -- of these, those whose delay counts: by schedule, not caught up
    delay_ms    INTEGER NOT NULL, -- from the slot to the start of the first attempt
    PRIMARY KEY (job_id, status, "trigger")
) WITHOUT ROWID;
CREATE TABLE skip_tallies (
    job_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    slots  INTEGER NOT NULL,
    PRIMARY KEY (job_id, reason)
) WITHOUT ROWID;
CREATE TABLE cost_tallies (
    job_id TEXT NOT NULL,
    model  TEXT NOT NULL, -- the one that answered, otherwise the one asked for; empty if neither is known
    nano   INTEGER NOT NULL, -- billionths of a US dollar
    PRIMARY KEY (job_id, model)
) WITHOUT ROWID;
CREATE TABLE token_tallies (
    job_id TEXT NOT NULL,
    kind   TEXT NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (job_id, kind)
) WITHOUT ROWID;
CREATE TABLE sync_tallies (
    result TEXT PRIMARY KEY, -- changed, unchanged, failed
    passes INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TRIGGER runs_tally AFTER UPDATE OF status ON runs
    WHEN OLD.status IN ('queued', 'claimed', 'running')
    AND NEW.status NOT IN ('queued', 'claimed', 'running', 'skipped') BEGIN
    INSERT INTO run_tallies (job_id, status, "trigger", runs, started, duration_ms, punctual, delay_ms)
        SELECT NEW.job_id, NEW.status, NEW."trigger", 1, NEW.duration_ms NOTNULL, coalesce(NEW.duration_ms, 0),
        delay NOTNULL, coalesce(max(delay, 0), 0)
        FROM (SELECT CASE NEW."trigger" WHEN 'schedule' THEN CAST(
            round((julianday(NEW.started_at) - julianday(NEW.fire_time)) * 86400000) AS INTEGER) END AS delay)
        WHERE TRUE
        ON CONFLICT (job_id, status, "trigger") DO UPDATE SET runs = runs + 1, started = started + excluded.started,
        duration_ms = duration_ms + excluded.duration_ms, punctual = punctual + excluded.punctual,
        delay_ms = delay_ms + excluded.delay_ms;
END;
CREATE TRIGGER runs_tally_cost AFTER UPDATE OF status ON runs
    WHEN OLD.status IN ('queued', 'claimed', 'running') AND NEW.status NOT IN ('queued', 'claimed', 'running')
    AND NEW.cost_nano NOTNULL AND NEW.currency = 'USD' BEGIN
    INSERT INTO cost_tallies (job_id, model, nano) VALUES (NEW.job_id, substr( -- a program names it
        coalesce(json_extract(NEW.agent, '$.model_served'), json_extract(NEW.agent, '$.model_asked'), ''), 1, 100),
        NEW.cost_nano)
        ON CONFLICT (job_id, model) DO UPDATE SET nano = nano + excluded.nano;
END;
-- Kinds that do not overlap: their sum is all tokens.
CREATE TRIGGER runs_tally_tokens AFTER UPDATE OF status ON runs
    WHEN OLD.status IN ('queued', 'claimed', 'running') AND NEW.status NOT IN ('queued', 'claimed', 'running')
    AND NEW.tokens NOTNULL BEGIN
    INSERT INTO token_tallies (job_id, kind, tokens)
        SELECT NEW.job_id, key, value FROM json_each(NEW.tokens) WHERE value NOTNULL AND key <> 'reasoning'
        ON CONFLICT (job_id, kind) DO UPDATE SET tokens = tokens + excluded.tokens;
END;
CREATE TRIGGER runs_tally_skip AFTER UPDATE OF status ON runs
    WHEN OLD.status IN ('queued', 'claimed', 'running') AND NEW.status = 'skipped' BEGIN
    INSERT INTO skip_tallies (job_id, reason, slots) VALUES (NEW.job_id, coalesce(NEW.reason, ''), NEW.slots)
        ON CONFLICT (job_id, reason) DO UPDATE SET slots = slots + excluded.slots;
END;
-- A skip that never was a run has the number that its job has just given out; rows of imported history come before it.
CREATE TRIGGER runs_tally_new_skip AFTER INSERT ON runs
    WHEN NEW.status = 'skipped' AND NEW.reason IS NOT 'void'
    AND NEW.n = (SELECT last_n FROM jobs WHERE id = NEW.job_id) BEGIN
    INSERT INTO skip_tallies (job_id, reason, slots) VALUES (NEW.job_id, coalesce(NEW.reason, ''), NEW.slots)
        ON CONFLICT (job_id, reason) DO UPDATE SET slots = slots + excluded.slots;
END;
-- The next slot of the same kind joins the row of the last.
CREATE TRIGGER runs_tally_longer_skip AFTER UPDATE OF slots ON runs
    WHEN OLD.status = 'skipped' AND NEW.slots > OLD.slots BEGIN
    INSERT INTO skip_tallies (job_id, reason, slots)
        VALUES (NEW.job_id, coalesce(NEW.reason, ''), NEW.slots - OLD.slots)
        ON CONFLICT (job_id, reason) DO UPDATE SET slots = slots + excluded.slots;
END;
