package sqlite

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"procops/internal/store"
	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/conformance"
)

// clock is a clock that stands still until it is moved.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time             { return time.UnixMicro(c.micros.Load()) }
func (c *clock) pass(d time.Duration)       { c.micros.Add(d.Microseconds()) }
func (c *clock) options() (o store.Options) { o.Now = c.now; return o }

func openStore(tb testing.TB, dir string, opt store.Options) *store.Store {
	tb.Helper()
	st, err := store.Open(tb.Context(), dir, opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := st.Close(); err != nil {
			tb.Error(err)
		}
	})
	return st
}

func TestConformance(t *testing.T) {
	for _, check := range conformance.Checks() {
		t.Run(check.Name, func(t *testing.T) {
			dir, clock := t.TempDir(), newClock()
			check.Run(t, conformance.Bench{
				Broker: New(openStore(t, dir, clock.options())),
				Other:  New(openStore(t, dir, clock.options())),
				Now:    clock.now,
				Pass:   clock.pass,
			})
		})
	}
}

// TestPlans checks that no statement of a claim sorts, or walks over tasks that it
// does not take: then it would slow down with the length of the queue.
func TestPlans(t *testing.T) {
	st := openStore(t, t.TempDir(), store.Options{})
	for query, args := range map[string][]any{
		queryReap: {"a", 1, 1}, queryPromote: {"a", 1, 1}, queryHeads: {"a", 1}, queryLease: {1, 1}, queryClaimable: {"a", 1},
		queryLater: {"a", 1}, queryBuried: {"a", 1}, queryReapOne: {"x", 1}, queryPromoteOne: {"x", 1}, queryOne: {"x", "ready"}, queryPage: {1, 2, 3},
		"DELETE FROM tasks_queue" + held:                                                                       {"x", 1},
		"UPDATE tasks_queue SET lease_until = 1" + held:                                                        {"x", 1},
		"UPDATE tasks_queue SET state = 'buried'" + held:                                                       {"x", 1},
		"INSERT INTO tasks_queue (id, type, priority, run_at, state, body) VALUES (?, 'a', 0, 0, 'ready', '')": {"x"},
	} {
		for _, step := range plan(t, st, query, args) {
			if strings.Contains(step, "SCAN") && !strings.Contains(step, "CONSTANT ROW") || strings.Contains(step, "B-TREE") {
				t.Errorf("%s\nhas the step %q", query, step)
			}
		}
	}
	for _, step := range plan(t, st, queryTypes, nil) {
		if strings.Contains(step, "SCAN tasks_queue") {
			t.Errorf("the types are found by %q", step)
		}
	}
	if steps := plan(t, st, "SELECT * FROM tasks_queue ORDER BY body", nil); len(steps) < 2 {
		t.Errorf("a plan that scans and sorts has only %q: this test would find nothing", steps)
	}
}

func plan(t *testing.T, st *store.Store, query string, args []any) (steps []string) {
	t.Helper()
	err := st.View(t.Context(), func(tx *store.Tx) error {
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
	})
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return steps
}

// BenchmarkClaim claims and acknowledges with many more in the queue.
func BenchmarkClaim(b *testing.B) {
	for _, queued := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(queued), func(b *testing.B) {
			q := New(openStore(b, b.TempDir(), store.Options{}))
			fill(b, q, queued)
			ask := broker.Ask{Types: []string{"a"}, Max: 10, Lease: time.Minute}
			b.ResetTimer()
			for range b.N {
				leases, err := q.Claim(b.Context(), ask)
				if err != nil {
					b.Fatal(err)
				}
				for _, l := range leases {
					if err := q.Nack(context.Background(), l, broker.Again{}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func fill(b *testing.B, q *Broker, n int) {
	b.Helper()
	for at := 0; at < n; at += 1000 {
		messages := make([]broker.Message, 1000)
		for i := range messages {
			messages[i] = broker.Message{ID: fmt.Sprint(at + i), Type: "a", RunAt: time.Unix(int64(at+i), 0), Body: []byte("{}")}
		}
		if err := q.Push(b.Context(), messages); err != nil {
			b.Fatal(err)
		}
	}
}
