-- Counts the changes of `files`: a process that has them in memory loads them again if another one has changed them.
ALTER TABLE root ADD COLUMN files_ticket INTEGER NOT NULL DEFAULT 0;
