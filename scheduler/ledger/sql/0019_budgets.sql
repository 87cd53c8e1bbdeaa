-- What a run was claimed with (its budget.per_run), in billionths of the currency; null without a budget.
ALTER TABLE runs ADD COLUMN reserved_nano INTEGER;
ALTER TABLE runs ADD COLUMN reserved_currency TEXT;
-- What ended runs have spent, by job and, as @root, of all jobs: sums by the quarter of an hour in which the runs
-- started, so that the day or month of any zone is a range of them. They do not grow with the runs of a quarter, and
-- they stay when rows of a history are deleted. A run of unknown cost counts with its reservation.
CREATE TABLE spending (
    job_id   TEXT NOT NULL,
    since    TEXT NOT NULL, -- 2026-12-31T23:45, UTC
    currency TEXT NOT NULL,
    nano     INTEGER NOT NULL,
    runs     INTEGER NOT NULL,
    PRIMARY KEY (job_id, since, currency)
) WITHOUT ROWID;
INSERT INTO spending (job_id, since, currency, nano, runs)
    SELECT each.job_id, substr(started_at, 1, 14) || printf('%02d', substr(started_at, 15, 2) / 15 * 15) AS quarter,
    currency, sum(cost_nano), count(*)
    FROM (SELECT job_id, started_at, currency, cost_nano, status FROM runs UNION ALL
        SELECT '@root', started_at, currency, cost_nano, status FROM runs) AS each
    WHERE started_at NOTNULL AND cost_nano NOTNULL AND status NOT IN ('queued', 'claimed', 'running')
    GROUP BY each.job_id, quarter, currency;
-- Whoever ends a run, and however: nobody ends one without counting it.
CREATE TRIGGER runs_spend AFTER UPDATE OF status ON runs
    WHEN OLD.status IN ('queued', 'claimed', 'running') AND NEW.status NOT IN ('queued', 'claimed', 'running')
    AND NEW.started_at NOTNULL AND (NEW.cost_nano NOTNULL OR NEW.reserved_nano NOTNULL) BEGIN
    INSERT INTO spending (job_id, since, currency, nano, runs)
        SELECT each.job_id,
        substr(NEW.started_at, 1, 14) || printf('%02d', substr(NEW.started_at, 15, 2) / 15 * 15),
        CASE known WHEN 1 THEN NEW.currency ELSE NEW.reserved_currency END,
        CASE known WHEN 1 THEN NEW.cost_nano ELSE NEW.reserved_nano END, 1
        FROM (SELECT NEW.job_id AS job_id UNION ALL SELECT '@root') AS each,
        (SELECT NEW.cost_nano NOTNULL AND NEW.currency = coalesce(NEW.reserved_currency, NEW.currency) AS known)
        WHERE TRUE
        ON CONFLICT (job_id, since, currency) DO UPDATE SET nano = nano + excluded.nano, runs = runs + 1;
END;
