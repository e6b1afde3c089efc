package heartbeat

import (
	"slices"
	"testing"
	"time"
)

// TestNewsIsSeenAtOnce has a client fail and recover long before its pulse: the status
// changes at the next pass, and only then.
func TestNewsIsSeenAtOnce(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": hourly()}})
	w.beat("a")
	passes := func(want int) {
		t.Helper()
		got := 0
		for range 3 {
			w.clock.move(time.Second)
			got += w.pass(Deps{}).Knocked
		}
		if got != want {
			t.Errorf("%d knocks in three passes, want %d", got, want)
		}
	}
	passes(1)
	w.beat("a")
	passes(0)
	_, err := w.Beat(t.Context(), "a", Sign{Failed: true})
	w.must(err)
	passes(1)
	w.beat("a")
	passes(1)
	var statuses []Status
	entries, err := w.History(t.Context(), "a", HistoryFilter{})
	w.must(err)
	for _, e := range entries {
		statuses = append(statuses, e.Status)
	}
	if !slices.Equal(statuses, []Status{OK, Critical, OK}) {
		t.Errorf("the knocks found %s", statuses)
	}
}

func TestUnattended(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": hourly(), "b": {OnAttack: []Reaction{{Log: "down"}}}}})
	unattended := func() bool {
		t.Helper()
		is, err := w.Unattended(t.Context())
		w.must(err)
		return is
	}
	if !unattended() {
		t.Error("a monitor is there before the first")
	}
	if w.pass(Deps{}); unattended() {
		t.Error("the monitor is not seen")
	}
	if w.clock.move(time.Hour); !unattended() {
		t.Error("a monitor is there an hour after its last pass")
	}
	delete(w.cfg.Heartbeats, "b")
	if unattended() {
		t.Error("somebody is to do what nobody wants done")
	}
}
