-- The runs of one text of a job, newest last. A few digits of the sha256 tell its texts apart, and keep the index small.
CREATE INDEX runs_of_text ON runs (job_id, substr(task_sha256, 1, 7), n) WHERE task_sha256 NOTNULL;
-- What people changed of a job, without what its runs have caused, of which there may be very much.
CREATE INDEX audit_changes ON audit (job_id, seq)
    WHERE action NOT IN ('failure', 'stopped', 'recovery', 'skip', 'flapping', 'overdue', 'alarm', 'all_clear',
    'over_budget', 'other_model', 'cancel');
