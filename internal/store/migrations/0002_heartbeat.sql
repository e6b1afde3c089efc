-- Heartbeats: one row for each that is attached or has ever been heard of. All
-- times are Unix times in microseconds, all spans microseconds.
CREATE TABLE heartbeats (
    name        TEXT    PRIMARY KEY,
    attached_at INTEGER,                     -- NULL: not attached; it may be declared in the configuration
    target      TEXT    NOT NULL DEFAULT '{}', -- JSON: what attach was told to expect
    status      TEXT    NOT NULL DEFAULT '', -- of the last knock; empty before the first
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    -- The last beat; all NULL before the first.
    number      INTEGER NOT NULL DEFAULT 0,  -- running number of the last beat
    coalesced   INTEGER NOT NULL DEFAULT 0,  -- beats that came too fast and were only counted
    beat_time   INTEGER,
    uptime      INTEGER,                     -- of the client; NULL when it is not known
    memory      INTEGER,                     -- resident bytes of the client
    pid         INTEGER,
    outcome     TEXT,                        -- 'ok' or 'failed'
    message     TEXT,
    data        TEXT                         -- JSON object of the client's own fields
) WITHOUT ROWID;

-- One row for each knock.
CREATE TABLE heartbeat_history (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    name    TEXT    NOT NULL,
    time    INTEGER NOT NULL,
    status  TEXT    NOT NULL,
    lag     INTEGER,                         -- NULL without a beat
    message TEXT    NOT NULL
);
CREATE INDEX heartbeat_history_by_name ON heartbeat_history (name, id);

-- One row for each wrapped run of a command.
CREATE TABLE heartbeat_runs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL,
    program    TEXT    NOT NULL,             -- without its arguments, which may be secret
    state      TEXT    NOT NULL,             -- running, succeeded, failed or lost
    pid        INTEGER NOT NULL,             -- the wrapper: with its start and boot a unique process
    pid_start  INTEGER NOT NULL,
    boot       TEXT    NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    duration   INTEGER,                      -- by the monotonic clock
    exit_code  INTEGER,
    message    TEXT    NOT NULL DEFAULT '',
    output     BLOB                          -- the end of what it printed
);
CREATE INDEX heartbeat_runs_by_name ON heartbeat_runs (name, id);

-- The table of php component_heartbeat, for those who read by SQL.
CREATE VIEW monitor_list AS
SELECT name                                                 AS heartbeat_identity,
       beat_time / 1000000                                  AS timestamp,
       uptime / 1000000                                     AS uptime,
       memory                                               AS memory_usage,
       datetime(created_at / 1000000, 'unixepoch')          AS created_at,
       datetime(updated_at / 1000000, 'unixepoch')          AS updated_at
FROM heartbeats
WHERE attached_at IS NOT NULL OR beat_time IS NOT NULL;
