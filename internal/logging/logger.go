package logging

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/term"

	"procops/internal/fault"
)

// The formats of New.
const (
	FormatConsole = "console" // for people; coloured on a terminal unless NO_COLOR is set
	FormatJSON    = "json"    // one JSON object a line
)

// stamp is RFC 3339 with milliseconds.
const stamp = "2006-01-02T15:04:05.000Z07:00"

// New returns a logger that writes records of at least the given level (debug,
// info, warn or error) to w in the given format (FormatConsole or FormatJSON).
// Colour needs a w that is a terminal: an *os.File, or a writer with a method
// Terminal that says so. An unknown level or format is a fault.Usage.
func New(w io.Writer, level, format string) (zerolog.Logger, error) {
	l, err := parseLevel(level)
	if err != nil {
		return zerolog.Nop(), err
	}
	switch format {
	case FormatJSON:
	case FormatConsole:
		w = consoleWriter(w)
	default:
		return zerolog.Nop(), fault.New(fault.Usage, "unknown log format %q: want %q or %q", format, FormatConsole, FormatJSON)
	}
	return zerolog.New(w).Level(l).Hook(zerolog.HookFunc(addTime)), nil
}

func parseLevel(level string) (zerolog.Level, error) {
	switch level {
	case "debug", "info", "warn", "error":
		return zerolog.ParseLevel(level)
	}
	return zerolog.NoLevel, fault.New(fault.Usage, "unknown log level %q: want \"debug\", \"info\", \"warn\" or \"error\"", level)
}

// addTime stamps a record. The library's own time field takes its format from
// a package variable, which is not ours to set.
func addTime(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().Format(stamp))
}

func consoleWriter(w io.Writer) io.Writer {
	return zerolog.ConsoleWriter{
		Out:             w,
		NoColor:         os.Getenv("NO_COLOR") != "" || !isTerminal(w),
		FormatTimestamp: clockTime,
	}
}

// clockTime leaves the time of day of a time stamp: who reads a terminal knows
// the date.
func clockTime(field any) string {
	text, _ := field.(string)
	if t, err := time.Parse(stamp, text); err == nil {
		return t.Format("15:04:05.000")
	}
	return fmt.Sprint(field)
}

func isTerminal(w io.Writer) bool {
	switch w := w.(type) {
	case *os.File:
		return term.IsTerminal(int(w.Fd()))
	case interface{ Terminal() bool }:
		return w.Terminal()
	}
	return false
}
