-- The value of root.plan_inputs at a job's last change of file or pause: who has seen that one need not read it again.
ALTER TABLE jobs ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_changed ON jobs (changed);
