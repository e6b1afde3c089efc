-- Types of tasks of which no worker with this state begins any; '*' stands for all.
CREATE TABLE tasks_paused (
    type TEXT PRIMARY KEY
) WITHOUT ROWID;
