package cron_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
	_ "time/tzdata" // the zones that the tests name are everywhere

	"procops/internal/cron"
)

// zone returns a zone of the machine, or one that testdata has as it is in a small
// database: with a rule in place of a table up to 2037.
func zone(tb testing.TB, name string) *time.Location {
	tb.Helper()
	if filepath.Dir(name) == "testdata" {
		data, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		loc, err := time.LoadLocationFromTZData(name, data)
		if err != nil {
			tb.Fatal(err)
		}
		return loc
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		tb.Fatal(err)
	}
	return loc
}

func parse(tb testing.TB, text string) cron.Expression {
	tb.Helper()
	e, err := cron.Parse(text)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// clock is how the tests write times.
const clock = "2006-01-02 15:04 -0700"

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"60 * * * *":      `minute "60": want 0 to 59`,
		"-1 * * * *":      `minute "-1": want 0 to 59`,
		"+1 * * * *":      `minute "+1": want 0 to 59`,
		"1.5 * * * *":     `minute "1.5": want 0 to 59`,
		"1,60 * * * *":    `minute "60": want 0 to 59`,
		"50-60 * * * *":   `minute "50-60": want 0 to 59`,
		"1-2-3 * * * *":   `minute "1-2-3": want 0 to 59`,
		"5- * * * *":      `minute "5-": want 0 to 59`,
		"** * * * *":      `minute "**": want 0 to 59`,
		"*-5 * * * *":     `minute "*-5": want 0 to 59`,
		"/5 * * * *":      `minute "/5": want 0 to 59`,
		"? * * * *":       `minute "?": want 0 to 59`,
		"L * * * *":       `minute "L": want 0 to 59`,
		"5L * * * *":      `minute "5L": want 0 to 59`,
		"1#2 * * * *":     `minute "1#2": want 0 to 59`,
		"jan * * * *":     `minute "jan": want 0 to 59`,
		"1,,2 * * * *":    `minute "1,,2": want something before and after each comma`,
		"1, * * * *":      `minute "1,": want something before and after each comma`,
		", * * * *":       `minute ",": want something before and after each comma`,
		"*/0 * * * *":     `minute "*/0": want a step of 1 to 60`,
		"*/61 * * * *":    `minute "*/61": want a step of 1 to 60`,
		"*/ * * * *":      `minute "*/": want a step of 1 to 60`,
		"*/5/5 * * * *":   `minute "*/5/5": want a step of 1 to 60`,
		"*/-5 * * * *":    `minute "*/-5": want a step of 1 to 60`,
		"*/1e1 * * * *":   `minute "*/1e1": want a step of 1 to 60`,
		"5-1 * * * *":     `minute "5-1": a range does not go round: want "5-59,0-1"`,
		"0 22-2 * * *":    `hour "22-2": a range does not go round: want "22-23,0-2"`,
		"0 0 28-2 * *":    `day of month "28-2": a range does not go round: want "28-31,1-2"`,
		"0 0 1 nov-feb *": `month "nov-feb": a range does not go round: want "11-12,1-2"`,
		"0 0 1 dec-jan *": `month "dec-jan": a range does not go round: want "12,1"`,
		"0 0 * * fri-mon": `day of week "fri-mon": a range does not go round: want "5-7,1"`,
		"0 0 * * sat-sun": `day of week "sat-sun": a range does not go round: want "6-7"`,
		"0 0 * * 7-2":     `day of week "7-2": a range does not go round: want "7,1-2"`,
		"0 24 * * *":      `hour "24": want 0 to 23`,
		"0 */25 * * *":    `hour "*/25": want a step of 1 to 24`,
		"0 0 0 * *":       `day of month "0": want 1 to 31, or L for the last`,
		"0 0 32 * *":      `day of month "32": want 1 to 31, or L for the last`,
		"0 0 L-3 * *":     `day of month "L-3": want 1 to 31, or L for the last`,
		"0 0 15W * *":     `day of month "15W": want 1 to 31, or L for the last`,
		"0 0 mon * *":     `day of month "mon": want 1 to 31, or L for the last`,
		"0 0 ?/2 * *":     `day of month "?/2": want 1 to 31, or L for the last`,
		"0 0 1 0 *":       `month "0": want 1 to 12 or jan to dec`,
		"0 0 1 13 *":      `month "13": want 1 to 12 or jan to dec`,
		"0 0 1 january *": `month "january": want 1 to 12 or jan to dec`,
		"0 0 1 anf *":     `month "anf": want 1 to 12 or jan to dec`,
		"0 0 1 ? *":       `month "?": want 1 to 12 or jan to dec`,
		"0 0 * * 8":       `day of week "8": want 0 to 7 or sun to sat`,
		"0 0 * * L":       `day of week "L": want 0 to 7 or sun to sat`,
		"0 0 * * 5LL":     `day of week "5LL": want 0 to 7 or sun to sat`,
		"0 0 * * 8L":      `day of week "8L": want 0 to 7 or sun to sat before "#" or "L"`,
		"0 0 * * 1-2L":    `day of week "1-2L": want 0 to 7 or sun to sat before "#" or "L"`,
		"0 0 * * x#1":     `day of week "x#1": want 0 to 7 or sun to sat before "#" or "L"`,
		"0 0 * * 5#0":     `day of week "5#0": want 1 to 5 after "#"`,
		"0 0 * * 5#6":     `day of week "5#6": want 1 to 5 after "#"`,
		"0 0 * * 5#2#3":   `day of week "5#2#3": want 1 to 5 after "#"`,

		"99999999999999999999 * * * *": `minute "99999999999999999999": want 0 to 59`,

		"0 0 30 2 *":       `day of month "30": want a day that month "2" has`,
		"0 0 31 4,jun ?":   `day of month "31": want a day that month "4,jun" has`,
		"0 0 */31 * fri#2": `day of month "*/31": want a day that month "*" has and that can be day of week "fri#2"`,
		"0 0 30-31 2 */2":  `day of month "30-31": want a day that month "2" has and that can be day of week "*/2"`,

		"":              `cron expression "" has 0 fields: want 5: minute, hour, day of month, month, day of week, as in "30 2 * * mon-fri"`,
		"* * * *":       `cron expression "* * * *" has 4 fields: want 5: minute, hour, day of month, month, day of week, as in "30 2 * * mon-fri"`,
		"0 0 * * * *":   `cron expression "0 0 * * * *" has 6 fields: want 5: minute, hour, day of month, month, day of week, as in "30 2 * * mon-fri"`,
		"hourly":        `cron expression "hourly" has 1 fields: want 5: minute, hour, day of month, month, day of week, as in "30 2 * * mon-fri"`,
		"@reboot":       `cron expression "@reboot": want @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually or five fields`,
		"* *\n* * *":    `cron expression "* *\n* * *" has 4 fields: want 5: minute, hour, day of month, month, day of week, as in "30 2 * * mon-fri"`,
		"0 0 * * mon\n": `day of week "mon\n": want 0 to 7 or sun to sat`,
	} {
		e, err := cron.Parse(text)
		if err == nil || err.Error() != want {
			t.Errorf("Parse(%q): %v, want %s", text, err, want)
		}
		if !e.IsZero() {
			t.Errorf("Parse(%q) returns an error and an expression", text)
		}
	}
}

// TestNext has for each expression the times it comes at, one after the other.
func TestNext(t *testing.T) {
	for _, c := range []struct {
		text, zone, after string
		want              []string
	}{
		{"* * * * *", "UTC", "2026-12-31 23:59 +0000", []string{"2027-01-01 00:00 +0000", "2027-01-01 00:01 +0000"}},
		{"*/15 * * * *", "UTC", "2026-01-01 00:00 +0000", []string{"2026-01-01 00:15 +0000", "2026-01-01 00:30 +0000", "2026-01-01 00:45 +0000", "2026-01-01 01:00 +0000"}},
		{"5-59/10 23 * * *", "UTC", "2026-01-01 23:40 +0000", []string{"2026-01-01 23:45 +0000", "2026-01-01 23:55 +0000", "2026-01-02 23:05 +0000"}},
		{"10/25 0 * * *", "UTC", "2026-01-01 00:00 +0000", []string{"2026-01-01 00:10 +0000", "2026-01-01 00:35 +0000", "2026-01-02 00:10 +0000"}},
		{"05,1-3 08 * * *", "UTC", "2026-01-01 08:02 +0000", []string{"2026-01-01 08:03 +0000", "2026-01-01 08:05 +0000", "2026-01-02 08:01 +0000"}},
		{"\t0  0 *\t* 1-5 ", "UTC", "2026-11-26 12:00 +0000", []string{"2026-11-27 00:00 +0000", "2026-11-30 00:00 +0000"}},
		{"0 0 1 JAN,Jul *", "UTC", "2026-01-01 00:00 +0000", []string{"2026-07-01 00:00 +0000", "2027-01-01 00:00 +0000"}},
		{"0 0 ? * sun", "UTC", "2026-11-25 00:00 +0000", []string{"2026-11-29 00:00 +0000", "2026-12-06 00:00 +0000"}},
		{"0 0 * * 6-7", "UTC", "2026-11-25 00:00 +0000", []string{"2026-11-28 00:00 +0000", "2026-11-29 00:00 +0000", "2026-12-05 00:00 +0000"}},
		{"0 0 * * 3/2", "UTC", "2026-11-25 00:00 +0000", []string{"2026-11-27 00:00 +0000", "2026-12-02 00:00 +0000"}},
		{"0 0 * * 7/2", "UTC", "2026-11-25 00:00 +0000", []string{"2026-11-29 00:00 +0000", "2026-12-06 00:00 +0000"}},

		// Both fields of days: either, unless one begins with "*".
		{"0 0 13 * 5", "UTC", "2026-11-07 00:00 +0000", []string{"2026-11-13 00:00 +0000", "2026-11-20 00:00 +0000", "2026-11-27 00:00 +0000", "2026-12-04 00:00 +0000", "2026-12-11 00:00 +0000", "2026-12-13 00:00 +0000"}},
		{"0 0 */2 * mon", "UTC", "2026-11-01 00:00 +0000", []string{"2026-11-09 00:00 +0000", "2026-11-23 00:00 +0000", "2026-12-07 00:00 +0000"}},
		{"0 0 13 * */5", "UTC", "2026-01-14 00:00 +0000", []string{"2026-02-13 00:00 +0000", "2026-03-13 00:00 +0000", "2026-09-13 00:00 +0000"}},

		{"0 0 29 2 *", "UTC", "2096-03-01 00:00 +0000", []string{"2104-02-29 00:00 +0000", "2108-02-29 00:00 +0000"}},
		{"0 0 29 2 */7", "UTC", "2088-03-01 00:00 +0000", []string{"2128-02-29 00:00 +0000"}},
		{"0 0 31 * *", "UTC", "2026-01-31 00:00 +0000", []string{"2026-03-31 00:00 +0000", "2026-05-31 00:00 +0000"}},
		{"0 0 30 2 1", "UTC", "2026-02-01 00:00 +0000", []string{"2026-02-02 00:00 +0000", "2026-02-09 00:00 +0000"}},
		{"0 0 L * *", "UTC", "2028-01-31 00:00 +0000", []string{"2028-02-29 00:00 +0000", "2028-03-31 00:00 +0000", "2028-04-30 00:00 +0000"}},
		{"0 0 15,l feb ?", "UTC", "2027-01-31 00:00 +0000", []string{"2027-02-15 00:00 +0000", "2027-02-28 00:00 +0000"}},
		{"0 0 * * fri#2", "UTC", "2026-11-14 00:00 +0000", []string{"2026-12-11 00:00 +0000", "2027-01-08 00:00 +0000"}},
		{"0 0 * * 5#5", "UTC", "2026-11-01 00:00 +0000", []string{"2027-01-29 00:00 +0000", "2027-04-30 00:00 +0000"}},
		{"0 0 * * 5L", "UTC", "2026-11-01 00:00 +0000", []string{"2026-11-27 00:00 +0000", "2026-12-25 00:00 +0000", "2027-01-29 00:00 +0000"}},
		{"0 0 * 2 7l,MON#1", "UTC", "2026-11-01 00:00 +0000", []string{"2027-02-01 00:00 +0000", "2027-02-28 00:00 +0000", "2028-02-07 00:00 +0000", "2028-02-27 00:00 +0000"}},
		{"0 0 L * mon", "UTC", "2026-11-24 00:00 +0000", []string{"2026-11-30 00:00 +0000", "2026-12-07 00:00 +0000"}},

		{"@hourly", "UTC", "2026-11-25 10:00 +0000", []string{"2026-11-25 11:00 +0000"}},
		{"@daily", "UTC", "2026-11-25 10:00 +0000", []string{"2026-11-26 00:00 +0000"}},
		{" @Midnight ", "UTC", "2026-11-25 10:00 +0000", []string{"2026-11-26 00:00 +0000"}},
		{"@weekly", "UTC", "2026-11-25 10:00 +0000", []string{"2026-11-29 00:00 +0000"}},
		{"@monthly", "UTC", "2026-11-25 10:00 +0000", []string{"2026-12-01 00:00 +0000"}},
		{"@yearly", "UTC", "2026-11-25 10:00 +0000", []string{"2027-01-01 00:00 +0000"}},
		{"@annually", "UTC", "2026-11-25 10:00 +0000", []string{"2027-01-01 00:00 +0000"}},

		// An hour that is left out.
		{"30 2 * * *", "America/New_York", "2026-03-07 02:30 -0500", []string{"2026-03-08 03:00 -0400", "2026-03-09 02:30 -0400"}},
		{"0,30 2,3 * * *", "America/New_York", "2026-03-08 00:00 -0500", []string{"2026-03-08 03:00 -0400", "2026-03-08 03:30 -0400", "2026-03-09 02:00 -0400"}},
		{"*/30 2 * * *", "America/New_York", "2026-03-08 00:00 -0500", []string{"2026-03-09 02:00 -0400"}},
		{"15 * * * *", "America/New_York", "2026-03-08 00:30 -0500", []string{"2026-03-08 01:15 -0500", "2026-03-08 03:15 -0400"}},
		{"15 */2 * * *", "America/New_York", "2026-03-08 00:30 -0500", []string{"2026-03-08 04:15 -0400"}},
		{"*/30 * * * *", "America/New_York", "2026-03-08 01:00 -0500", []string{"2026-03-08 01:30 -0500", "2026-03-08 03:00 -0400"}},
		{"15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00 +1030", []string{"2026-10-04 02:30 +1100", "2026-10-05 02:15 +1100"}},
		{"0 0 * * *", "America/Asuncion", "2024-10-05 12:00 -0400", []string{"2024-10-06 01:00 -0300", "2024-10-07 00:00 -0300"}},
		{"0 1 * * sun", "America/Sao_Paulo", "2018-11-03 23:00 -0300", []string{"2018-11-04 01:00 -0200", "2018-11-11 01:00 -0200"}},
		{"0 9 30 12 *", "Pacific/Apia", "2011-12-29 12:00 -1000", []string{"2011-12-31 00:00 +1400", "2012-12-30 09:00 +1400"}},
		{"0 9 * * *", "Pacific/Apia", "2011-12-29 12:00 -1000", []string{"2011-12-31 00:00 +1400", "2011-12-31 09:00 +1400"}},
		{"0 * * * *", "Pacific/Apia", "2011-12-29 22:30 -1000", []string{"2011-12-29 23:00 -1000", "2011-12-31 00:00 +1400"}},

		// An hour that is repeated.
		{"30 1 * * *", "America/New_York", "2026-10-31 12:00 -0400", []string{"2026-11-01 01:30 -0400", "2026-11-02 01:30 -0500"}},
		{"0 2 * * *", "America/New_York", "2026-10-31 12:00 -0400", []string{"2026-11-01 02:00 -0500", "2026-11-02 02:00 -0500"}},
		{"0,59 0-2 * * *", "America/New_York", "2026-11-01 00:30 -0400", []string{"2026-11-01 00:59 -0400", "2026-11-01 01:00 -0400", "2026-11-01 01:59 -0400", "2026-11-01 02:00 -0500"}},
		{"30 1 * * *", "America/New_York", "2026-11-01 01:00 -0500", []string{"2026-11-02 01:30 -0500"}},
		{"*/30 * * * *", "America/New_York", "2026-11-01 00:30 -0400", []string{
			"2026-11-01 01:00 -0400", "2026-11-01 01:30 -0400", "2026-11-01 01:00 -0500", "2026-11-01 01:30 -0500", "2026-11-01 02:00 -0500",
		}},
		{"*/30 1 * * *", "America/New_York", "2026-11-01 01:00 -0400", []string{"2026-11-01 01:30 -0400", "2026-11-01 01:00 -0500", "2026-11-01 01:30 -0500", "2026-11-02 01:00 -0500"}},
		{"45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00 +1100", []string{"2026-04-05 01:45 +1100", "2026-04-06 01:45 +1030"}},
		{"45 * * * *", "Australia/Lord_Howe", "2026-04-05 00:45 +1100", []string{"2026-04-05 01:45 +1100", "2026-04-05 01:45 +1030", "2026-04-05 02:45 +1030"}},
		{"30 23 * * *", "America/Asuncion", "2024-03-23 12:00 -0300", []string{"2024-03-23 23:30 -0300", "2024-03-24 23:30 -0400"}},

		// An offset that has seconds, until the clock goes from 00:00:00 to 00:44:30.
		{"15 0 * * *", "Africa/Monrovia", "1972-01-06 12:00 -0044", []string{"1972-01-07 00:44 +0000", "1972-01-08 00:15 +0000"}},
		{"*/45 * * * *", "Africa/Monrovia", "1972-01-06 23:30 -0044", []string{"1972-01-06 23:45 -0044", "1972-01-07 00:45 +0000"}},

		// The end of a table: the hour before midnight is repeated, and then a rule
		// holds that would have begun before that.
		{"30 23 * * *", "testdata/Ciudad_Juarez", "2022-11-28 23:30 -0600", []string{"2022-11-29 23:30 -0600", "2022-11-30 23:30 -0700"}},
		{"30 */23 * * *", "testdata/Ciudad_Juarez", "2022-11-29 00:30 -0600", []string{"2022-11-29 23:30 -0600", "2022-11-29 23:30 -0700", "2022-11-30 00:30 -0700"}},

		// The last day of a leap year that the zone has a rule for and no table.
		{"0 0 * * *", "America/New_York", "2040-12-30 12:00 -0500", []string{"2040-12-31 00:00 -0500", "2041-01-01 00:00 -0500"}},
		{"0 */12 * * *", "America/New_York", "2040-12-30 18:00 -0500", []string{"2040-12-31 00:00 -0500", "2040-12-31 12:00 -0500", "2041-01-01 00:00 -0500"}},
		{"0 */12 1 6 *", "Australia/Lord_Howe", "2040-12-31 12:00 +1100", []string{"2041-06-01 00:00 +1030"}},

		// The time before is in any zone.
		{"0 9 * * *", "Asia/Kolkata", "2026-11-25 03:29 +0000", []string{"2026-11-25 09:00 +0530", "2026-11-26 09:00 +0530"}},
	} {
		loc := zone(t, c.zone)
		e := parse(t, c.text)
		after, err := time.ParseInLocation(clock, c.after, loc)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			next := e.Next(after, loc)
			if got := next.Format(clock); got != want {
				t.Errorf("%q in %s after %s: %s, want %s", c.text, c.zone, after.Format(clock), got, want)
				break
			}
			for _, until := range []time.Time{next, next.Add(1)} {
				if prev := e.Prev(until, loc); !prev.Equal(next) {
					t.Errorf("%q in %s until %v: %v, want %v", c.text, c.zone, until, prev, next)
				}
			}
			after = next
		}
	}
}

func TestNextIsNever(t *testing.T) {
	e := parse(t, "* * * * *")
	for _, at := range []time.Time{
		time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 12, 31, 0, 0, 0, 0, time.UTC), time.Unix(1<<62, 0), time.Unix(-1<<62, 0),
	} {
		if next, prev := e.Next(at, nil), e.Prev(at, nil); !next.IsZero() || !prev.IsZero() {
			t.Errorf("at %v: next %v, prev %v", at, next, prev)
		}
	}
	now := time.Date(2026, 11, 25, 16, 42, 0, 0, time.UTC)
	e = cron.Expression{}
	if next, prev := e.Next(now, nil), e.Prev(now, nil); !next.IsZero() || !prev.IsZero() {
		t.Errorf("the zero value: next %v, prev %v", next, prev)
	}
}

// TestZones: the zone is the one asked for, UTC without one, and may be as odd as
// time.FixedZone has it.
func TestZones(t *testing.T) {
	e := parse(t, "0 9 * * *")
	now := time.Date(2026, 11, 25, 16, 42, 59, 999_999_999, zone(t, "Europe/Berlin"))
	for _, loc := range []*time.Location{time.UTC, time.FixedZone("east", 25*3600), time.FixedZone("west", -40*3600), time.FixedZone("odd", 3599)} {
		next, prev := e.Next(now, loc), e.Prev(now, loc)
		if h, m, s := next.Clock(); h != 9 || m != 0 || s != 0 || next.Location() != loc || next.Sub(now) <= 0 || next.Sub(now) > 24*time.Hour {
			t.Errorf("in %v: next %v", loc, next)
		}
		if next.Sub(prev) != 24*time.Hour {
			t.Errorf("in %v: prev %v, next %v", loc, prev, next)
		}
	}
	if got := e.Next(now, nil); got.Location() != time.UTC || got.Day() != 26 || got.Hour() != 9 {
		t.Errorf("without a zone: %v", got)
	}
}

func TestText(t *testing.T) {
	type config struct {
		Schedule cron.Expression `json:"schedule,omitzero"`
	}
	var c config
	if text, err := json.Marshal(c); string(text) != `{}` || err != nil {
		t.Errorf("without a schedule: %s, %v", text, err)
	}
	const text = `{"schedule":" 30 2  * * Mon-Fri"}`
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if got := c.Schedule.String(); got != " 30 2  * * Mon-Fri" || c.Schedule != parse(t, got) || c.Schedule == parse(t, "30 2 * * *") {
		t.Errorf("read as %q", got)
	}
	if again, err := json.Marshal(c); string(again) != text || err != nil {
		t.Errorf("written as %s, %v", again, err)
	}
	before := c
	if err := json.Unmarshal([]byte(`{"schedule":"60 * * * *"}`), &c); err == nil || c != before {
		t.Errorf("a wrong one: %v, and the schedule is now %v", err, c.Schedule)
	}
}
