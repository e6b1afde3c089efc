package cli

import (
	"time"

	"github.com/urfave/cli/v2"

	"procops/internal/fault"
	"procops/internal/unit"
)

const flagSince = "since"

// sinceFlag is the flag of commands that select by time; what begins its help.
func sinceFlag(what string) cli.Flag {
	return &cli.StringFlag{Name: flagSince, Usage: what + " since this `TIME`: an age such as 90m or 7d, or a time such as 2026-03-01T12:00:00Z, \"2026-03-01 12:00\" or 2026-03-01"}
}

// sinceOf reads the flag; the zero time if it is not given.
func sinceOf(c *cli.Context) (time.Time, error) {
	text := c.String(flagSince)
	if text == "" {
		return time.Time{}, nil
	}
	t, ok := parseSince(text, time.Now())
	if !ok {
		return time.Time{}, fault.New(fault.Usage, "%s: --since %q is neither an age such as \"90m\" nor a time such as \"2026-03-01T12:00:00Z\"", commandName(c), text)
	}
	return t, nil
}

// parseSince reads an age before now, or a time: with a zone as in RFC 3339, or
// in the local zone without.
func parseSince(text string, now time.Time) (time.Time, bool) {
	if age, err := unit.ParseDuration(text); err == nil {
		return now.Add(-age), true
	}
	return parseTime(text, now.Location())
}

// parseTime reads a time: with a zone as in RFC 3339, or in zone without.
func parseTime(text string, zone *time.Location) (time.Time, bool) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, true
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, zone); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
