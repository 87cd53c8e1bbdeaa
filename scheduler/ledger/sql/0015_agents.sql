-- What an agent's program said of its run (core/values/usage.py), as JSON without the columns beside it; null for plain
-- text. Money is in billionths of its currency, so that sums are exact. A run's cost and tokens are those of all its
-- attempts, and null where one of them is unknown.
ALTER TABLE runs ADD COLUMN agent TEXT;
ALTER TABLE runs ADD COLUMN end_class TEXT;
ALTER TABLE runs ADD COLUMN cost_nano INTEGER;
ALTER TABLE runs ADD COLUMN currency TEXT;
ALTER TABLE runs ADD COLUMN cost_basis TEXT;
ALTER TABLE runs ADD COLUMN tokens TEXT;
ALTER TABLE attempts ADD COLUMN end_class TEXT;
ALTER TABLE attempts ADD COLUMN cost_nano INTEGER;
ALTER TABLE attempts ADD COLUMN currency TEXT;
ALTER TABLE attempts ADD COLUMN cost_basis TEXT;
ALTER TABLE attempts ADD COLUMN tokens TEXT;
