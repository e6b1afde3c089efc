package daemon

import (
	"math/rand/v2"
	"time"
)

// maxSkipped bounds how many turns of a schedule are counted as left out.
const maxSkipped = 1000

// pace says when turns start. Its times carry the monotonic clock, except those of a
// schedule.
type pace struct {
	cfg  Section
	zone *time.Location
	// base is when the newest turn was to start. The time to the next counts from here and
	// not from when it did: so nothing that procops needs for itself adds up.
	base time.Time
	due  time.Time // when the next one is to start, without jitter
	over time.Time // when the newest turn has ended
}

// newPace returns the pace of a section that Check has found nothing wrong with.
func newPace(cfg Section) pace {
	zone := time.Local
	if cfg.Timezone != "" {
		if named, err := time.LoadLocation(cfg.Timezone); err == nil {
			zone = named
		}
	}
	return pace{cfg: cfg, zone: zone}
}

// first returns when the first turn starts; last is when the last one of a former
// daemon began, the zero time if there was none.
func (p *pace) first(now, last time.Time) time.Time {
	p.due = now
	if p.cfg.Schedule != nil {
		missed := !last.IsZero() && !p.cfg.Schedule.Next(last, p.zone).After(now)
		if missed && p.cfg.CatchUp == CatchUpOne {
			return now
		}
		return p.scheduled(now)
	}
	return now
}

// next returns when the next turn starts, after one that is over by now; failures is
// how many in a row have failed.
//
// The delay is min_sleep, or with sleep what is left of that since the start, at least
// min_sleep. That is the formula of php ustream/daemon.
func (p *pace) next(now time.Time, failures int) time.Time {
	p.over = now
	pause := time.Duration(0)
	if failures > 0 {
		pause = p.cfg.Backoff.Delay(failures)
	}
	if p.cfg.Schedule != nil {
		return p.scheduled(now.Add(pause))
	}
	delay := p.cfg.MinSleep.Std()
	if sleep := p.cfg.sleep(); sleep > 0 {
		delay = max(delay, sleep-now.Sub(p.base))
	}
	p.due = now.Add(max(delay, pause))
	return p.spread(p.due)
}

// again returns the same for a pace that is renewed while it waits: the time that has
// passed since the end of the turn counts, however often that happens.
func (p *pace) again(now time.Time, failures int) time.Time {
	switch {
	case p.cfg.Schedule != nil:
		return p.scheduled(now)
	case p.over.IsZero(): // a schedule that it had before has kept the first turn waiting
		return p.first(now, time.Time{})
	default:
		return p.next(p.over, failures)
	}
}

// begin says that the turn starts that was due.
func (p *pace) begin() { p.base = p.due }

// beginAt says that a turn starts that was not.
func (p *pace) beginAt(now time.Time) { p.base = now }

// renewed returns the pace of another section that goes on in the place of this one.
func (p *pace) renewed(cfg Section) pace {
	next := newPace(cfg)
	next.base, next.due, next.over = p.base, p.due, p.over
	return next
}

func (p *pace) scheduled(after time.Time) time.Time {
	next := p.cfg.Schedule.Next(after, p.zone)
	if next.IsZero() {
		return next // never
	}
	p.due = next
	return p.spread(next)
}

// skipped returns how many turns of the schedule a turn that began at the given time
// has left no room for.
func (p *pace) skipped(began, now time.Time) (n int) {
	if p.cfg.Schedule == nil {
		return 0
	}
	for at := began; n < maxSkipped; n++ {
		at = p.cfg.Schedule.Next(at, p.zone)
		if at.IsZero() || at.After(now) {
			break
		}
	}
	return n
}

func (p *pace) spread(at time.Time) time.Time {
	if p.cfg.Jitter <= 0 {
		return at
	}
	return at.Add(rand.N(p.cfg.Jitter.Std())) //nolint:gosec // no secret depends on it
}
