-- Each pass asks for the files that it must read whatever their marks say: those whose next write may leave the same
-- mark, and, with an empty sha256, those of which a fire has applied something else since.
CREATE INDEX files_young ON files (kind, path) WHERE young;
