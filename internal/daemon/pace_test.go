package daemon

import (
	"testing"
	"time"

	"procops/internal/cron"
	"procops/internal/launch"
	"procops/internal/unit"
)

func every(sleep, least time.Duration) Section {
	s := unit.Duration(sleep)
	return Section{Sleep: &s, MinSleep: unit.Duration(least)}
}

// TestDelay is the formula of php ustream/daemon: the delay is min_sleep, or what is left
// of sleep, and at least min_sleep.
func TestDelay(t *testing.T) {
	const s, ms = time.Second, time.Millisecond
	for _, c := range []struct {
		sleep, least, elapsed, want time.Duration
	}{
		{sleep: 10 * s, elapsed: 3 * s, want: 7 * s},
		{sleep: 10 * s, elapsed: 10 * s, want: 0},
		{sleep: 10 * s, elapsed: 25 * s, want: 0},
		{sleep: 10 * s, least: 2 * s, elapsed: 3 * s, want: 7 * s},
		{sleep: 10 * s, least: 2 * s, elapsed: 9 * s, want: 2 * s},
		{sleep: 10 * s, least: 2 * s, elapsed: 25 * s, want: 2 * s},
		{sleep: 1500 * ms, elapsed: 250 * ms, want: 1250 * ms},
		{sleep: 0, least: 1500 * ms, elapsed: 250 * ms, want: 1500 * ms},
		{sleep: 0, least: 0, elapsed: s, want: 0},
		{sleep: s, least: 3 * s, elapsed: 0, want: 3 * s},
	} {
		p := newPace(every(c.sleep, c.least))
		begin := time.Now()
		p.first(begin, time.Time{})
		p.begin()
		over := begin.Add(c.elapsed)
		if got := p.next(over, 0).Sub(over); got != c.want {
			t.Errorf("sleep %s, min_sleep %s, after a turn of %s: %s, want %s", c.sleep, c.least, c.elapsed, got, c.want)
		}
	}
}

// TestNothingAddsUp: a turn that starts late is not followed by one that is later still.
func TestNothingAddsUp(t *testing.T) {
	p := newPace(every(10*time.Millisecond, 0))
	begin := time.Now()
	at := p.first(begin, time.Time{})
	const late, took = 300 * time.Microsecond, 2 * time.Millisecond
	for range 1000 {
		p.begin()
		at = p.next(at.Add(late+took), 0)
	}
	if got := at.Sub(begin); got != 10*time.Second {
		t.Errorf("1000 turns every 10 ms took %s", got)
	}
}

func TestBackoffAfterFailures(t *testing.T) {
	s := every(time.Second, 0)
	s.Backoff = launch.Backoff{Initial: unit.Duration(3 * time.Second), Factor: 2, Max: unit.Duration(5 * time.Second)}
	p := newPace(s)
	now := time.Now()
	p.first(now, time.Time{})
	p.begin()
	for failures, want := range []time.Duration{time.Second, 3 * time.Second, 5 * time.Second, 5 * time.Second} {
		if got := p.next(now, failures).Sub(now); got != want {
			t.Errorf("after %d failures in a row: %s, want %s", failures, got, want)
		}
	}
}

func TestJitter(t *testing.T) {
	s := every(time.Second, 0)
	s.Jitter = unit.Duration(500 * time.Millisecond)
	p := newPace(s)
	now := time.Now()
	p.first(now, time.Time{})
	seen := map[time.Duration]bool{}
	for range 100 {
		p.begin()
		planned := p.base.Add(time.Second)
		at := p.next(p.base, 0)
		if later := at.Sub(planned); later < 0 || later >= 500*time.Millisecond {
			t.Fatalf("a turn is %s later than planned", later)
		}
		seen[at.Sub(planned)] = true
	}
	if len(seen) < 50 {
		t.Errorf("only %d different delays", len(seen))
	}
	if got := p.due.Sub(now); got != 100*time.Second {
		t.Errorf("after 100 turns of a second the next is due after %s: jitter adds up", got)
	}
}

// scheduled returns a pace at minutes that 15 divides.
func scheduled(t *testing.T, change func(*Section)) pace {
	t.Helper()
	e, err := cron.Parse("*/15 * * * *")
	if err != nil {
		t.Fatal(err)
	}
	s := Section{Schedule: &e, Timezone: "Europe/Berlin"}
	if change != nil {
		change(&s)
	}
	return newPace(s)
}

func clockTime(text string) time.Time {
	t, err := time.ParseInLocation("15:04:05", text, time.UTC)
	if err != nil {
		panic(err)
	}
	return t.AddDate(2026, 5, 9)
}

func TestScheduledTurns(t *testing.T) {
	p := scheduled(t, nil)
	at := clockTime
	if got := p.first(at("10:01:00"), time.Time{}); !got.Equal(at("10:15:00")) {
		t.Errorf("the first turn is at %s", got)
	}
	p.begin()
	if got := p.next(at("10:16:00"), 0); !got.Equal(at("10:30:00")) {
		t.Errorf("the next turn is at %s", got)
	}
	if n := p.skipped(at("10:15:00"), at("10:16:00")); n != 0 {
		t.Errorf("%d turns were left out", n)
	}
	if n := p.skipped(at("10:15:00"), at("10:46:00")); n != 2 {
		t.Errorf("%d turns were left out by one of 31 minutes", n)
	}
	if n := p.skipped(at("10:15:00"), at("10:15:00").AddDate(10, 0, 0)); n != maxSkipped {
		t.Errorf("%d turns were left out in ten years", n)
	}
}

func TestCatchUp(t *testing.T) {
	now := clockTime("10:01:00")
	for _, c := range []struct {
		catchUp CatchUp
		last    time.Time
		want    string
	}{
		{CatchUpOne, clockTime("09:45:00"), "10:01:00"}, // that of 10:00 was missed
		{CatchUpOne, clockTime("10:00:00"), "10:15:00"},
		{CatchUpOne, time.Time{}, "10:15:00"}, // it has never run
		{CatchUpNone, clockTime("09:45:00"), "10:15:00"},
	} {
		p := scheduled(t, func(s *Section) { s.CatchUp = c.catchUp })
		if got := p.first(now, c.last); !got.Equal(clockTime(c.want)) {
			t.Errorf("catch_up %s, last turn %s: the first is at %s, want %s", c.catchUp, c.last, got, c.want)
		}
	}
}

// TestReloadedPace: another rhythm counts from the turn before.
func TestReloadedPace(t *testing.T) {
	p := newPace(every(time.Hour, 0))
	begin := time.Now()
	p.first(begin, time.Time{})
	p.begin()
	p.next(begin.Add(time.Second), 0)
	fresh := p.renewed(every(time.Minute, 0))
	now := begin.Add(10 * time.Second)
	if got := fresh.next(now, 0).Sub(begin); got != time.Minute {
		t.Errorf("the next turn is %s after the last", got)
	}
}

// TestAgain: a pace that is renewed while it waits puts the turn off no further, however
// often that happens.
func TestAgain(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		section  Section
		failures int
		want     time.Duration // since the end of the turn, which took a second
	}{
		"sleep":     {every(10*time.Second, 0), 0, 9 * time.Second},
		"min_sleep": {every(0, time.Hour), 0, time.Hour},
		"backoff":   {Section{Backoff: launch.Backoff{Initial: unit.Duration(time.Minute), Factor: 1, Max: unit.Duration(time.Minute)}}, 1, time.Minute},
	} {
		p := newPace(c.section)
		p.first(now, time.Time{})
		p.begin()
		over := now.Add(time.Second)
		p.next(over, c.failures)
		for later := range 5 {
			p = p.renewed(c.section)
			if got := p.again(over.Add(time.Duration(later)*time.Minute), c.failures).Sub(over); got != c.want {
				t.Errorf("%s: after %d reloads the next turn is %v after the last, want %v", name, later+1, got, c.want)
			}
		}
	}
	p := scheduled(t, nil)
	p.first(now, time.Time{})
	p = p.renewed(every(time.Hour, time.Hour))
	if got := p.again(now, 0); !got.Equal(now) {
		t.Errorf("a first turn that does not wait for a schedule any more begins after %v", got.Sub(now))
	}
}
