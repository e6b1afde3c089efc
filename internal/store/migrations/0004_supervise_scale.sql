-- How many instances of a process an operator has asked for. It holds as long
-- as the config says what it said then.
CREATE TABLE supervise_scale (
    name      TEXT    PRIMARY KEY,
    declared  INTEGER NOT NULL, -- instances in the config when the operator spoke
    instances INTEGER NOT NULL
) WITHOUT ROWID;
