package tasks

import (
	"fmt"
	"slices"

	"procops/internal/runner"
	"procops/internal/states"
)

// State is where a task is in its life.
type State string

// The states of a task.
const (
	StatePending   State = "pending"   // queued, and not run yet
	StateRunning   State = "running"   // a worker has it; or had it, and died
	StateRetrying  State = "retrying"  // a run has failed; it is queued again
	StateDone      State = "done"      // it has ended well
	StateDead      State = "dead"      // it has failed and was given up
	StateCancelled State = "cancelled" // somebody did not want it any more
)

// States lists all states in the order of docs/states.md.
func States() []State {
	return []State{StatePending, StateRunning, StateRetrying, StateDone, StateDead, StateCancelled}
}

// UnmarshalText reads the name of a state.
func (s *State) UnmarshalText(text []byte) error {
	if !slices.Contains(States(), State(text)) {
		return fmt.Errorf("invalid status %q: want one of %q", text, States())
	}
	*s = State(text)
	return nil
}

// Trigger is what moves a task from state to state.
type Trigger string

// The triggers.
const (
	TriggerStart    Trigger = "start"    // a worker has claimed it and is about to run it
	TriggerComplete Trigger = "complete" // the run has ended well
	TriggerRetry    Trigger = "retry"    // the run has failed, and there will be another
	TriggerPostpone Trigger = "postpone" // the run wants to be tried again later
	TriggerGiveUp   Trigger = "give-up"  // the run has failed for good, or too many workers have died of it
	TriggerRelease  Trigger = "release"  // the worker stops and gives it back
	TriggerRequeue  Trigger = "requeue"  // somebody gives it another life
	TriggerCancel   Trigger = "cancel"   // somebody does not want it any more
)

// Triggers lists all triggers in the order of docs/states.md.
func Triggers() []Trigger {
	return []Trigger{TriggerStart, TriggerComplete, TriggerRetry, TriggerPostpone, TriggerGiveUp, TriggerRelease, TriggerRequeue, TriggerCancel}
}

// machine is total: a row for each state, a column for each trigger, in the orders
// of States and Triggers. Reports of a worker that has lost its lease are dropped
// before they come here, by the number of the lease. A task that is done, dead or
// cancelled can be claimed once more when somebody died before the broker was told.
// A report that reached the record and not the broker is made again.
func machine() states.Table[State, Trigger] {
	return states.Table[State, Trigger]{
		States: States(), Triggers: Triggers(),
		Next: [][]State{
			//            start         complete      retry          postpone       give-up       release       requeue       cancel
			/* pending */ {StateRunning, states.Never, states.Never, states.Never, StateDead, states.Stay, states.Stay, StateCancelled},
			/* running */ {states.Stay, StateDone, StateRetrying, StateRetrying, StateDead, StatePending, StatePending, StateCancelled},
			/* retrying*/ {StateRunning, states.Never, states.Stay, states.Stay, StateDead, states.Stay, StatePending, StateCancelled},
			/* done    */ {states.Stay, states.Stay, states.Never, states.Never, states.Stay, states.Stay, states.Stay, states.Stay},
			/* dead    */ {states.Stay, states.Never, states.Never, states.Never, states.Stay, states.Stay, StatePending, states.Stay},
			/* cancel. */ {states.Stay, states.Stay, states.Stay, states.Stay, states.Stay, states.Stay, states.Stay, states.Stay},
		},
	}
}

// transition returns the state after t, which is s itself where t changes
// nothing. An error means a defect: t cannot come in state s.
func transition(s State, t Trigger) (State, error) { return machine().Transition(s, t) }

// Result is what came of a run.
type Result string

// The results.
const (
	ResultSuccess Result = "success"
	ResultWarning Result = "warning" // done, but somebody should look
	ResultError   Result = "error"
	ResultUnknown Result = "unknown" // a signal ended it, or its worker died: nobody knows how far it got
	ResultTimeout Result = "timeout" // it took longer than its time limit
	ResultRetry   Result = "retry"   // it wants to be tried again later
)

// Code returns leptir's number for the result (retC), 0 before there is one.
func (r Result) Code() int {
	if r == ResultRetry {
		r = ResultError // leptir has none
	}
	return max(0, slices.Index(results(), r))
}

// results lists all results that leptir has; the place of each is its code.
func results() []Result {
	return []Result{"", ResultSuccess, ResultWarning, ResultError, ResultUnknown, ResultTimeout}
}

// resultOfCode returns the result of a code.
func resultOfCode(code int) Result {
	if all := results(); 0 <= code && code < len(all) {
		return all[code]
	}
	return ResultUnknown
}

// resultOf returns the result that an outcome stands for.
func resultOf(o runner.Outcome) Result {
	switch o {
	case runner.Success, runner.Stop:
		return ResultSuccess
	case runner.Warning:
		return ResultWarning
	case runner.TimedOut:
		return ResultTimeout
	case runner.Unknown, runner.Cancelled:
		return ResultUnknown
	case runner.Retry:
		return ResultRetry
	case runner.Failed:
		return ResultError
	default:
		return ResultError
	}
}
