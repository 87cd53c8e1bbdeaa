-- The clock as it was believed last: which boot of the machine, and when that was by the clock on the wall.
ALTER TABLE root ADD COLUMN boot_id TEXT;
ALTER TABLE root ADD COLUMN booted_at TEXT;
-- A digest of the rules of all zones in use, as of the cursors. NULL: not known.
ALTER TABLE root ADD COLUMN zone_rules TEXT;
CREATE INDEX runs_succeeded ON runs (job_id, finished_at) WHERE status = 'succeeded';
