package heartbeat

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// aLife is a life that tests lead.
type aLife struct {
	turn

	t     *testing.T
	began time.Time
	now   time.Time
}

// newLife begins a life with a period of an hour and a grace of ten minutes.
func newLife(t *testing.T, change func(*expectation)) *aLife {
	t.Helper()
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	e := expectation{
		thresholds: Thresholds{Warning: time.Hour, Critical: 70 * time.Minute},
		maxRuntime: 30 * time.Minute, alertAfter: 1,
	}
	if change != nil {
		change(&e)
	}
	return &aLife{turn: turn{life: life{state: StateNew}, expected: e}, t: t, began: began, now: began}
}

func (l *aLife) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// after lets time pass.
func (l *aLife) after(d time.Duration) *aLife {
	l.t.Helper()
	l.now = l.now.Add(d)
	l.must(l.pass(l.now))
	return l
}

func (l *aLife) beat() *aLife { l.t.Helper(); l.must(l.end(TriggerSuccess, "", l.now)); return l }
func (l *aLife) fail() *aLife { l.t.Helper(); l.must(l.end(TriggerFail, "", l.now)); return l }

// story writes what has happened, with the minutes since the begin.
func (l *aLife) story() string {
	var all []string
	for _, c := range l.changes {
		all = append(all, fmt.Sprintf("%v %s", c.at.Sub(l.began).Minutes(), c.to))
	}
	for _, n := range l.notices {
		all = append(all, fmt.Sprintf("%v !%s", n.at.Sub(l.began).Minutes(), n.alert))
	}
	return strings.Join(all, ", ")
}

func (l *aLife) want(story string) {
	l.t.Helper()
	if got := l.story(); got != story {
		l.t.Errorf("got  %s\nwant %s", got, story)
	}
}

func TestLifeIsDatedAtItsDeadlines(t *testing.T) {
	newLife(t, nil).beat().after(3 * time.Hour).beat().
		want("0 up, 60 late, 70 down, 180 up, 70 !down, 180 !recovered")
}

func TestComingUpFromNewOrPausedTellsNobody(t *testing.T) {
	l := newLife(t, nil).beat().after(3 * time.Hour)
	l.must(l.pause(time.Time{}, l.now))
	l.after(24 * time.Hour).beat().want("0 up, 60 late, 70 down, 180 paused, 1620 up, 70 !down")
	newLife(t, nil).after(time.Hour).fail().beat().want("60 down, 60 up, 60 !down, 60 !recovered")
}

func TestPauseEnds(t *testing.T) {
	l := newLife(t, nil).beat()
	l.must(l.pause(l.now.Add(30*time.Minute), l.now))
	l.after(5 * time.Hour).want("0 up, 0 paused, 30 new")
}

func TestRunTakesTooLong(t *testing.T) {
	l := newLife(t, nil)
	l.must(l.begin("a", l.now))
	l.after(2 * time.Hour).want("0 started, 30 down, 30 !down")
}

func TestRunMayTakeLongerThanThePeriod(t *testing.T) {
	l := newLife(t, func(e *expectation) { e.maxRuntime = 5 * time.Hour }).beat()
	l.must(l.begin("a", l.now))
	l.after(4 * time.Hour)
	l.must(l.end(TriggerSuccess, "a", l.now))
	l.want("0 up, 0 started, 240 up")
}

func TestOverlappingRunsAreToldApart(t *testing.T) {
	l := newLife(t, nil)
	l.must(l.begin("a", l.now))
	l.after(10 * time.Minute)
	l.must(l.begin("b", l.now))
	l.after(10 * time.Minute)
	l.must(l.end(TriggerSuccess, "a", l.now))
	if l.state != StateStarted || l.run != "b" {
		t.Errorf("%s %q after the end of the other run", l.state, l.run)
	}
	l.after(21 * time.Minute) // the second one has begun 31 minutes ago
	l.want("0 started, 40 down, 40 !down")
}

// TestRunsThatNeverEnd has a job be started every twenty minutes, and die each time before
// it can say so: the starts are no signs of life.
func TestRunsThatNeverEnd(t *testing.T) {
	for name, c := range map[string]struct {
		beaten bool
		want   string
	}{
		"from the first on": {false, "0 started, 30 down, 40 started, 70 down, 80 started, 30 !down"},
		"after a good one":  {true, "0 up, 0 started, 70 down, 80 started, 70 !down"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLife(t, nil)
			if c.beaten {
				l.beat()
			}
			for range 5 {
				l.must(l.begin("", l.now))
				l.after(20 * time.Minute)
			}
			l.want(c.want)
		})
	}
}

func TestAlertAfter(t *testing.T) {
	three := func(e *expectation) { e.alertAfter = 3 }
	newLife(t, three).fail().fail().beat().fail().fail().fail().fail().beat().
		want("0 down, 0 up, 0 down, 0 up, 0 !down, 0 !recovered")
	// Missed beats count as well, one each period.
	newLife(t, three).beat().after(24 * time.Hour).want("0 up, 60 late, 70 down, 190 !down")
}

func TestRepeatEvery(t *testing.T) {
	hourly := func(e *expectation) { e.repeatEvery = time.Hour }
	l := newLife(t, hourly).beat()
	for range 4 {
		l.after(time.Hour)
	}
	l.want("0 up, 60 late, 70 down, 70 !down, 130 !still_down, 190 !still_down")
	// Whoever looks late tells once, not once for each.
	newLife(t, hourly).fail().after(10 * time.Hour).after(61 * time.Minute).
		want("0 down, 0 !down, 60 !still_down, 660 !still_down")
}

// newWindow returns maintenance each day from 13:00 on, UTC.
func newWindow(t *testing.T, length time.Duration) func(*expectation) {
	t.Helper()
	return func(e *expectation) {
		e.maintenance = []window{{schedule{expression(t, "0 13 * * *"), time.UTC}, length}}
	}
}

func TestMaintenance(t *testing.T) {
	// Late would be at 13:00: it is expected at the end of the window instead.
	newLife(t, newWindow(t, 2*time.Hour)).beat().after(3 * time.Hour).after(11 * time.Minute).
		want("0 up, 180 late, 190 down, 190 !down")
	// A failure meanwhile is one, but nobody is told before the end.
	newLife(t, newWindow(t, 2*time.Hour)).after(90 * time.Minute).fail().after(2 * time.Hour).want("90 down, 180 !down")
	newLife(t, newWindow(t, 2*time.Hour)).after(90 * time.Minute).fail().beat().after(time.Hour).want("90 down, 90 up")
}

func TestSchedule(t *testing.T) {
	daily := func(e *expectation) {
		e.schedule, e.grace = &schedule{expression(t, "0 3 * * *"), time.UTC}, 15*time.Minute
	}
	newLife(t, daily).beat().after(16 * time.Hour).want("0 up, 900 late, 915 down, 915 !down")
}

// TestScheduleAcrossDaylightSaving: a heartbeat is late when its schedule comes on the
// clock of its zone, in the nights in which that is set as well. Times are of the zone.
func TestScheduleAcrossDaylightSaving(t *testing.T) {
	const grace = 10 * time.Minute
	for _, c := range []struct {
		zone, schedule string
		beat           time.Time // in UTC
		late           []string  // of this beat, and of one at each time that it was late
	}{
		{"America/New_York", "30 2 * * *", time.Date(2026, 3, 7, 12, 0, 0, 0, time.UTC), []string{"2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"}},
		{"America/New_York", "30 1 * * *", time.Date(2026, 10, 31, 12, 0, 0, 0, time.UTC), []string{"2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"}},
		{
			"America/New_York", "*/30 * * * *", time.Date(2026, 11, 1, 5, 10, 0, 0, time.UTC),
			[]string{"2026-11-01T01:30:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T01:30:00-05:00", "2026-11-01T02:00:00-05:00"},
		},
		{"Australia/Lord_Howe", "15 2 * * *", time.Date(2026, 10, 3, 1, 0, 0, 0, time.UTC), []string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		{"America/Asuncion", "0 0 * * *", time.Date(2024, 10, 5, 12, 0, 0, 0, time.UTC), []string{"2024-10-06T01:00:00-03:00", "2024-10-07T00:00:00-03:00"}},
		{"UTC", "0 0 29 2 *", time.Date(2096, 3, 1, 0, 0, 0, 0, time.UTC), []string{"2104-02-29T00:00:00Z"}},
		{"UTC", "0 0 13 * 5", time.Date(2026, 2, 7, 0, 0, 0, 0, time.UTC), []string{"2026-02-13T00:00:00Z", "2026-02-20T00:00:00Z", "2026-02-27T00:00:00Z", "2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z"}},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		l := newLife(t, func(e *expectation) { e.schedule, e.grace = &schedule{expression(t, c.schedule), zone}, grace })
		l.now = c.beat
		for _, want := range c.late {
			l.beat()
			due := l.expected.late(l.life)
			if got := due.In(zone).Format(time.RFC3339); got != want {
				t.Errorf("%s, %s: late at %s, want %s", c.zone, c.schedule, got, want)
			}
			l.now = due
		}
		l.after(grace + time.Minute)
		for i, state := range []State{StateDown, StateLate} {
			change, at := l.changes[len(l.changes)-1-i], l.now.Add(-time.Minute-time.Duration(i)*grace)
			if change.to != state || !change.at.Equal(at) {
				t.Errorf("%s, %s: %s at %s, want %s at %s", c.zone, c.schedule, change.to, change.at, state, at)
			}
		}
	}
}

// TestAnySequenceTellsOnce leads many lives at random. However they go, there is one
// alert for each time that one goes down, one for each that it comes up again, and
// every change is dated at the time it fell due.
func TestAnySequenceTellsOnce(t *testing.T) {
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		l := newLife(t, func(e *expectation) {
			if seed%3 == 0 {
				newWindow(t, time.Duration(r.IntN(300))*time.Minute)(e)
			}
		})
		for range 60 {
			l.after(time.Duration(r.IntN(50)) * time.Minute)
			before, at := len(l.changes), l.deadline()
			switch r.IntN(8) {
			case 0, 1, 2:
				l.beat()
			case 3:
				l.fail()
			case 4:
				l.must(l.begin(fmt.Sprint(r.IntN(3)), l.now))
			case 5:
				l.must(l.end(TriggerSuccess, fmt.Sprint(r.IntN(3)), l.now))
			case 6:
				l.must(l.pause(l.now.Add(time.Duration(r.IntN(100))*time.Minute), l.now))
			default: // somebody looks late
				l.after(time.Duration(r.IntN(400)) * time.Minute)
				if len(l.changes) > before && !l.changes[before].at.Equal(at) && l.changes[before].trigger != TriggerResume {
					t.Fatalf("seed %d: %v was due at %s and is dated %s", seed, l.changes[before].to, at, l.changes[before].at)
				}
			}
		}
		checkStory(t, seed, l)
	}
}

// checkStory checks that each fall and each recovery was told once.
func checkStory(t *testing.T, seed uint64, l *aLife) {
	t.Helper()
	told := false
	for i, n := range l.notices {
		if (n.alert == AlertDown) == told && n.alert != AlertRecovered || n.alert == AlertRecovered && !told {
			// Told down twice, or up without having been told down: only a pause forgets.
			if !slices.ContainsFunc(l.changes, func(c change) bool {
				return c.to == StatePaused && i > 0 && !c.at.Before(l.notices[i-1].at) && !c.at.After(n.at)
			}) {
				t.Fatalf("seed %d: notice %d %q is told when it was told before: %s", seed, i, n.alert, l.story())
			}
		}
		told = n.alert != AlertRecovered
	}
	for i := 1; i < len(l.changes); i++ {
		a, b := l.changes[i-1], l.changes[i]
		if a.to != b.from || b.at.Before(a.at) || b.from == b.to {
			t.Fatalf("seed %d: %v, then %v: %s", seed, a, b, l.story())
		}
	}
	if l.expected.maintenance == nil && l.state == StateDown && !l.alerted {
		t.Fatalf("seed %d: it is down and nobody was told: %s", seed, l.story())
	}
}
