-- How each broker of tasks did when a process last found that it does differently: what
-- they tell of it is told once, however many they are. Times are Unix times in microseconds.
CREATE TABLE tasks_brokers (
    name     TEXT    PRIMARY KEY,
    state    TEXT    NOT NULL,            -- up, refusing or down
    since    INTEGER NOT NULL,
    error    TEXT    NOT NULL DEFAULT '', -- why it is not up, or was not
    error_at INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
