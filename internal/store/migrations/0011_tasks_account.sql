-- What the handler of a task has told of its newest run, as JSON; empty: nothing.
ALTER TABLE tasks ADD COLUMN progress TEXT NOT NULL DEFAULT ''; -- {"done", "total", "percent", "message"}
ALTER TABLE tasks ADD COLUMN flow     TEXT NOT NULL DEFAULT ''; -- the states it has passed: [{"state", "time"}]
ALTER TABLE tasks ADD COLUMN meta     TEXT NOT NULL DEFAULT ''; -- an object
