-- What the audit last said about jobs and their place: read by each look at what is overdue, however long the audit is.
CREATE INDEX audit_armed ON audit (job_id, at) WHERE action IN ('arm', 'resume');
CREATE INDEX audit_alarms ON audit (job_id, field, seq) WHERE action IN ('alarm', 'all_clear');
CREATE INDEX audit_places ON audit (field, seq) WHERE action IN ('place_lost', 'place_back');
