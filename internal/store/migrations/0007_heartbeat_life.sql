-- The life of heartbeats: see life.go of package heartbeat. Times as in 0002; NULL
-- stands for none.
ALTER TABLE heartbeats ADD COLUMN uuid TEXT;                             -- its address in the ping API
ALTER TABLE heartbeats ADD COLUMN state TEXT NOT NULL DEFAULT 'new';
ALTER TABLE heartbeats ADD COLUMN since INTEGER;                         -- of the state
ALTER TABLE heartbeats ADD COLUMN base INTEGER;                          -- of the last good beat
ALTER TABLE heartbeats ADD COLUMN armed INTEGER;                         -- not late before
ALTER TABLE heartbeats ADD COLUMN started INTEGER;                       -- begin of the run under way
ALTER TABLE heartbeats ADD COLUMN run TEXT NOT NULL DEFAULT '';          -- its id
ALTER TABLE heartbeats ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;   -- in a row
ALTER TABLE heartbeats ADD COLUMN alerted INTEGER NOT NULL DEFAULT 0;    -- 1: somebody was told that it is down
ALTER TABLE heartbeats ADD COLUMN next INTEGER;                          -- when it is down: the next to be done about it
ALTER TABLE heartbeats ADD COLUMN until INTEGER;                         -- end of a pause
ALTER TABLE heartbeats ADD COLUMN pulse INTEGER;                         -- when it is to be knocked at
ALTER TABLE heartbeats ADD COLUMN due INTEGER;                           -- the earlier of pulse and of what comes by itself

UPDATE heartbeats SET
    state    = CASE outcome WHEN 'ok' THEN 'up' WHEN 'failed' THEN 'down' ELSE 'new' END,
    failures = CASE outcome WHEN 'failed' THEN 1 ELSE 0 END,
    alerted  = CASE outcome WHEN 'failed' THEN 1 ELSE 0 END, -- it is no news
    since    = beat_time,
    base     = CASE outcome WHEN 'ok' THEN beat_time END,
    due      = 0;

CREATE UNIQUE INDEX heartbeats_by_uuid ON heartbeats (uuid) WHERE uuid IS NOT NULL;
CREATE INDEX heartbeats_by_due ON heartbeats (due) WHERE due IS NOT NULL;

-- What somebody is to be told. A row stays after it was delivered, for a while.
CREATE TABLE heartbeat_alerts (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    name      TEXT    NOT NULL,
    alert     TEXT    NOT NULL,             -- down, still_down or recovered
    time      INTEGER NOT NULL,             -- when it happened
    failures  INTEGER NOT NULL,
    message   TEXT    NOT NULL,
    delivered INTEGER                       -- NULL: not yet
);
CREATE INDEX heartbeat_alerts_open ON heartbeat_alerts (id) WHERE delivered IS NULL;

-- What clients said with a ping.
CREATE TABLE heartbeat_pings (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    name   TEXT    NOT NULL,
    time   INTEGER NOT NULL,
    kind   TEXT    NOT NULL,
    code   INTEGER,
    run    TEXT    NOT NULL,
    source TEXT    NOT NULL,
    body   BLOB
);
CREATE INDEX heartbeat_pings_by_name ON heartbeat_pings (name, id);

-- Whether somebody watches, and by which clocks: one row.
CREATE TABLE heartbeat_watch (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    boot    TEXT    NOT NULL,               -- the kernel's id of this boot
    skew    INTEGER NOT NULL,               -- wall clock minus time since boot
    watched INTEGER,                        -- time of the monitor's last pass
    until   INTEGER                         -- it is expected back by then
);
