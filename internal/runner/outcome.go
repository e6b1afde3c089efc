package runner

import (
	"fmt"
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
	Reason      string    // why it was not a success, for people; empty on success
	Exit        proc.Exit // how the process ended
	Output      []byte    // standard output, at most MaxOutput bytes
	Truncated   bool      // there was more
	Diagnostics string    // the end of standard error
	Started     time.Time
	Duration    time.Duration
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
	switch {
	case ended == TimedOut:
		r.Outcome, r.Reason = TimedOut, fmt.Sprintf("it took longer than its time limit of %v", u.TimeLimit)
	case ended == Cancelled:
		r.Outcome, r.Reason = Cancelled, "it was stopped"
	case r.Truncated && (r.Outcome == Success || r.Outcome == Warning):
		r.Outcome, r.Reason = Failed, fmt.Sprintf("its result is longer than %d bytes", u.maxOutput())
	}
}
