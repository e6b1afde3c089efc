-- The event log: every recorded event of every procops process that shares
-- this state directory. AUTOINCREMENT, because followers ask for id > last and
-- an id must not come back after old rows are pruned.
CREATE TABLE events (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    time    INTEGER NOT NULL, -- Unix time in microseconds
    type    TEXT    NOT NULL,
    source  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    data    TEXT              -- JSON, NULL when the type has none
);
