package cron_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"procops/internal/cron"
)

// oracle is what the tests compare with: an expression that is read again for each
// minute, in the plainest way.
type oracle []string

// newOracle takes numbers only.
func newOracle(text string) oracle { return strings.Fields(text) }

// matches reports whether a clock that shows the wall time, in UTC, shows one of the
// expression's.
func (o oracle) matches(wall time.Time) bool {
	if !contains(o[0], wall.Minute(), 0, 59) || !contains(o[1], wall.Hour(), 0, 23) || !contains(o[3], int(wall.Month()), 1, 12) {
		return false
	}
	date := slices.ContainsFunc(strings.Split(o[2], ","), func(item string) bool {
		isLast := wall.AddDate(0, 0, 1).Day() == 1
		return item == "L" && isLast || contains(item, wall.Day(), 1, 31)
	})
	weekday := slices.ContainsFunc(strings.Split(o[4], ","), func(item string) bool {
		item, n, isNth := strings.Cut(item, "#")
		item, isLast := strings.CutSuffix(item, "L")
		if isNth && n != strconv.Itoa((wall.Day()+6)/7) || isLast && wall.AddDate(0, 0, 7).Month() == wall.Month() {
			return false
		}
		return contains(item, int(wall.Weekday()), 0, 6) || wall.Weekday() == time.Sunday && contains(item, 7, 0, 6)
	})
	if o[2][0] != '*' && o[4][0] != '*' {
		return date || weekday
	}
	return date && weekday
}

func contains(list string, n, first, last int) bool {
	for item := range strings.SplitSeq(list, ",") {
		base, step, hasStep := strings.Cut(item, "/")
		low, high, isRange := strings.Cut(base, "-")
		from, to, by := first, last, 1
		if base != "*" {
			from, _ = strconv.Atoi(low)
			to = from
			if hasStep {
				to = max(from, last)
			}
		}
		if isRange {
			to, _ = strconv.Atoi(high)
		}
		if hasStep {
			by, _ = strconv.Atoi(step)
		}
		if from <= n && n <= to && (n-from)%by == 0 {
			return true
		}
	}
	return false
}

// times goes through the time minute by minute, as cron does, and returns when the
// expression comes after from, until to. Both are whole minutes.
func (o oracle) times(from, to time.Time, loc *time.Location) (list []time.Time) {
	wild := o[0][0] == '*' || o[1][0] == '*'
	var virtual time.Time
	for at := from.Add(-50 * time.Hour); !at.After(to); at = at.Add(time.Minute) {
		local := at.In(loc)
		wall := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), 0, 0, time.UTC)
		due := wild && o.matches(wall)
		if virtual.IsZero() {
			virtual = wall
		}
		for virtual.Before(wall) {
			virtual = virtual.Add(time.Minute)
			due = due || !wild && o.matches(virtual)
		}
		if due && at.After(from) {
			list = append(list, local)
		}
	}
	return list
}

// oddDays are days around which clocks are changed, each in its way.
var oddDays = [...]struct{ zone, day string }{
	{"UTC", "2026-02-28"},
	{"America/New_York", "2026-03-08"},
	{"America/New_York", "2026-11-01"},
	{"Europe/Berlin", "2026-03-29"},
	{"Europe/Berlin", "2026-10-25"},
	{"Europe/London", "1941-05-04"},       // double summer time
	{"Europe/Dublin", "2026-10-25"},       // winter time is the one that saves
	{"Australia/Lord_Howe", "2026-10-04"}, // half an hour
	{"Australia/Lord_Howe", "2026-04-05"},
	{"America/Asuncion", "2024-10-06"}, // midnight is left out
	{"America/Asuncion", "2024-03-24"}, // the hour before midnight is repeated
	{"America/Sao_Paulo", "2018-11-04"},
	{"America/Sao_Paulo", "2018-02-18"},
	{"America/Havana", "2026-03-08"},
	{"America/Havana", "2026-11-01"}, // the hour after midnight is repeated
	{"Asia/Beirut", "2022-03-27"},
	{"Asia/Beirut", "2022-10-30"},
	{"Africa/Cairo", "2026-04-24"},
	{"Africa/Casablanca", "2026-02-15"},
	{"Asia/Tehran", "2022-03-22"},
	{"America/Scoresbysund", "2024-03-31"}, // the zone changes with the summer time
	{"Asia/Pyongyang", "2015-08-15"},       // half an hour, for good
	{"America/Caracas", "2007-12-09"},
	{"Asia/Kathmandu", "1986-01-01"}, // a quarter of an hour
	{"Antarctica/Troll", "2026-03-29"},
	{"Antarctica/Troll", "2026-10-25"}, // two hours
	{"Antarctica/Casey", "2010-03-05"}, // three hours
	{"Pacific/Apia", "2011-12-30"},     // no such day
	{"Pacific/Kwajalein", "1993-08-21"},
	{"Pacific/Kiritimati", "1994-12-31"},
	{"America/New_York", "2040-12-31"}, // by a rule, and no table
	{"Australia/Lord_Howe", "2040-10-07"},
	{"testdata/Ciudad_Juarez", "2022-11-30"},
	{"testdata/Ciudad_Juarez", "2028-12-31"},
	{"America/Juneau", "1983-10-30"}, // two hours
}

// TestAgainstOracle compares Next and Prev with the oracle around odd days.
func TestAgainstOracle(t *testing.T) {
	const rounds = 25
	for i, odd := range oddDays {
		t.Run(odd.zone+"/"+odd.day, func(t *testing.T) {
			t.Parallel()
			loc := zone(t, odd.zone)
			day, err := time.Parse(time.DateOnly, odd.day)
			if err != nil {
				t.Fatal(err)
			}
			random := rand.New(rand.NewPCG(1, uint64(i))) //nolint:gosec // the tests are the same each time
			for range rounds {
				text := randomExpression(random, day)
				compare(t, random, text, day, loc)
			}
		})
	}
}

// compare compares in the two days before and after a day.
func compare(t *testing.T, random *rand.Rand, text string, day time.Time, loc *time.Location) {
	t.Helper()
	const span = 2 * 24 * time.Hour
	e, err := cron.Parse(text)
	if err != nil {
		return // a date that is none
	}
	from, to := day.Add(-span), day.Add(span)
	want := newOracle(text).times(from, to, loc)
	for range 50 {
		at := from.Add(time.Duration(random.Int64N(int64(2 * span))))
		i, _ := slices.BinarySearchFunc(want, at, time.Time.Compare)
		if i < len(want) && want[i].Equal(at) {
			i++
		}
		if next := e.Next(at, loc); i < len(want) && !same(next, want[i]) || i == len(want) && !next.After(to) {
			t.Fatalf("%q after %v: %v, want number %d of %v", text, at.In(loc), next, i, want[max(0, i-2):min(i+2, len(want))])
		}
		if prev := e.Prev(at, loc); i > 0 && !same(prev, want[i-1]) || i == 0 && prev.After(from) {
			t.Fatalf("%q until %v: %v, want the one before number %d of %v", text, at.In(loc), prev, i, want[max(0, i-2):min(i+2, len(want))])
		}
	}
	at := from
	for _, want := range want {
		if at = e.Next(at, loc); !same(at, want) {
			t.Fatalf("%q: %v, want %v", text, at, want)
		}
		if prev := e.Prev(at, loc); !same(prev, at) {
			t.Fatalf("%q until %v: %v", text, at, prev)
		}
	}
}

// same reports whether two times are the same, also in what the clock shows.
func same(a, b time.Time) bool { return a.Equal(b) && a.Location() == b.Location() }

// randomExpression returns one that probably comes near a day.
func randomExpression(r *rand.Rand, day time.Time) string {
	date, month, weekday := "*", "*", "*"
	near := day.AddDate(0, 0, r.IntN(3)-1)
	if r.IntN(3) == 0 {
		date = randomList(r, 1, 31, near.Day())
	}
	if r.IntN(12) == 0 {
		date = "L," + date
	}
	if r.IntN(4) == 0 {
		month = randomList(r, 1, 12, int(near.Month()))
	}
	switch r.IntN(9) {
	case 0, 1:
		weekday = randomList(r, 0, 6, int(near.Weekday()))
	case 2:
		weekday = fmt.Sprintf("%d#%d", near.Weekday(), (near.Day()+6)/7)
	case 3:
		weekday = fmt.Sprintf("%dL,7", near.Weekday())
	}
	return strings.Join([]string{randomList(r, 0, 59, 30), randomList(r, 0, 23, r.IntN(4)), date, month, weekday}, " ")
}

func randomList(r *rand.Rand, first, last, near int) string {
	items := make([]string, 1+r.IntN(3))
	for i := range items {
		n := first + r.IntN(last-first+1)
		step := 1 + r.IntN((last-first+2)/2)
		switch r.IntN(8) {
		case 0:
			items[i] = "*"
		case 1:
			items[i] = fmt.Sprintf("*/%d", step)
		case 2:
			items[i] = fmt.Sprintf("%d/%d", n, step)
		case 3:
			items[i] = fmt.Sprintf("%d-%d", n, n+r.IntN(last-n+1))
		case 4:
			items[i] = fmt.Sprintf("%d-%d/%d", n, last, step)
		case 5:
			items[i] = strconv.Itoa(near)
		default:
			items[i] = strconv.Itoa(n)
		}
	}
	return strings.Join(items, ",")
}

// FuzzParse checks that no text makes Parse panic, and of what it reads that it comes
// after the time before, before the time after, and when the clock shows it or has
// left it out.
func FuzzParse(f *testing.F) {
	for i, text := range []string{
		"* * * * *", "*/15 5-59/10 10/5 jan-mar,12 fri", "0 0 L * 5L", "0 0 ? * mon#2", "@daily", "@reboot", "0 0 29 2 */7", "0 0 30 2 *",
		"60 * * * *", "5-1 * * * *", "*/0 * * * *", "0 0 13 * 5", "1,,2 * * * *", "0 0 1-7/3,L 2 7", "30 2 * * *",
	} {
		f.Add(text, int64(1_772_953_200), uint8(i)) // 2026-03-08 in New York
	}
	f.Fuzz(func(t *testing.T, text string, seconds int64, odd uint8) {
		e, err := cron.Parse(text)
		if err != nil {
			if e != (cron.Expression{}) {
				t.Fatalf("%q: %v, and an expression", text, err)
			}
			return
		}
		const cycle = 146_097 * 24 * 60 * 60 // 400 years
		at := time.Unix(seconds%(4*cycle)+2*cycle, 0)
		loc := zone(t, oddDays[int(odd)%len(oddDays)].zone)
		next := e.Next(at, loc)
		if prev := e.Prev(next, loc); !next.After(at) || !prev.Equal(next) {
			t.Fatalf("%q after %v: %v, and until that: %v", text, at, next, prev)
		}
		if prev := e.Prev(next.Add(-1), loc); prev.After(at) || e.Next(prev, loc) != next {
			t.Fatalf("%q after %v: %v, and before that: %v, after which %v", text, at, next, prev, e.Next(prev, loc))
		}
		// UTC leaves nothing out.
		wall := e.Next(at, time.UTC)
		if text = plain(text); text[0] != '@' && !newOracle(text).matches(wall) {
			t.Fatalf("%q comes at %v", text, wall)
		}
	})
}

// plain writes an expression as the oracle reads it.
func plain(text string) string {
	text = strings.ToUpper(strings.ReplaceAll(text, "?", "*"))
	for i, name := range []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"} {
		text = strings.ReplaceAll(text, name, strconv.Itoa(i))
	}
	for i, name := range []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"} {
		text = strings.ReplaceAll(text, name, strconv.Itoa(i+1))
	}
	return strings.TrimLeft(text, " \t")
}

func BenchmarkNext(b *testing.B) {
	for _, text := range []string{
		"* * * * *", "*/15 * * * *", "30 2 * * *", "0 9 * * mon-fri", "0 0 1 * *", "0 0 L * *", "0 0 * * fri#2", "@yearly", "0 0 29 2 *", "* * 29 2 *", "* * 29 2 */7",
	} {
		e := parse(b, text)
		loc := zone(b, "America/New_York")
		at := time.Date(2026, 11, 25, 16, 42, 0, 0, time.UTC)
		b.Run("next/"+text, func(b *testing.B) {
			for b.Loop() {
				e.Next(at, loc)
			}
		})
		b.Run("prev/"+text, func(b *testing.B) {
			for b.Loop() {
				e.Prev(at, loc)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, text := range []string{"*/15 8-18 * * mon-fri", "0 0 30 2 *"} {
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				cron.Parse(text) //nolint:errcheck // the second one is refused
			}
		})
	}
}
