package tasks

import (
	"context"
	"time"

	"procops/internal/event"
	"procops/internal/store"
	"procops/internal/tasks/broker/group"
)

// BrokerState is how a broker did when a process of this state directory last found that it
// does differently.
type BrokerState struct {
	State   group.State
	Since   time.Time
	Error   string    // why it is not up, or was not when it last was not
	ErrorAt time.Time // zero: never
}

// NoteBroker records that a broker is in another state than before, and tells of it unless
// another process has. It does not wait.
func NoteBroker(st *store.Store, c group.Change) error {
	return st.Enqueue(func(tx *store.Tx) error {
		known, err := brokerState(tx, c.Name)
		if err != nil {
			return err
		}
		if known.State == "" {
			known.State = group.StateUp
		}
		// Whoever has only claimed does not know that nothing can be pushed.
		onlyAnswers := known.State == group.StateRefusing && c.To == group.StateUp && c.By != group.TriggerAccept
		if c.To == known.State || onlyAnswers {
			return nil
		}
		known.State, known.Since = c.To, tx.Now()
		if c.To != group.StateUp {
			known.Error, known.ErrorAt = c.Err.Error(), tx.Now()
		}
		tx.Emit(brokerEvent(c, known.Error))
		return saveBrokerState(tx, c.Name, known)
	}, nil)
}

func brokerEvent(c group.Change, reason string) event.Event {
	data := brokerData{Reason: reason}
	switch c.To {
	case group.StateDown:
		return eventBrokerLost.New(c.Name, data)
	case group.StateRefusing:
		return eventBrokerRefusing.New(c.Name, data)
	case group.StateUp, group.StateUnknown:
	}
	return eventBrokerBack.New(c.Name, data)
}

// BrokerStates returns what is recorded of brokers, by name.
func BrokerStates(ctx context.Context, st *store.Store) (states map[string]BrokerState, err error) {
	err = st.View(ctx, func(tx *store.Tx) error {
		states, err = brokerStates(tx)
		return err
	})
	return states, err
}
