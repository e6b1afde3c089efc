package cron

import (
	"math/bits"
	"time"
)

// Next returns when the expression comes first after a time, in the zone loc, or in
// UTC if loc is nil. It is the zero time for the zero Expression, and after the year
// 9999 or before the year 0.
func (e Expression) Next(after time.Time, loc *time.Location) time.Time {
	z, ok := newZone(after, loc)
	if !ok {
		return time.Time{}
	}
	from := after.Unix() + 1 // times are whole seconds
	if e.wild {
		return e.nextShown(z, from)
	}
	wall, ok := e.wallFrom(z.latest(from-1) + 1)
	if !ok {
		return time.Time{}
	}
	return z.time(z.reaches(wall))
}

// Prev returns when the expression came last at or before a time, as Next does.
func (e Expression) Prev(at time.Time, loc *time.Location) time.Time {
	z, ok := newZone(at, loc)
	if !ok {
		return time.Time{}
	}
	until := at.Unix()
	if e.wild {
		return e.prevShown(z, until)
	}
	wall, ok := e.wallUntil(z.latest(until))
	if !ok {
		return time.Time{}
	}
	return z.time(z.reaches(wall))
}

// nextShown returns when, from a time on, the clock first shows a time that matches.
func (e Expression) nextShown(z zone, from int64) time.Time {
	for {
		p := z.bounds(from)
		wall, ok := e.wallFrom(from + p.offset)
		if !ok {
			return time.Time{}
		}
		if at := wall - p.offset; at < p.end {
			return z.time(at)
		}
		from = p.end
	}
}

// prevShown returns when, until a time, the clock last showed a time that matches.
func (e Expression) prevShown(z zone, until int64) time.Time {
	for {
		p := z.period(until)
		wall, ok := e.wallUntil(until + p.offset)
		if !ok {
			return time.Time{}
		}
		if at := wall - p.offset; at >= p.start {
			return z.time(at)
		}
		until = p.start - 1
	}
}

// wallFrom returns the first match at or after a time. Both are what a clock shows,
// as seconds since it showed 1970.
func (e Expression) wallFrom(wall int64) (int64, bool) {
	t := time.Unix(wall+59, 0).UTC()
	y, m, d := t.Date()
	hour, minute, today := e.clockFrom(t.Hour(), t.Minute())
	if !today {
		d++
	}
	year, month, day, ok := e.dayFrom(y, int(m), d)
	if !today || year != y || month != int(m) || day != d {
		hour, minute = lowest(e.hours), lowest(e.minutes)
	}
	return time.Date(year, time.Month(month), day, hour, minute, 0, 0, time.UTC).Unix(), ok
}

// wallUntil returns the last match at or before a time, as wallFrom does.
func (e Expression) wallUntil(wall int64) (int64, bool) {
	t := time.Unix(wall, 0).UTC()
	y, m, d := t.Date()
	hour, minute, today := e.clockUntil(t.Hour(), t.Minute())
	if !today {
		d--
	}
	year, month, day, ok := e.dayUntil(y, int(m), d)
	if !today || year != y || month != int(m) || day != d {
		hour, minute = highest(e.hours), highest(e.minutes)
	}
	return time.Date(year, time.Month(month), day, hour, minute, 0, 0, time.UTC).Unix(), ok
}

// clockFrom returns the first hour and minute of a day that match, from some on.
func (e Expression) clockFrom(h, m int) (hour, minute int, ok bool) {
	if minute = atLeast(e.minutes, m); e.hours>>h&1 == 1 && minute != none {
		return h, minute, true
	}
	hour = atLeast(e.hours, h+1)
	return hour, lowest(e.minutes), hour != none
}

// clockUntil returns the last hour and minute of a day that match, up to some.
func (e Expression) clockUntil(h, m int) (hour, minute int, ok bool) {
	if minute = atMost(e.minutes, m); e.hours>>h&1 == 1 && minute != none {
		return h, minute, true
	}
	hour = atMost(e.hours, h-1)
	return hour, highest(e.minutes), hour != none
}

// cycle is after how many years the calendar repeats, days of the week and all.
const cycle = 400

// dayFrom returns the first day that matches, from one on. That one may be beyond
// the end of its month.
func (e Expression) dayFrom(year, month, day int) (y, m, d int, ok bool) {
	for end := year + cycle; year <= end; year, month, day = year+1, 1, 1 {
		for next := atLeast(e.months, month); next != none; next = atLeast(e.months, next+1) {
			if next != month {
				day = 1
			}
			if found := atLeast(e.daysOf(year, next), day); found != none {
				return year, next, found, true
			}
		}
	}
	return 0, 0, 0, false
}

// dayUntil returns the last day that matches, up to one. That one may be 0.
func (e Expression) dayUntil(year, month, day int) (y, m, d int, ok bool) {
	for end := year - cycle; year >= end; year, month, day = year-1, 12, 31 {
		for next := atMost(e.months, month); next != none; next = atMost(e.months, next-1) {
			if next != month {
				day = 31
			}
			if found := atMost(e.daysOf(year, next), day); found != none {
				return year, next, found, true
			}
		}
	}
	return 0, 0, 0, false
}

// daysOf returns the days of a month that match.
func (e Expression) daysOf(year, month int) uint64 {
	first := time.Date(year, time.Month(month), 1, 0, 0, 0, 0, time.UTC)
	length := first.AddDate(0, 1, -1).Day()
	all := uint64(1)<<(length+1) - 2

	byDate := e.days & all
	if e.days&lastDay != 0 {
		byDate |= 1 << length
	}
	var byWeekday uint64
	for w := range weeks {
		byWeekday |= fromDay(e.weekdays>>(w*week), int(first.Weekday())) << (w*week + 1)
	}
	byWeekday |= fromDay(e.weekdays>>(lastWeek*week), int(first.Weekday())+length) << (length - week + 1)

	if e.either {
		return (byDate | byWeekday) & all
	}
	return byDate & byWeekday & all
}

// fromDay turns the days of a week, which begin with Sunday, into seven days that
// begin with another.
func fromDay(days uint64, first int) uint64 {
	days &= allDays
	first %= week
	return (days>>first | days<<(week-first)) & allDays
}

// none is the answer if a set has no such number.
const none = -1

// atLeast returns the smallest number of a set from n on.
func atLeast(set uint64, n int) int {
	if set = set >> n << n; set == 0 {
		return none
	}
	return bits.TrailingZeros64(set)
}

// atMost returns the largest number of a set up to n, which is at least -1.
func atMost(set uint64, n int) int {
	return bits.Len64(set&(1<<(n+1)-1)) - 1
}

func lowest(set uint64) int  { return bits.TrailingZeros64(set) }
func highest(set uint64) int { return bits.Len64(set) - 1 }
