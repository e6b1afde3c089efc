-- A process with adopt = true outlives a supervisor that is killed. The next one
-- takes it back if it runs as the config says now.
ALTER TABLE supervise_process ADD COLUMN config_hash TEXT NOT NULL DEFAULT ''; -- of how it runs; '' when it is not to be taken back
