-- What must be known of a supervised process after its supervisor is gone:
-- what the operator wants, and what may still be running.
CREATE TABLE supervise_process (
    name        TEXT PRIMARY KEY,
    wanted      INTEGER,          -- 1 up, 0 down by an operator's word; NULL: as the config says
    state       TEXT    NOT NULL DEFAULT 'stopped',
    pid         INTEGER NOT NULL DEFAULT 0, -- 0 when nothing runs
    start_ticks INTEGER NOT NULL DEFAULT 0, -- field 22 of /proc/PID/stat: tells a recycled pid
    boot_id     TEXT    NOT NULL DEFAULT '',
    restarts    INTEGER NOT NULL DEFAULT 0,
    exit_code   INTEGER,          -- of the last run, as a shell has it
    changed_at  INTEGER NOT NULL DEFAULT 0  -- Unix time in microseconds
) WITHOUT ROWID;
