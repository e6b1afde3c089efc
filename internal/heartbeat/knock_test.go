package heartbeat

import (
	"slices"
	"strings"
	"testing"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
	"procops/internal/unit"
)

func TestKnockJudgesTheLag(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"x": {WarnAfter: minutes(1), CriticalAfter: minutes(5)}}})
	if k := w.knockOne("x"); k.Status != Unknown || k.Message != "no beat yet" || k.Lag != 0 {
		t.Errorf("%+v", k)
	}
	w.beat("x")
	at := time.Duration(0)
	for _, test := range []struct {
		lag     time.Duration
		status  Status
		message string
	}{
		{0, OK, "beat 0s ago"},
		{12 * time.Second, OK, "beat 12s ago"},
		{time.Minute, OK, "beat 1m ago"},
		{time.Minute + time.Millisecond, Warning, "beat 1m ago, late after 1m"},
		{5 * time.Minute, Warning, "beat 5m ago, late after 1m"},
		{5*time.Minute + time.Microsecond, Critical, "beat 5m ago, critical after 5m"},
		{49*time.Hour + 3*time.Minute, Critical, "beat 2d1h ago, critical after 5m"},
		{-time.Hour, OK, "beat 0s ago"}, // the clock was set back
	} {
		w.clock.move(test.lag - at)
		at = test.lag
		k := w.knockOne("x")
		if k.Status != test.status || k.Message != test.message || k.Lag != max(0, test.lag) {
			t.Errorf("lag %s: %s %q, lag %s", test.lag, k.Status, k.Message, k.Lag)
		}
	}
	// The lag is that of this beat: a new one makes all well.
	w.beat("x")
	if k := w.knockOne("x"); k.Status != OK || k.Heartbeat.Last.Number != 2 {
		t.Errorf("%+v", k)
	}
}

func TestEveryKnockIsOneEntry(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": {Period: minutes(1)}, "b": {}}})
	w.beat("a")
	for range 3 {
		_, err := w.Knock(t.Context(), "a", "b")
		w.must(err)
		w.clock.move(time.Minute)
	}
	var ids []int64
	for _, test := range []struct {
		name     string
		statuses []Status
	}{
		{"a", []Status{OK, OK, Warning}},
		{"b", []Status{Unknown, Unknown, Unknown}},
	} {
		entries, err := w.History(t.Context(), test.name, HistoryFilter{})
		w.must(err)
		var statuses []Status
		for i, e := range entries {
			statuses = append(statuses, e.Status)
			ids = append(ids, e.ID)
			if want := w.clock.now.Add(time.Duration(i-3) * time.Minute); e.Name != test.name || e.Message == "" || !e.Time.Equal(want) {
				t.Errorf("entry %+v, want time %s", e, want)
			}
			if wantLag := test.name == "a"; e.HasLag != wantLag || (wantLag && e.Lag != time.Duration(i)*time.Minute) {
				t.Errorf("entry %+v", e)
			}
		}
		if !slices.Equal(statuses, test.statuses) {
			t.Errorf("%s: %q", test.name, statuses)
		}
	}
	slices.Sort(ids)
	if len(slices.Compact(ids)) != 6 {
		t.Errorf("identifiers %v", ids)
	}
	since, err := w.History(t.Context(), "a", HistoryFilter{Since: w.clock.now.Add(-2 * time.Minute)})
	w.must(err)
	newest, err := w.History(t.Context(), "a", HistoryFilter{Limit: 1})
	w.must(err)
	if len(since) != 2 || len(newest) != 1 || newest[0].Status != Warning {
		t.Errorf("since: %v, newest: %v", since, newest)
	}
}

func TestKnockOfUnknownNameRecordsNothing(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": {}}})
	_, err := w.Knock(t.Context(), "a", "b")
	wantFault(t, err, fault.NotFound, `heartbeat "b" is not attached`)
	entries, err := w.History(t.Context(), "a", HistoryFilter{})
	w.must(err)
	if len(entries) != 0 {
		t.Errorf("%d entries", len(entries))
	}
	_, err = w.History(t.Context(), "b", HistoryFilter{})
	wantFault(t, err, fault.NotFound)
	_, err = w.Runs(t.Context(), "b", KeptFilter{Limit: 1})
	wantFault(t, err, fault.NotFound)
}

func TestStatusChangesAreEvents(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"x": {WarnAfter: minutes(1), CriticalAfter: minutes(2)}}})
	w.beat("x")
	for range 4 { // ok, ok, warning, critical
		w.knockOne("x")
		w.clock.move(time.Minute - time.Second)
	}
	w.beat("x")
	w.knockOne("x")
	var changes []string
	w.must(w.store.View(t.Context(), func(tx *store.Tx) error {
		events, err := store.Events(tx, store.EventFilter{Types: []string{"heartbeat.status_changed"}})
		for _, e := range events {
			raw, err := e.DataJSON()
			if err != nil {
				return err
			}
			changes = append(changes, string(raw))
		}
		return err
	}))
	want := []string{
		`{"to":"ok","message":"beat 0s ago"}`,
		`{"from":"ok","to":"warning","lag_seconds":118,"message":"beat 1m58s ago, late after 1m"}`,
		`{"from":"warning","to":"critical","lag_seconds":177,"message":"beat 2m57s ago, critical after 2m"}`,
		`{"from":"critical","to":"ok","message":"beat 0s ago"}`,
	}
	if !slices.Equal(changes, want) {
		t.Errorf("changes:\n%s", strings.Join(changes, "\n"))
	}
}

func TestHistoryIsKeptByCountAndAge(t *testing.T) {
	w := newWorld(t, Config{
		HistoryKeep: 5, HistoryMaxAge: unit.Duration(time.Hour),
		Heartbeats: map[string]Target{"x": {}, "other": {}},
	})
	w.knockOne("other")
	for range 8 {
		w.knockOne("x")
		w.clock.move(time.Minute)
	}
	count := func(name string) int {
		entries, err := w.History(t.Context(), name, HistoryFilter{})
		w.must(err)
		return len(entries)
	}
	if n := count("x"); n != 5 {
		t.Errorf("%d entries are kept, want 5", n)
	}
	if n := count("other"); n != 1 {
		t.Errorf("%d entries of the other are kept", n)
	}
	w.clock.move(58 * time.Minute)
	w.knockOne("x")
	if n := count("x"); n != 3 { // two of the old ones are at most an hour old
		t.Errorf("%d entries are kept, want 3", n)
	}
}

func TestWorst(t *testing.T) {
	for _, test := range []struct {
		of   []Status
		want Status
	}{
		{nil, Unknown},
		{[]Status{OK, OK}, OK},
		{[]Status{OK, Unknown}, Unknown},
		{[]Status{Unknown, Warning, OK}, Warning},
		{[]Status{Warning, Critical, Unknown}, Critical},
	} {
		if got := Worst(test.of...); got != test.want {
			t.Errorf("worst of %q is %s", test.of, got)
		}
	}
	codes := []int{OK.ExitCode(), Warning.ExitCode(), Critical.ExitCode(), Unknown.ExitCode(), Status("?").ExitCode()}
	if !slices.Equal(codes, []int{0, 1, 2, 3, 3}) {
		t.Errorf("exit codes %v", codes)
	}
}
