package heartbeat

import (
	"errors"
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

// Status returns what a knock at a time would find, and why, but for the runs of
// a wrapped command.
func (h Heartbeat) Status(now time.Time) (Status, string) {
	if err := h.why(); err != nil {
		return Unknown, err.Error()
	}
	t := turn{life: h.life, expected: h.expected}
	if err := errors.Join(h.heed(&t), t.pass(now)); err != nil {
		return Unknown, err.Error()
	}
	return h.judge(t.life, now)
}

// At returns the heartbeat as it is at a time, with what has passed since it was last
// looked at.
func (h Heartbeat) At(now time.Time) Heartbeat {
	t := turn{life: h.life, expected: h.expected}
	if err := errors.Join(h.heed(&t), t.pass(now)); err == nil {
		h.life, h.State, h.Since = t.life, t.state, t.since
	}
	return h
}

// Rhythm says for people when beats are expected: a period, or a schedule.
func (h Heartbeat) Rhythm() string {
	if s := h.expected.schedule; s != nil {
		return s.String()
	}
	return unit.Duration(h.expected.period).String()
}

// judge says what a life means at a time.
func (h Heartbeat) judge(f life, now time.Time) (Status, string) {
	switch f.state {
	case StatePaused:
		return OK, pausedText(f)
	case StateNew:
		return Unknown, "no beat yet"
	case StateStarted:
		return h.judgeRun(f, now)
	case StateLate:
		return Warning, h.age(now) + h.lateText()
	case StateDown:
		return Critical, h.downText(now)
	default:
		return OK, h.age(now)
	}
}

// judgeRun judges a heartbeat while a run is under way: the last word counts until it
// has ended.
func (h Heartbeat) judgeRun(f life, now time.Time) (Status, string) {
	run := "a run is under way for " + span(now.Sub(f.started))
	switch {
	case h.Last == nil:
		return Unknown, "no beat yet, " + run
	case f.failures > 0:
		return Critical, h.downText(now) + ", " + run
	default:
		return OK, h.age(now) + ", " + run
	}
}

func pausedText(f life) string {
	if f.until.IsZero() {
		return "paused"
	}
	return "paused until " + f.until.Format(time.RFC3339)
}

// age says how old the last beat is.
func (h Heartbeat) age(now time.Time) string {
	if h.Last == nil {
		return "no beat yet"
	}
	return "beat " + ago(h.Last.Lag(now))
}

func (h Heartbeat) lateText() string {
	if s := h.expected.schedule; s != nil {
		return ", late: expected at " + s.String()
	}
	return ", late after " + span(h.Thresholds.Warning)
}

func (h Heartbeat) downText(now time.Time) string {
	switch s := h.expected.schedule; {
	case h.Last == nil:
		return "a run was cut off or took longer than " + span(h.expected.maxRuntime)
	case h.Last.Outcome == Bad:
		return fmt.Sprintf("%s, %s", h.Last.Message, ago(h.Last.Lag(now)))
	case s != nil:
		return fmt.Sprintf("%s, critical: expected at %s, within %s", h.age(now), s, span(h.expected.grace))
	case h.Last.Lag(now) >= h.Thresholds.Critical:
		return fmt.Sprintf("%s, critical after %s", h.age(now), span(h.Thresholds.Critical))
	default:
		return fmt.Sprintf("%s, but a run was cut off or took longer than %s", h.age(now), span(h.expected.maxRuntime))
	}
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
