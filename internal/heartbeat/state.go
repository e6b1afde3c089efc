package heartbeat

import (
	"fmt"
	"slices"
	"time"

	"procops/internal/unit"
)

// Status is what a knock finds.
type Status string

// The statuses.
const (
	OK       Status = "ok"
	Warning  Status = "warning"
	Critical Status = "critical"
	Unknown  Status = "unknown"
)

// ExitCode returns the code of the monitoring-plugin protocol: 0 OK,
// 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
func (s Status) ExitCode() int {
	switch s {
	case OK:
		return 0
	case Warning:
		return 1
	case Critical:
		return 2
	default:
		return 3
	}
}

// Worst returns the status that matters most: critical, then warning, then
// unknown, then ok. Of none it is unknown.
func Worst(statuses ...Status) Status {
	for _, s := range []Status{Critical, Warning, Unknown, OK} {
		if slices.Contains(statuses, s) {
			return s
		}
	}
	return Unknown
}

// Outcome says whether a beat brings good or bad news.
type Outcome string

// The outcomes.
const (
	Good Outcome = "ok"
	Bad  Outcome = "failed" // a wrapped command failed
)

// Beat is one sign of life.
type Beat struct {
	Number  int64          // running number, from 1
	Time    time.Time      // when it was recorded
	Client  Client         // whose sign it is
	Outcome Outcome        // Good unless a wrapped command failed
	Message string         // why it is Bad, for people
	Data    map[string]any // the client's own fields; may be nil
}

// Lag returns how long before now the beat was. A beat from the future, after
// the clock was set back, has none.
func (b *Beat) Lag(now time.Time) time.Duration { return max(0, now.Sub(b.Time)) }

// Status returns what a knock at a time would find, and why, but for the runs of
// a wrapped command.
func (h Heartbeat) Status(now time.Time) (Status, string) {
	if why, is := h.unknowable(); is {
		return Unknown, why
	}
	return judge(h.Last, h.Thresholds, now)
}

// judge says what the last beat, nil if there is none, means at a time.
func judge(last *Beat, limits Thresholds, now time.Time) (Status, string) {
	if last == nil {
		return Unknown, "no beat yet"
	}
	lag := last.Lag(now)
	age := "beat " + ago(lag)
	switch {
	case last.Outcome == Bad:
		return Critical, fmt.Sprintf("%s, %s", last.Message, ago(lag))
	case lag > limits.Critical:
		return Critical, fmt.Sprintf("%s, critical after %s", age, span(limits.Critical))
	case lag > limits.Warning:
		return Warning, fmt.Sprintf("%s, late after %s", age, span(limits.Warning))
	}
	return OK, age
}

func ago(d time.Duration) string { return span(d) + " ago" }

// span writes a duration for people: whole seconds, the two largest units.
func span(d time.Duration) string {
	d = d.Truncate(time.Second)
	for _, u := range []struct {
		size, next time.Duration
		name       string
		nextName   string
	}{
		{24 * time.Hour, time.Hour, "d", "h"},
		{time.Hour, time.Minute, "h", "m"},
		{time.Minute, time.Second, "m", "s"},
	} {
		if d < u.size {
			continue
		}
		text := fmt.Sprintf("%d%s", d/u.size, u.name)
		if rest := d % u.size / u.next; rest > 0 {
			text += fmt.Sprintf("%d%s", rest, u.nextName)
		}
		return text
	}
	return unit.Duration(d).String()
}
