package runner

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"procops/internal/proc"
)

// Outcome is what came of a unit of work.
type Outcome string

// The outcomes.
const (
	Success   Outcome = "success"
	Warning   Outcome = "warning"   // done, but somebody should look
	Retry     Outcome = "retry"     // not done; try again later
	Failed    Outcome = "error"     // not done
	Unknown   Outcome = "unknown"   // ended by a signal: nobody knows how far it got
	TimedOut  Outcome = "timeout"   // it took longer than its time limit
	Cancelled Outcome = "cancelled" // procops stopped it
	Stop      Outcome = "stop"      // done, and whoever runs it is asked to end in good order; of co-processes only
)

// The exit codes that mean something else than failure.
const (
	exitSuccess = 0
	exitWarning = 2
	exitRetry   = 75 // EX_TEMPFAIL in sysexits.h
)

// Result is how a unit of work went.
type Result struct {
	Outcome     Outcome
	Reason      string                     // why it was not a success, for people; empty on success
	Exit        proc.Exit                  // how the process ended; that of a co-process if it ended with the unit
	Memory      int64                      // resident memory in bytes: the largest of a process, that of a co-process after the unit; 0: not known
	Output      []byte                     // the result, at most MaxOutput bytes
	Truncated   bool                       // there was more
	Diagnostics string                     // the end of standard error
	Meta        map[string]json.RawMessage // what a co-process has said about the unit with its result; nil: nothing
	Started     time.Time
	Duration    time.Duration
}

// Code returns the exit code as a shell has it. A co-process that goes on has none: it is
// what a command would say.
func (r Result) Code() int {
	if code := r.Exit.ShellCode(); code != 0 {
		return code
	}
	switch r.Outcome {
	case Warning:
		return exitWarning
	case Retry:
		return exitRetry
	case Failed, Unknown, TimedOut:
		return 1
	default:
		return exitSuccess
	}
}

// Text returns how it went in one line for people: Reason, and the last line of standard
// error if there is one.
func (r Result) Text() string {
	said := strings.TrimSpace(r.Diagnostics)
	said = said[strings.LastIndexByte(said, '\n')+1:]
	if said == "" {
		return r.Reason
	}
	return r.Reason + ": " + said
}

// judge reads the outcome from the way the process ended.
func judge(exit proc.Exit) (Outcome, string) {
	if exit.Signal != 0 {
		return Unknown, exit.Text()
	}
	switch exit.Code {
	case exitSuccess:
		return Success, ""
	case exitWarning:
		return Warning, "exit code 2 (warning)"
	case exitRetry:
		return Retry, exit.Text()
	default:
		return Failed, exit.Text()
	}
}

// conclude judges the result, in view of why procops ended the process, if it
// did.
func (r *Result) conclude(ended Outcome, u *Unit) {
	r.Outcome, r.Reason = judge(r.Exit)
	switch ended {
	case TimedOut:
		r.Outcome, r.Reason = TimedOut, tooLong(u.TimeLimit)
	case Cancelled:
		r.Outcome, r.Reason = Cancelled, wasStopped
	default:
		r.checkLength(maxOutput(u.MaxOutput))
	}
}

// wasStopped is the reason of what is Cancelled.
const wasStopped = "it was stopped"

// tooLong is the reason of what is TimedOut.
func tooLong(limit time.Duration) string {
	return fmt.Sprintf("it took longer than its time limit of %v", limit)
}

// checkLength makes a failure of a result that is not whole.
func (r *Result) checkLength(limit int) {
	if r.Truncated && (r.Outcome == Success || r.Outcome == Warning || r.Outcome == Stop) {
		r.Outcome, r.Reason = Failed, fmt.Sprintf("its result is longer than %d bytes", limit)
	}
}

// maxOutput returns how many bytes of result are kept, as MaxOutput of Unit and Work
// says it.
func maxOutput(n int) int {
	switch {
	case n < 0:
		return 0
	case n == 0:
		return defaultMaxOutput
	default:
		return n
	}
}
