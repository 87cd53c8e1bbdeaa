-- Requests to run a job that must not run it twice: the key of the caller, and the run that it has got.
CREATE TABLE requests (
    actor TEXT NOT NULL,
    key TEXT NOT NULL,
    asked TEXT NOT NULL, -- the job and the text: the same key for something else is a mistake
    run_id TEXT, -- NULL from before the claim until after it
    at TEXT NOT NULL,
    PRIMARY KEY (actor, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_at ON requests (at);
