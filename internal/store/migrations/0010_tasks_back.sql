-- Where a leased task of the broker "sqlite" comes from, and is again when the lease ends:
-- what was claimed to be moved or looked at need not have been ready.
ALTER TABLE tasks_queue ADD COLUMN back TEXT NOT NULL DEFAULT 'ready'; -- ready, scheduled or buried
