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
	var steps []string
	w.must(w.store.View(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.Query("EXPLAIN QUERY PLAN "+queryForget, 1, forgetAtOnce)
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
	if !slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, "tasks_done (ended_at<?)") }) ||
		slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, "B-TREE") }) {
		t.Errorf("old tasks are found by %q", steps)
	}
}
