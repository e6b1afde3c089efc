package supervise

import (
	"math"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// maxExtension is the longest time that a process can ask for at once. One that
// needs longer asks again.
const maxExtension = time.Hour

// notice is what a process has said of itself, in one message.
type notice struct {
	ready     bool
	unready   string // it can not say any more that it is ready; why
	reloading bool
	stopping  bool
	status    *string        // for people; nil: nothing was said
	mainPID   int            // 0: nothing was said
	errno     syscall.Errno  // 0: nothing was said
	extend    time.Duration  // how much longer it needs from now on; 0: nothing was said
	alive     bool           // WATCHDOG=1
	trigger   bool           // WATCHDOG=trigger
	watchdog  *time.Duration // the longest time between two signs of life from now on; 0: none is expected; nil: nothing was said
	aside     bool           // by a process of whose readiness somebody else is asked
	stranger  int            // pid of a process that does not belong to it and tried to speak for it
}

// parseNotice reads a message of the protocol of sd_notify(3): lines of
// NAME=VALUE. What it does not know and what makes no sense is passed over, as
// the protocol wants it.
func parseNotice(message string) notice {
	var n notice
	for line := range strings.SplitSeq(message, "\n") {
		name, value, _ := strings.Cut(line, "=")
		switch name {
		case "READY":
			n.ready = n.ready || value == "1"
		case "RELOADING":
			n.reloading = n.reloading || value == "1"
		case "STOPPING":
			n.stopping = n.stopping || value == "1"
		case "STATUS":
			text := printable(value)
			n.status = &text
		case "MAINPID":
			n.mainPID = number(value)
		case "ERRNO":
			n.errno = syscall.Errno(number(value))
		case "EXTEND_TIMEOUT_USEC":
			n.extend = extension(value)
		default:
			n.parseWatchdog(name, value)
		}
	}
	return n
}

// parseWatchdog reads a line that is for the watchdog.
func (n *notice) parseWatchdog(name, value string) {
	switch name {
	case "WATCHDOG":
		n.alive = n.alive || value == "1"
		n.trigger = n.trigger || value == "trigger"
	case "WATCHDOG_USEC":
		if limit, ok := watchdogLimit(value); ok {
			n.watchdog = &limit
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
		return maxExtension
	}
	return min(time.Duration(n)*time.Microsecond, maxExtension)
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
