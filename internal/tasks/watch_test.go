package tasks

import (
	"strings"
	"testing"
	"time"

	"procops/internal/fault"
)

// TestWatch: each change is shown, the end as well, and then it is over.
func TestWatch(t *testing.T) {
	w := newWorld(t, only(`echo '{"state": "s", "percent": 50}' >&3; until [ -e go ]; do sleep 0.01; done`))
	id := w.push("")
	k := w.start(t.Context(), WorkOptions{UntilEmpty: true})
	var seen []string
	r, err := w.Watch(t.Context(), id, func(r *Record) error {
		seen = append(seen, string(r.State)+" "+r.Run.state())
		if r.Run.Progress != nil && r.Run.Progress.Done == 50 && r.State == StateRunning {
			w.letGo()
		}
		return nil
	})
	w.must(err)
	if _, err := k.wait(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, ","); r.State != StateDone || !strings.HasSuffix(got, "running s,done s") {
		t.Errorf("it was shown as %s and is %s in the end", got, r.State)
	}
	if _, err := w.Watch(t.Context(), "none", func(*Record) error { return nil }); !fault.Is(err, fault.NotFound) {
		t.Errorf("of an unknown task: %v", err)
	}
}

func TestStats(t *testing.T) {
	w := newWorld(t, Config{Types: map[string]Type{"t": script("exit 0"), "bad": script("exit 1")}})
	for range 3 {
		w.push("")
	}
	if _, err := w.Push(t.Context(), Task{Type: "bad"}); err != nil {
		t.Fatal(err)
	}
	w.work()
	w.push("")
	all, err := w.Stats(t.Context(), "", time.Hour)
	w.must(err)
	if len(all) != 2 || all[0].Type != "bad" || all[0].States[StateDead] != 1 || all[0].Failed != 1 || all[0].PerMinute != 0 {
		t.Fatalf("the figures are %+v", all)
	}
	s := all[1]
	if s.States[StateDone] != 3 || s.States[StatePending] != 1 || s.Completed != 3 || s.Failed != 0 || s.PerMinute != 3.0/60 ||
		s.Median <= 0 || s.P95 < s.Median || s.Max < s.P95 {
		t.Errorf("the figures are %+v", s)
	}
	if one, err := w.Stats(t.Context(), "bad", time.Hour); err != nil || len(one) != 1 {
		t.Errorf("of one type: %+v, %v", one, err)
	}
	if none, err := w.Stats(t.Context(), "t", time.Nanosecond); err != nil || none[0].Completed != 0 || none[0].Max != 0 {
		t.Errorf("of no time: %+v, %v", none, err)
	}
}

func TestNearestRank(t *testing.T) {
	values := make([]time.Duration, 20)
	for i := range values {
		values[i] = time.Duration(i + 1)
	}
	for p, want := range map[int]time.Duration{50: 10, 95: 19, 100: 20, 1: 1} {
		if got := nearestRank(values, p); got != want {
			t.Errorf("%d %% is %d, want %d", p, got, want)
		}
	}
	if got := nearestRank(values[:1], 95); got != 1 {
		t.Errorf("of one value it is %d", got)
	}
}
