// Package cron reads cron expressions such as "30 2 * * mon-fri", and tells when
// they come next and when they came last in a time zone. The package imports
// nothing internal.
//
// The five fields are minute, hour, day of month, month and day of week. Each is a
// list of numbers, ranges and steps ("*/15", "5-59/10", "10/5", which is from 10 to
// the last); months and days of the week have names as well, in their first three
// letters, and Sunday is both 0 and 7. "L" is the last day of a month, "fri#2" its
// second Friday and "friL" its last; "?" is "*" for the two fields of days.
//
// If neither field of days begins with "*", a day is one that matches either; else
// it must match both. This is what cron has always done.
//
// When the clocks change, expressions do as they do in Debian's cron. One whose
// minute or hour begins with "*" follows the clock: it comes whenever the clock shows
// a time that matches, in both of two repeated hours, and never in one that is left
// out. Any other comes once for each of its times, when the clock first shows that
// time or a later one: in the first of two repeated hours, and right after an hour
// that is left out, there once for all of its times in that hour. Debian's cron takes
// a change of more than three hours for a correction; here it is no other than one of
// an hour.
package cron

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Expression is a cron expression. It is a value: two that are written alike are
// equal. The zero value never comes.
type Expression struct {
	text string
	// A bit for each number that matches. Bit 0 of days, which no month has, is
	// the last day; weekdays are seven bits for each group (see lastWeek).
	minutes, hours, days, months, weekdays uint64
	// either: a day matches if it is in days or in weekdays.
	either bool
	// wild: it follows the clock.
	wild bool
}

// Where weekdays has what. Groups 0 to 4 are the days that match in the first to
// fifth week of a month, where a week is seven days from the first on; group 5 those
// that match in the last seven days.
const (
	week     = 7
	allDays  = 1<<week - 1
	weeks    = 5
	lastWeek = 5

	// everyWeek times the days of one week are those of all.
	everyWeek = 1 | 1<<week | 1<<(2*week) | 1<<(3*week) | 1<<(4*week)

	// lastDay is the bit of days for "L".
	lastDay = 1
)

// field is one of the five.
type field struct {
	name        string
	first, last int    // what "*" stands for
	max         int    // the largest number, for Sunday can be 7
	names       string // of three letters each, from first on
	want        string
	read        func(f field, item string) (uint64, error)
}

var fields = [...]field{
	{"minute", 0, 59, 59, "", "0 to 59", field.span},
	{"hour", 0, 23, 23, "", "0 to 23", field.span},
	{"day of month", 1, 31, 31, "", "1 to 31, or L for the last", field.day},
	{"month", 1, 12, 12, "janfebmaraprmayjunjulaugsepoctnovdec", "1 to 12 or jan to dec", field.span},
	{"day of week", 0, 6, 7, "sunmontuewedthufrisat", "0 to 7 or sun to sat", field.weekday},
}

// isDay reports whether the field may be "?".
func (f field) isDay() bool { return strings.HasPrefix(f.name, "day") }

// Parse reads an expression. One that can never come, such as on February 30, is
// refused.
func Parse(expression string) (Expression, error) {
	texts, err := split(expression)
	if err != nil {
		return Expression{}, err
	}
	e := Expression{text: expression}
	for i, set := range []*uint64{&e.minutes, &e.hours, &e.days, &e.months, &e.weekdays} {
		if *set, err = fields[i].parse(texts[i]); err != nil {
			return Expression{}, err
		}
	}
	e.wild = isOpen(texts[0]) || isOpen(texts[1])
	e.either = !isOpen(texts[2]) && !isOpen(texts[4])
	if _, _, _, ok := e.dayFrom(2000, 1, 1); !ok {
		return Expression{}, errNever(texts)
	}
	return e, nil
}

// isOpen reports whether a field counts as one that says nothing: cron looks at its
// first letter only.
func isOpen(text string) bool { return text[0] == '*' || text == "?" }

// split returns the texts of the five fields.
func split(expression string) ([]string, error) {
	texts := strings.FieldsFunc(expression, isBlank)
	if len(texts) == 1 && texts[0][0] == '@' {
		return expand(texts[0])
	}
	if len(texts) != len(fields) {
		const want = `want 5: minute, hour, day of month, month, day of week, as in "30 2 * * mon-fri"`
		return nil, fmt.Errorf("cron expression %q has %d fields: %s", expression, len(texts), want)
	}
	return texts, nil
}

func isBlank(r rune) bool { return r == ' ' || r == '\t' }

// expand returns what a short name stands for.
func expand(name string) ([]string, error) {
	switch strings.ToLower(name) {
	case "@hourly":
		name = "0 * * * *"
	case "@daily", "@midnight":
		name = "0 0 * * *"
	case "@weekly":
		name = "0 0 * * 0"
	case "@monthly":
		name = "0 0 1 * *"
	case "@yearly", "@annually":
		name = "0 0 1 1 *"
	default:
		return nil, fmt.Errorf("cron expression %q: want @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually or five fields", name)
	}
	return strings.Fields(name), nil
}

// errNever is the error of an expression that can never come. Only days can be at
// odds with each other.
func errNever(texts []string) error {
	want := fmt.Sprintf("a day that month %q has", texts[3])
	if texts[4] != "*" && texts[4] != "?" {
		want += fmt.Sprintf(" and that can be day of week %q", texts[4])
	}
	return fmt.Errorf("day of month %q: want %s", texts[2], want)
}

// parse reads a field: a list.
func (f field) parse(text string) (set uint64, err error) {
	if f.isDay() && text == "?" {
		text = "*"
	}
	for item := range strings.SplitSeq(text, ",") {
		if item == "" {
			return 0, fmt.Errorf("%s %q: want something before and after each comma", f.name, text)
		}
		bits, err := f.read(f, item)
		if err != nil {
			return 0, fmt.Errorf("%s %q: %w", f.name, item, err)
		}
		set |= bits
	}
	return set, nil
}

// span reads an item of a list: a number, a range or "*", and a step.
func (f field) span(item string) (uint64, error) {
	base, stepText, hasStep := strings.Cut(item, "/")
	first, last, err := f.limits(base, hasStep)
	if err != nil {
		return 0, err
	}
	step := 1
	if hasStep {
		var ok bool
		count := f.last - f.first + 1
		if step, ok = number(stepText); !ok || step < 1 || step > count {
			return 0, fmt.Errorf("want a step of 1 to %d", count)
		}
	}
	var set uint64
	for i := first; i <= last; i += step {
		set |= 1 << i
	}
	return set, nil
}

// limits reads what stands before a step. A number with a step reaches to the last.
func (f field) limits(base string, hasStep bool) (first, last int, err error) {
	if base == "*" {
		return f.first, f.last, nil
	}
	from, to, isRange := strings.Cut(base, "-")
	first, ok := f.value(from)
	last = first
	switch {
	case isRange && ok:
		last, ok = f.value(to)
	case hasStep:
		last = max(first, f.last)
	}
	switch {
	case !ok:
		return 0, 0, errors.New("want " + f.want)
	case last < first:
		return 0, 0, fmt.Errorf("a range does not go round: want %q", f.unroll(first, last))
	}
	return first, last, nil
}

// unroll writes a range that goes round as one or two that do not.
func (f field) unroll(first, last int) string {
	head := span(first, f.max)
	if low := f.first + f.max - f.last; low <= last { // of the days of the week 7 has been 0
		return head + "," + span(low, last)
	}
	return head
}

func span(first, last int) string {
	if first == last {
		return strconv.Itoa(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// value reads a number or a name.
func (f field) value(text string) (int, bool) {
	if n, ok := number(text); ok {
		return n, f.first <= n && n <= f.max
	}
	if len(text) != 3 {
		return 0, false
	}
	for i := 0; i < len(f.names); i += 3 {
		if strings.EqualFold(text, f.names[i:i+3]) {
			return f.first + i/3, true
		}
	}
	return 0, false
}

// number reads digits, and nothing but digits.
func number(text string) (int, bool) {
	if strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}

// day reads an item of the days of the month.
func (f field) day(item string) (uint64, error) {
	if strings.EqualFold(item, "L") {
		return lastDay, nil
	}
	return f.span(item)
}

// weekday reads an item of the days of the week.
func (f field) weekday(item string) (uint64, error) {
	if day, ordinal, found := strings.Cut(item, "#"); found {
		n, ok := number(ordinal)
		if !ok || n < 1 || n > weeks {
			return 0, fmt.Errorf("want 1 to %d after %q", weeks, "#")
		}
		return f.oneWeekday(day, n-1)
	}
	if day := strings.TrimRight(item, "lL"); len(day) == len(item)-1 && day != "" {
		return f.oneWeekday(day, lastWeek)
	}
	set, err := f.span(item)
	return (set | set>>week) & allDays * everyWeek, err
}

// oneWeekday reads the day of "fri#2" or "friL".
func (f field) oneWeekday(text string, group int) (uint64, error) {
	day, ok := f.value(text)
	if !ok {
		return 0, fmt.Errorf("want %s before %q or %q", f.want, "#", "L")
	}
	return 1 << (group*week + day%week), nil
}

// String returns the expression as it was written.
func (e Expression) String() string { return e.text }

// IsZero reports whether this is the zero value, which is not an expression.
func (e Expression) IsZero() bool { return e == Expression{} }

// MarshalText returns the expression as it was written.
func (e Expression) MarshalText() ([]byte, error) { return []byte(e.text), nil }

// UnmarshalText reads an expression.
func (e *Expression) UnmarshalText(text []byte) error {
	parsed, err := Parse(string(text))
	if err != nil {
		return err
	}
	*e = parsed
	return nil
}
