-- Which commit brought a change, asked of git once the change is in force (ADR 52). Filled in once: an audit row, which
-- never changes, names its lookup.
CREATE TABLE lookups (
    id        INTEGER PRIMARY KEY,
    revision  TEXT NOT NULL, -- from which git looks back
    path      TEXT NOT NULL, -- as git names it, from the root
    blob      TEXT, -- that the commit put there; NULL: the commit deleted the file
    commit_id TEXT REFERENCES commits (id),
    no_commit TEXT -- why there is none; NULL as well as commit_id: not looked up yet
);
CREATE INDEX lookups_pending ON lookups (id) WHERE commit_id IS NULL AND no_commit IS NULL;
CREATE TRIGGER lookups_are_final BEFORE UPDATE ON lookups
    WHEN OLD.commit_id NOTNULL OR OLD.no_commit NOTNULL OR NEW.id <> OLD.id OR NEW.revision <> OLD.revision
    OR NEW.path <> OLD.path OR NEW.blob IS NOT OLD.blob BEGIN
    SELECT RAISE(ABORT, 'an answer of git is never changed');
END;
CREATE TRIGGER lookups_stay BEFORE DELETE ON lookups BEGIN
    SELECT RAISE(ABORT, 'a lookup is never deleted');
END;
ALTER TABLE audit ADD COLUMN lookup INTEGER REFERENCES lookups (id);
