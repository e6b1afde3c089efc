package cron

import (
	"math"
	"time"
)

// Bounds of what zones do, in seconds.
const (
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
	p := z.period(wall - maxOffset)
	for {
		if at := max(wall-p.offset, p.start); at < p.end {
			return at
		}
		p = z.period(p.end)
	}
}
