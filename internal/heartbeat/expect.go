package heartbeat

import (
	"fmt"
	"sync"
	"time"

	"procops/internal/cron"
)

// expectation is what is expected of a heartbeat, made ready for sums.
type expectation struct {
	thresholds  Thresholds // of a last beat; not used with a schedule
	schedule    *schedule  // nil: beats come at any time, with a period
	period      time.Duration
	grace       time.Duration
	maxRuntime  time.Duration
	alertAfter  int
	repeatEvery time.Duration
	maintenance []window
	pulse       time.Duration // between two knocks of the monitor
}

// schedule is a cron expression in a time zone.
type schedule struct {
	cron.Expression

	zone *time.Location
}

// window is a time of maintenance that comes again and again.
type window struct {
	schedule

	length time.Duration
}

// maxWindows bounds how many windows that touch each other are taken as one.
const maxWindows = 100

// defaultGrace is the grace of a heartbeat with a schedule.
const defaultGrace = time.Hour

// expectation makes ready what is expected of a heartbeat.
func (l *List) expectation(t Target) (expectation, error) {
	e := expectation{
		thresholds: t.Thresholds(l.cfg.DefaultPeriod.Std()), period: t.period(l.cfg.DefaultPeriod.Std()),
		grace: t.Grace.Std(), maxRuntime: t.MaxRuntime.Std(),
		alertAfter: max(1, t.AlertAfter), repeatEvery: t.RepeatEvery.Std(),
		pulse: t.Pulse.Std(),
	}
	if t.Schedule != nil || len(t.Maintenance) > 0 {
		zone, err := l.zones.load(t)
		if err != nil {
			return e, fmt.Errorf("cannot use time zone %q: %w", t.Timezone, err)
		}
		e.plan(t, zone)
	}
	if e.maxRuntime == 0 {
		e.maxRuntime = e.thresholds.Critical
		if e.grace > 0 {
			e.maxRuntime = e.grace
		}
	}
	if e.pulse == 0 {
		e.pulse = max(time.Second, e.period)
	}
	return e, nil
}

// plan fills in what goes by schedules.
func (e *expectation) plan(t Target, zone *time.Location) {
	if t.Schedule != nil {
		e.schedule = &schedule{*t.Schedule, zone}
		if e.grace == 0 {
			e.grace = defaultGrace
		}
	}
	for _, m := range t.Maintenance {
		if m.Schedule != nil {
			e.maintenance = append(e.maintenance, window{schedule{*m.Schedule, zone}, m.Duration.Std()})
		}
	}
}

// zones keeps time zones, because each costs reading a file.
type zones struct {
	mu    sync.Mutex
	known map[string]*time.Location
}

func (z *zones) load(t Target) (*time.Location, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if zone, ok := z.known[t.Timezone]; ok {
		return zone, nil
	}
	zone, err := t.zone()
	if err != nil {
		return nil, err
	}
	if z.known == nil {
		z.known = map[string]*time.Location{}
	}
	z.known[t.Timezone] = zone
	return zone, nil
}

// span is how long after it is late a heartbeat is down.
func (e expectation) span() time.Duration {
	if e.schedule != nil {
		return e.grace
	}
	return e.thresholds.Critical - e.thresholds.Warning
}

// following returns when a beat is late that follows one at a time.
func (e expectation) following(base time.Time) time.Time {
	if e.schedule != nil {
		return e.schedule.Next(base, e.schedule.zone)
	}
	return base.Add(e.thresholds.Warning)
}

// late returns when a heartbeat is late.
func (e expectation) late(l life) time.Time {
	at := e.following(l.base)
	if at.Before(l.armed) {
		at = l.armed
	}
	return e.outside(at)
}

// down returns when a heartbeat is down.
func (e expectation) down(l life) time.Time { return e.outside(e.late(l).Add(e.span())) }

// overrun returns when the run under way takes too long; zero: never. Runs that begin
// one after the other, of which none ends well, do not put that off for ever: the first
// of them is too long then, and the next good beat is overdue.
func (e expectation) overrun(l life) time.Time {
	if e.maxRuntime <= 0 || l.started.IsZero() {
		return time.Time{}
	}
	at := l.started.Add(e.maxRuntime)
	if first := later(l.since.Add(e.maxRuntime), e.down(l)); first.Before(at) && !l.since.IsZero() {
		at = first
	}
	if at.Before(l.armed) {
		at = l.armed
	}
	return e.outside(at)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// anew returns when a heartbeat is late that nobody has watched until now: one with
// a period has a whole one; what a schedule had for meanwhile may still come.
func (e expectation) anew(now time.Time) time.Time {
	if e.schedule != nil {
		return now
	}
	return now.Add(e.thresholds.Warning)
}

// outside returns the first time, from at on, that is in no window of maintenance.
func (e expectation) outside(at time.Time) time.Time {
	for range maxWindows {
		end := e.windowEnd(at)
		if end.IsZero() {
			return at
		}
		at = end
	}
	return at
}

// windowEnd returns the end of the window that a time is in; zero: in none.
func (e expectation) windowEnd(at time.Time) time.Time {
	for _, w := range e.maintenance {
		begin := w.Prev(at, w.zone)
		if end := begin.Add(w.length); !begin.IsZero() && end.After(at) {
			return end
		}
	}
	return time.Time{}
}
