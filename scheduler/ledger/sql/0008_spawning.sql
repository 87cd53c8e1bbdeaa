-- Whether the process of an attempt may exist: marked in a commit before it is started, which a kill cannot take back.
-- Of an attempt without the mark, opened since this boot of the machine, nothing ever started.
ALTER TABLE attempts ADD COLUMN spawning INTEGER NOT NULL DEFAULT 1;
