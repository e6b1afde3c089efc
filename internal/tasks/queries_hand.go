package tasks

import (
	"database/sql"
	"errors"
	"fmt"

	"procops/internal/store"
)

// What somebody does to a task by hand.

// loadAll reads those of some tasks that are in a state.
func loadAll(tx *store.Tx, ids []string, want State) (records []Record, err error) {
	for _, id := range ids {
		r, err := load(tx, id)
		if err != nil && !errors.Is(err, errNoRecord) {
			return nil, err
		}
		if err == nil && r.State == want {
			records = append(records, r)
		}
	}
	return records, nil
}

// requeue records that a task lives again. The number is that of the lease by which it
// was requeued: a worker that was faster has recorded a newer one.
func requeue(tx *store.Tx, id string, number int64) error {
	r, err := load(tx, id)
	switch {
	case errors.Is(err, errNoRecord): // it was pushed and run on other hosts
		return nil
	case err != nil:
		return err
	case r.run > number:
		return nil
	}
	to, err := revive(tx, id, r.State)
	if err != nil || to == r.State {
		return err
	}
	tx.Emit(eventRequeued.New(id, handData{Type: r.Type}))
	return nil
}

// revive makes the record of a dead task one of a pending task, and returns the new state.
func revive(tx *store.Tx, id string, from State) (State, error) {
	to, err := transition(from, TriggerRequeue)
	if err != nil || to == from {
		return to, err
	}
	if _, err := tx.Exec("UPDATE tasks SET state = ?, attempts = 0, crashes = 0 WHERE id = ?", string(to), id); err != nil {
		return from, fmt.Errorf("cannot record task %q: %w", id, err)
	}
	return to, nil
}

// erase removes what is known of a task.
func erase(tx *store.Tx, id string) error {
	var typ string
	err := tx.QueryRow("DELETE FROM tasks WHERE id = ? RETURNING type", id).Scan(&typ)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("cannot delete task %q: %w", id, err)
	}
	tx.Emit(eventDeleted.New(id, handData{Type: typ}))
	return nil
}

// cancel records that nobody wants a task any more, and returns whether that changes
// anything.
func cancel(tx *store.Tx, id string) (bool, error) {
	r, err := load(tx, id)
	if err != nil {
		return false, err
	}
	to, err := transition(r.State, TriggerCancel)
	if err != nil || to == r.State {
		return false, err
	}
	var ended sql.NullInt64
	if r.State != StateRunning {
		ended = sql.NullInt64{Int64: tx.Now().UnixMicro(), Valid: true}
	}
	if _, err := tx.Exec("UPDATE tasks SET state = ?, ended_at = ? WHERE id = ?", string(to), ended, id); err != nil {
		return false, fmt.Errorf("cannot cancel task %q: %w", id, err)
	}
	tx.Emit(eventCancelled.New(id, handData{Type: r.Type}))
	return true, nil
}

// queryCancelledRuns finds the tasks whose run is to end.
const queryCancelledRuns = `SELECT id FROM tasks INDEXED BY tasks_cancelled WHERE state = 'cancelled' AND ended_at IS NULL`

func cancelledRuns(tx *store.Tx) (ids []string, err error) {
	found, err := tx.Query(queryCancelledRuns)
	if err != nil {
		return nil, err
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var id string
		if err := found.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, found.Err()
}

// saveGone records that a cancelled task does not run any more: its worker has died.
func saveGone(tx *store.Tx, id string) error {
	_, err := tx.Exec("UPDATE tasks SET ended_at = ? WHERE id = ? AND ended_at IS NULL", tx.Now().UnixMicro(), id)
	if err != nil {
		return fmt.Errorf("cannot record the end of task %q: %w", id, err)
	}
	return nil
}
