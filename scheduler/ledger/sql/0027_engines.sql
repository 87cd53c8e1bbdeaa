-- Where a run is carried out, and what the engine calls it. Rows from before engines were written are local ones.
ALTER TABLE runs ADD COLUMN engine TEXT NOT NULL DEFAULT 'local';
ALTER TABLE runs ADD COLUMN handle TEXT;     -- of its last try there: the id of a workflow
ALTER TABLE runs ADD COLUMN task_queue TEXT; -- which workers may take it
ALTER TABLE runs ADD COLUMN handed TEXT;     -- while a try is handed over: what was sent, as JSON, without the text
ALTER TABLE runs ADD COLUMN handed_at TEXT;
ALTER TABLE runs ADD COLUMN elsewhere TEXT;  -- of a slot that another control plane serves: how it ends there, as JSON
ALTER TABLE attempts ADD COLUMN host TEXT;   -- of a worker; null for this machine
CREATE INDEX runs_handed ON runs (engine) WHERE handed NOTNULL;
-- A copy of this database has the same id: what it had started, the copy may follow.
CREATE TABLE identity (id TEXT NOT NULL);
INSERT INTO identity (id) VALUES (lower(hex(randomblob(16))));
