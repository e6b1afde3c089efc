package tasks

import (
	"slices"
	"strings"
	"testing"

	"procops/internal/store"
)

// TestForgetPlan: each task that is done looks for old ones, so that must cost the same
// however many there are.
func TestForgetPlan(t *testing.T) {
	w := newWorld(t, only("true"))
	for query, index := range map[string]string{queryForget: "tasks_done", queryForgetCancelled: "tasks_cancelled"} {
		steps := w.plan(query, 1, forgetAtOnce)
		if !slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, index+" (ended_at<?)") }) ||
			slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, "B-TREE") }) {
			t.Errorf("old tasks are found by %q", steps)
		}
	}
}

// plan returns how a query is run.
func (w *world) plan(query string, args ...any) (steps []string) {
	w.t.Helper()
	w.must(w.store.View(w.t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query("EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			return err
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				return err
			}
			steps = append(steps, step)
		}
		return rows.Err()
	}))
	return steps
}
