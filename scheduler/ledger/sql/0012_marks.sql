-- What the audit last said about jobs and their place: read by each look at what is overdue, however long the audit is.
CREATE INDEX audit_armed ON audit (job_id, at) WHERE action IN ('arm', 'resume');
CREATE INDEX audit_alarms ON audit (job_id, field, seq) WHERE action IN ('alarm', 'all_clear');
CREATE INDEX audit_places ON audit (field, seq) WHERE action IN ('place_lost', 'place_back');
-- Rows that are looked for in a history of any length. An end that succeeds in time is in none of these.
CREATE INDEX runs_void ON runs (job_id, fire_time) WHERE reason = 'void';
CREATE INDEX runs_by_hand ON runs (job_id, requested_at) WHERE "trigger" IN ('manual', 'rerun');
CREATE INDEX runs_long ON runs (coalesce(finished_at, '9')) WHERE duration_ms >= 3600000;
CREATE INDEX runs_cancelled ON runs (job_id, n) WHERE status = 'cancelled';
CREATE INDEX runs_skipped_recent ON runs (coalesce(finished_at, '9')) WHERE status = 'skipped';
CREATE INDEX runs_failed_of ON runs (job_id, n) WHERE (status IN ('failed', 'timed_out', 'interrupted')
    OR (status = 'skipped' AND (reason GLOB 'source_*' OR reason GLOB 'runner_*' OR reason = 'check_failed')));
