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
