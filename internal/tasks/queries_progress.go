package tasks

import (
	"encoding/json"
	"fmt"

	"procops/internal/store"
	"procops/internal/tasks/broker"
)

// columns are an Account as it is kept: JSON, or "" for nothing.
type columns struct{ progress, flow, meta string }

func (a *Account) columns() (c columns, err error) {
	text := func(v any, there bool) string {
		if !there || err != nil {
			return ""
		}
		var raw []byte
		raw, err = json.Marshal(v)
		return string(raw)
	}
	c.progress = text(a.Progress, a.Progress != nil)
	c.flow = text(a.Flow, len(a.Flow) > 0)
	c.meta = text(a.Meta, len(a.Meta) > 0)
	if err != nil {
		return c, fmt.Errorf("cannot encode what a task has told: %w", err)
	}
	return c, nil
}

func (c columns) account() (a Account, err error) {
	for _, part := range []struct {
		text string
		into any
	}{{c.progress, &a.Progress}, {c.flow, &a.Flow}, {c.meta, &a.Meta}} {
		if part.text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(part.text), part.into); err != nil {
			return a, fmt.Errorf("cannot read what a task has told: %w", err)
		}
	}
	return a, nil
}

// saveAccount records what a run has told that goes on; one that is not the newest any
// more changes nothing.
func saveAccount(tx *store.Tx, l *broker.Lease, a Account) error {
	c, err := a.columns()
	if err != nil {
		return err
	}
	_, err = tx.Exec("UPDATE tasks SET progress = ?, flow = ?, meta = ? WHERE id = ? AND run = ? AND state = ?",
		c.progress, c.flow, c.meta, l.ID, l.Number, string(StateRunning))
	if err != nil {
		return fmt.Errorf("cannot record the progress of task %q: %w", l.ID, err)
	}
	return nil
}
