-- What the check of a job printed, if that was added to the text that the run was given; null otherwise.
ALTER TABLE runs ADD COLUMN check_sha256 TEXT REFERENCES texts (sha256);
