-- Daemons: one row for each instance in each context that has ever run. Times are Unix
-- times in microseconds, spans microseconds; NULL stands for none.
CREATE TABLE daemons (
    name          TEXT    NOT NULL,
    context       TEXT    NOT NULL,
    instance      INTEGER NOT NULL,          -- from 1; 0: the only one
    state         TEXT    NOT NULL,
    pid           INTEGER NOT NULL,          -- who runs it: with its start and boot a unique process
    pid_start     INTEGER NOT NULL,
    boot          TEXT    NOT NULL,
    began_at      INTEGER,
    turns         INTEGER NOT NULL,          -- since then
    failures      INTEGER NOT NULL,          -- in a row
    reason        TEXT    NOT NULL,          -- why it is in its state, for people
    next_at       INTEGER,                   -- of the next turn
    turn_at       INTEGER,                   -- of the newest turn, which is under way unless state is waiting or stopped
    turn_duration INTEGER NOT NULL,
    turn_outcome  TEXT    NOT NULL,
    turn_code     INTEGER NOT NULL,
    turn_memory   INTEGER NOT NULL,
    turn_message  TEXT    NOT NULL,
    PRIMARY KEY (name, context, instance)
) WITHOUT ROWID;

-- One row for each turn.
CREATE TABLE daemon_turns (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL,
    context    TEXT    NOT NULL,
    instance   INTEGER NOT NULL,
    turn       INTEGER NOT NULL,             -- number since the daemon had begun
    started_at INTEGER NOT NULL,
    duration   INTEGER NOT NULL,             -- by the monotonic clock
    outcome    TEXT    NOT NULL,
    code       INTEGER NOT NULL,
    memory     INTEGER NOT NULL,
    message    TEXT    NOT NULL
);
CREATE INDEX daemon_turns_by_daemon ON daemon_turns (name, context, instance, id);
