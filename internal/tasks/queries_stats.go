package tasks

import (
	"fmt"
	"time"

	"procops/internal/store"
)

// countStates tells how many tasks of each type are in each state.
func countStates(tx *store.Tx, typ string, tell func(typ string, s State, n int)) error {
	found, err := tx.Query("SELECT type, state, count(*) FROM tasks WHERE ?1 = '' OR type = ?1 GROUP BY type, state", typ)
	if err != nil {
		return fmt.Errorf("cannot count the tasks: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var (
			of    string
			state State
			n     int
		)
		if err := found.Scan(&of, &state, &n); err != nil {
			return fmt.Errorf("cannot count the tasks: %w", err)
		}
		tell(of, state, n)
	}
	return found.Err()
}

// eachEnded tells of each task whose newest run has ended at or after a time.
func eachEnded(tx *store.Tx, typ string, since time.Time, tell func(typ string, r Result, took time.Duration)) error {
	found, err := tx.Query(`SELECT type, result, coalesce(duration, 0) FROM tasks
		WHERE ended_at >= ?2 AND result <> '' AND (?1 = '' OR type = ?1)`, typ, since.UnixMicro())
	if err != nil {
		return fmt.Errorf("cannot read how long the tasks took: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var (
			of     string
			result Result
			took   int64
		)
		if err := found.Scan(&of, &result, &took); err != nil {
			return fmt.Errorf("cannot read how long the tasks took: %w", err)
		}
		tell(of, result, micros(took))
	}
	return found.Err()
}
