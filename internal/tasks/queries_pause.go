package tasks

import (
	"fmt"

	"procops/internal/store"
)

func pause(tx *store.Tx, typ string) error {
	done, err := tx.Exec("INSERT INTO tasks_paused (type) VALUES (?) ON CONFLICT DO NOTHING", typ)
	if err != nil {
		return fmt.Errorf("cannot pause tasks: %w", err)
	}
	if n, err := done.RowsAffected(); n == 0 || err != nil {
		return err
	}
	tx.Emit(eventPaused.New(typ, pauseData{}))
	return nil
}

func resume(tx *store.Tx, typ string) error {
	done, err := tx.Exec("DELETE FROM tasks_paused WHERE type = ?1 OR ?1 = '*'", typ)
	if err != nil {
		return fmt.Errorf("cannot resume tasks: %w", err)
	}
	if n, err := done.RowsAffected(); n == 0 || err != nil {
		return err
	}
	tx.Emit(eventResumed.New(typ, pauseData{}))
	return nil
}

func paused(tx *store.Tx) (types []string, err error) {
	found, err := tx.Query("SELECT type FROM tasks_paused ORDER BY type")
	if err != nil {
		return nil, fmt.Errorf("cannot read which tasks are paused: %w", err)
	}
	defer func() { _ = found.Close() }()
	for found.Next() {
		var typ string
		if err := found.Scan(&typ); err != nil {
			return nil, fmt.Errorf("cannot read which tasks are paused: %w", err)
		}
		types = append(types, typ)
	}
	return types, found.Err()
}
