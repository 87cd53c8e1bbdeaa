-- History across jobs: what has not ended comes first, then what ended last; and the same of failures alone.
CREATE INDEX runs_recent ON runs (coalesce(finished_at, '9'));
CREATE INDEX runs_failed ON runs (coalesce(finished_at, '9')) WHERE (status IN ('failed', 'timed_out', 'interrupted')
    OR (status = 'skipped' AND (reason GLOB 'source_*' OR reason GLOB 'runner_*' OR reason = 'check_failed')));
-- Whether the daemon came only for what was due then: `serve --once`.
ALTER TABLE lives ADD COLUMN once INTEGER NOT NULL DEFAULT 0;
