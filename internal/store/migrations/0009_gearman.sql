-- The background jobs of the job server that have not ended. Those with place 0 are
-- in its memory as well; the others wait here only, and each kind has an index of its
-- own, so that an accepted job that is run at once pays for none.
CREATE TABLE gearman_jobs (
    id       INTEGER PRIMARY KEY,           -- the number in its handle, never used again
    function BLOB    NOT NULL,
    priority INTEGER NOT NULL,              -- 0 high, 1 normal, 2 low
    key      BLOB,                          -- its unique key; of the key "-" with a hash of the workload; NULL: none
    run_at   INTEGER NOT NULL DEFAULT 0,    -- not before this, Unix time in seconds
    tries    INTEGER NOT NULL DEFAULT 0,    -- workers that have left or run out of time with it
    place    INTEGER NOT NULL,              -- 0 memory, 1 waits here, 2 waits here for its time, 3 buried
    reducer  BLOB,
    workload BLOB    NOT NULL
);
CREATE INDEX gearman_jobs_waiting ON gearman_jobs (function, priority, id) WHERE place = 1;
CREATE INDEX gearman_jobs_later   ON gearman_jobs (run_at)                 WHERE place = 2;
CREATE INDEX gearman_jobs_buried  ON gearman_jobs (id)                     WHERE place = 3;
CREATE INDEX gearman_jobs_by_key  ON gearman_jobs (key, function)          WHERE place IN (1, 2) AND key IS NOT NULL;

-- Numbers of jobs below next are given out or set aside.
CREATE TABLE gearman_numbers (next INTEGER NOT NULL);
INSERT INTO gearman_numbers (next) VALUES (1);
