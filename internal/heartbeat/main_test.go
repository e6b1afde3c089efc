package heartbeat

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"procops/internal/event"
	"procops/internal/store"
)

// testClock is a clock that stands still until it is moved.
type testClock struct {
	mu    sync.Mutex
	now   time.Time
	jumps time.Duration // how far the wall clock was set, all together
	boot  string
}

func newTestClock() *testClock {
	return &testClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

func (c *testClock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// sinceBoot is the test's clock that nobody sets: it goes with the wall clock but for
// jumps.
func (c *testClock) sinceBoot() (string, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot, c.now.Sub(newTestClock().now) + time.Hour - c.jumps, nil
}

// jump sets the wall clock.
func (c *testClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.jumps = c.now.Add(d), c.jumps+d
}

// world is a list in a new state directory.
type world struct {
	*List
	t     testing.TB
	clock *testClock
}

func newWorld(tb testing.TB, cfg Config) *world {
	tb.Helper()
	clock := newTestClock()
	st, err := store.Open(tb.Context(), tb.TempDir(), store.Options{Now: clock.read})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := st.Close(); err != nil {
			tb.Error(err)
		}
	})
	list := New(st, cfg)
	list.clock = clock
	return &world{List: list, t: tb, clock: clock}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// beat beats and returns the running number.
func (w *world) beat(name string) int64 {
	w.t.Helper()
	receipt, err := w.Beat(w.t.Context(), name, Sign{})
	w.must(err)
	return receipt.Number
}

// knockOne knocks at one heartbeat.
func (w *world) knockOne(name string) Knock {
	w.t.Helper()
	knocks, err := w.Knock(w.t.Context(), name)
	w.must(err)
	if len(knocks) != 1 {
		w.t.Fatalf("%d knocks", len(knocks))
	}
	return knocks[0]
}

// names returns the names in the list.
func (w *world) names(tags ...string) string {
	w.t.Helper()
	all, err := w.All(w.t.Context(), tags)
	w.must(err)
	var names []string
	for _, h := range all {
		names = append(names, h.Name)
	}
	return strings.Join(names, " ")
}

// events returns the recorded events as "type subject".
func (w *world) events() []string {
	w.t.Helper()
	var all []string
	w.must(w.store.View(context.Background(), func(tx *store.Tx) error {
		return store.EachEvent(tx, store.EventFilter{}, func(e event.Event) error {
			all = append(all, e.Type+" "+e.Subject)
			return nil
		})
	}))
	return all
}
