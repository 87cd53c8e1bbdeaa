-- The git worktree of a run with `workdir: fresh`, as JSON: branch, commit that it started from, folder while it exists,
-- and what it changed. NULL for all other runs.
ALTER TABLE runs ADD COLUMN worktree TEXT;
