package tasks

import (
	"fmt"
	"testing"
	"time"

	"procops/internal/unit"
)

func TestRetryDelay(t *testing.T) {
	seconds := func(list ...int) (all []unit.Duration) {
		for _, n := range list {
			all = append(all, unit.Duration(time.Duration(n)*time.Second))
		}
		return all
	}
	exponential := Retry{Policy: RetryExponential, Initial: seconds(10)[0], Factor: 2, Max: seconds(60)[0]}
	fixed := exponential
	fixed.Policy = RetryFixed
	for _, c := range []struct {
		retry    Retry
		failures int
		want     time.Duration
	}{
		{exponential, 1, 10 * time.Second},
		{exponential, 2, 20 * time.Second},
		{exponential, 4, time.Minute},
		{exponential, 5000, time.Minute},
		{fixed, 1, 10 * time.Second},
		{fixed, 5000, 10 * time.Second},
		{Retry{Policy: RetryList, Delays: seconds(7, 0, 3)}, 1, 7 * time.Second},
		{Retry{Policy: RetryList, Delays: seconds(7, 0, 3)}, 2, 0},
		{Retry{Policy: RetryList, Delays: seconds(7, 0, 3)}, 9, 3 * time.Second},
		{Retry{}, 3, 0},
	} {
		if got := c.retry.delay(c.failures); got != c.want {
			t.Errorf("%+v after %d failures: %s, want %s", c.retry, c.failures, got, c.want)
		}
	}
	fixed.Jitter = 0.5
	least, most := time.Hour, time.Duration(0)
	for range 1000 {
		d := fixed.delay(1)
		least, most = min(least, d), max(most, d)
	}
	if least < 5*time.Second || least > 7*time.Second || most < 13*time.Second || most > 15*time.Second {
		t.Errorf("with jitter from %s to %s", least, most)
	}
}

// TestRetryOfType: a type's own policy, and as many attempts as its list has delays.
func TestRetryOfType(t *testing.T) {
	cfg := only("exit 1")
	typ := cfg.Types["t"]
	typ.Retry = &Retry{Policy: RetryList, Delays: make([]unit.Duration, 3)}
	cfg.Types["t"] = typ
	cfg.Retry = Retry{Initial: unit.Duration(time.Hour), Max: unit.Duration(time.Hour)}
	w := newWorld(t, cfg)
	id := w.push("")
	w.work()
	w.want(id, "dead error 4/0")
}

// TestPostpone: exit code 75 is no failed attempt, however often it comes.
func TestPostpone(t *testing.T) {
	w := newWorld(t, only(`echo x >> runs; test $(wc -l < runs) -ge 5 || exit 75`))
	id := w.push("")
	w.work() // its pauses are shorter than it waits for more
	w.until("it is done", func() bool {
		w.work()
		return w.get(id).State == StateDone
	})
	w.want(id, "done success 0/0")
	if got, want := w.events(id), fmt.Sprint("pushed", " started postponed started postponed started postponed started postponed", " started completed"); got != want {
		t.Errorf("events: %s", got)
	}
}
