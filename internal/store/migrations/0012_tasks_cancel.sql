-- A cancelled task that was running has no end until its worker has stopped it.
CREATE INDEX tasks_cancelled ON tasks (ended_at) WHERE state = 'cancelled';
