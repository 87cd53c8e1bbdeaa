-- When a queued run that has failed is tried again; NULL: it waits for a place, or does not wait.
ALTER TABLE runs ADD COLUMN retry_at TEXT;
