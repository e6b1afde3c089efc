-- What is known of each task: one row from when it is pushed until it is
-- forgotten. All times are Unix times in microseconds, all spans microseconds.
CREATE TABLE tasks (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    type        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    params      TEXT    NOT NULL,            -- JSON object
    priority    INTEGER NOT NULL,
    time_limit  INTEGER NOT NULL,            -- 0: that of the type
    pushed_at   INTEGER NOT NULL,
    run_at      INTEGER NOT NULL,            -- not before this
    run         INTEGER NOT NULL DEFAULT 0,  -- number of the lease of the newest run: only that run may report
    attempts    INTEGER NOT NULL DEFAULT 0,  -- runs that failed
    crashes     INTEGER NOT NULL DEFAULT 0,  -- runs whose worker died
    started_at  INTEGER,                     -- of the newest run
    ended_at    INTEGER,                     -- of the newest run; NULL while it runs
    duration    INTEGER,                     -- by the monotonic clock
    result      TEXT    NOT NULL DEFAULT '', -- success, warning, error, unknown or timeout
    exit_code   INTEGER,                     -- as a shell has it
    message     TEXT    NOT NULL DEFAULT '', -- why it failed
    response    BLOB,                        -- the end of what the handler wrote to standard output
    diagnostics TEXT    NOT NULL DEFAULT ''  -- the end of what it wrote to standard error
);
CREATE INDEX tasks_by_state ON tasks (state, seq);
CREATE INDEX tasks_by_type  ON tasks (type, seq);
CREATE INDEX tasks_done     ON tasks (ended_at) WHERE state = 'done';

-- The queue of the broker "sqlite": one row for each task that is not done.
-- Each state has an index of its own, so that a claim costs the same however
-- many tasks are in the others.
CREATE TABLE tasks_queue (
    seq         INTEGER PRIMARY KEY,
    id          TEXT    NOT NULL UNIQUE,
    type        TEXT    NOT NULL,
    priority    INTEGER NOT NULL,            -- lower comes first
    run_at      INTEGER NOT NULL,            -- not before this
    state       TEXT    NOT NULL,            -- ready, scheduled, leased or buried
    lease       INTEGER NOT NULL DEFAULT 0,  -- number of the newest lease: how often it was claimed
    lease_until INTEGER NOT NULL DEFAULT 0,  -- when that ends
    attempts    INTEGER NOT NULL DEFAULT 0,
    crashes     INTEGER NOT NULL DEFAULT 0,
    body        BLOB    NOT NULL
);
CREATE INDEX tasks_queue_ready     ON tasks_queue (type, priority, run_at) WHERE state = 'ready';
CREATE INDEX tasks_queue_scheduled ON tasks_queue (type, run_at)           WHERE state = 'scheduled';
CREATE INDEX tasks_queue_leased    ON tasks_queue (type, lease_until)      WHERE state = 'leased';
CREATE INDEX tasks_queue_buried    ON tasks_queue (type, seq)              WHERE state = 'buried';
