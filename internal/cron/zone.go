package cron

import (
	"math"
	"time"
)

// Bounds of what zones do, in seconds.
const (
	day       = 24 * 60 * 60
	maxOffset = 26 * 60 * 60 // from UTC; POSIX allows less than 25 hours
	maxChange = 2 * maxOffset
)

// zone is a time zone. Its methods have times as Unix seconds, and what the clock
// shows ("wall") as the seconds since it showed 1970.
type zone struct{ loc *time.Location }

// newZone returns the zone, or false if the time is one that no calendar is for.
func newZone(t time.Time, loc *time.Location) (zone, bool) {
	if loc == nil {
		loc = time.UTC
	}
	year := t.UTC().Year()
	return zone{loc}, 0 <= year && year <= 9999
}

func (z zone) time(at int64) time.Time { return time.Unix(at, 0).In(z.loc) }

// period is a time, from start and before end, in which the clock goes evenly. Two
// that follow each other may have the same offset.
type period struct{ start, end, offset int64 }

// period returns the one that a time is in.
func (z zone) period(at int64) period {
	p := z.bounds(at)
	if p.start == math.MinInt64 {
		return p
	}
	// Where the table of a zone ends and its rule begins, Go has the start from the
	// rule even if the table says that it was later.
	if _, offset := z.time(p.start).Zone(); int64(offset) != p.offset {
		for before := z.bounds(p.start); before.end <= at; before = z.bounds(before.end) {
			p.start = before.end
		}
	}
	return p
}

// bounds returns a period as Go has it.
func (z zone) bounds(at int64) period {
	t := z.time(at)
	_, offset := t.Zone()
	p := period{math.MinInt64, math.MaxInt64, int64(offset)}
	start, end := t.ZoneBounds()
	if !start.IsZero() {
		p.start = start.Unix()
	}
	if !end.IsZero() {
		p.end = end.Unix()
	}
	if p.end <= at {
		// It is the last day of a leap year, which Go takes for the first of the
		// next (https://go.dev/issue/81583). No clock is changed on it any more.
		p.end = (at/day + 1) * day
	}
	return p
}

// latest returns the latest time that the clock has shown up to a time. It is
// another than the clock shows while an hour is repeated.
func (z zone) latest(at int64) int64 {
	p := z.period(at)
	wall := at + p.offset
	for p.start > at-maxChange {
		end := p.start
		p = z.period(end - 1)
		wall = max(wall, end-1+p.offset)
	}
	return wall
}

// reaches returns when the clock first shows a time or a later one.
func (z zone) reaches(wall int64) int64 {
	from := int64(math.MinInt64)
	p := z.bounds(wall - maxOffset)
	for {
		if at := max(wall-p.offset, from); at < p.end {
			return at
		}
		from = p.end
		p = z.bounds(from)
	}
}
