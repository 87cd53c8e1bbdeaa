-- The files of the root that the runner's command named, as JSON; null where they are not known.
ALTER TABLE runs ADD COLUMN runner_files TEXT;
