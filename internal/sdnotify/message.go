package sdnotify

import (
	"math"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// MaxExtension is the longest time that a process can ask for at once. One that
// needs longer asks again.
const MaxExtension = time.Hour

// Message is what a process has said of itself, in one message.
type Message struct {
	Ready     bool
	Reloading bool
	Stopping  bool
	Status    *string        // for people; nil: nothing was said
	MainPID   int            // 0: nothing was said
	Errno     syscall.Errno  // 0: nothing was said
	Extend    time.Duration  // how much longer it needs from now on; 0: nothing was said
	Alive     bool           // WATCHDOG=1
	Trigger   bool           // WATCHDOG=trigger
	Watchdog  *time.Duration // the longest time between two signs of life from now on; 0: none is expected; nil: nothing was said
}

// Parse reads a message of the protocol of sd_notify(3): lines of
// NAME=VALUE. What it does not know and what makes no sense is passed over, as
// the protocol wants it.
func Parse(message string) Message {
	var n Message
	for line := range strings.SplitSeq(message, "\n") {
		name, value, _ := strings.Cut(line, "=")
		switch name {
		case "READY":
			n.Ready = n.Ready || value == "1"
		case "RELOADING":
			n.Reloading = n.Reloading || value == "1"
		case "STOPPING":
			n.Stopping = n.Stopping || value == "1"
		case "STATUS":
			text := printable(value)
			n.Status = &text
		case "MAINPID":
			n.MainPID = number(value)
		case "ERRNO":
			n.Errno = syscall.Errno(number(value))
		case "EXTEND_TIMEOUT_USEC":
			n.Extend = extension(value)
		default:
			n.parseWatchdog(name, value)
		}
	}
	return n
}

// parseWatchdog reads a line that is for the watchdog.
func (n *Message) parseWatchdog(name, value string) {
	switch name {
	case "WATCHDOG":
		n.Alive = n.Alive || value == "1"
		n.Trigger = n.Trigger || value == "trigger"
	case "WATCHDOG_USEC":
		if limit, ok := watchdogLimit(value); ok {
			n.Watchdog = &limit
		}
	}
}

// number reads a positive number that a pid or an errno can have; 0 if it is not
// one.
func number(text string) int {
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return 0
	}
	return int(n)
}

// extension reads a number of microseconds.
func extension(text string) time.Duration {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	if n > math.MaxInt64/uint64(time.Microsecond) {
		return MaxExtension
	}
	return min(time.Duration(n)*time.Microsecond, MaxExtension)
}

// watchdogLimit reads a number of microseconds; 0 and the greatest number mean that
// there is no limit.
func watchdogLimit(text string) (time.Duration, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	switch {
	case err != nil:
		return 0, false
	case n == math.MaxUint64:
		return 0, true
	default:
		return time.Duration(min(n, math.MaxInt64/uint64(time.Microsecond))) * time.Microsecond, true
	}
}

// printable replaces what would do something to a terminal.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	return strings.TrimSpace(text)
}
