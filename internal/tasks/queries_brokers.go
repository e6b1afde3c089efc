package tasks

import (
	"fmt"
	"time"

	"procops/internal/store"
)

// brokerState returns what is recorded of a broker; nothing is an empty state.
func brokerState(tx *store.Tx, name string) (BrokerState, error) {
	states, err := brokerStates(tx)
	return states[name], err
}

// brokerStates returns what is recorded of all brokers, which are few.
func brokerStates(tx *store.Tx) (map[string]BrokerState, error) {
	found, err := tx.Query("SELECT name, state, since, error, error_at FROM tasks_brokers")
	if err != nil {
		return nil, fmt.Errorf("cannot read the states of the brokers: %w", err)
	}
	defer func() { _ = found.Close() }()
	states := map[string]BrokerState{}
	for found.Next() {
		var (
			name           string
			s              BrokerState
			since, errorAt int64
		)
		if err := found.Scan(&name, &s.State, &since, &s.Error, &errorAt); err != nil {
			return nil, fmt.Errorf("cannot read the states of the brokers: %w", err)
		}
		s.Since = time.UnixMicro(since)
		if errorAt > 0 {
			s.ErrorAt = time.UnixMicro(errorAt)
		}
		states[name] = s
	}
	return states, found.Err()
}

func saveBrokerState(tx *store.Tx, name string, s BrokerState) error {
	var errorAt int64
	if !s.ErrorAt.IsZero() {
		errorAt = s.ErrorAt.UnixMicro()
	}
	_, err := tx.Exec(`INSERT INTO tasks_brokers (name, state, since, error, error_at) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET state = excluded.state, since = excluded.since, error = excluded.error, error_at = excluded.error_at`,
		name, string(s.State), s.Since.UnixMicro(), s.Error, errorAt)
	if err != nil {
		return fmt.Errorf("cannot record the state of broker %q: %w", name, err)
	}
	return nil
}
