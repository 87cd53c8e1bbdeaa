-- The runs of one text of a job, newest last. A few digits of the sha256 tell its texts apart, and keep the index small.
CREATE INDEX runs_of_text ON runs (job_id, substr(task_sha256, 1, 7), n) WHERE task_sha256 NOTNULL;
