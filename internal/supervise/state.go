package supervise

import "fmt"

// State is where a supervised process is in its life.
type State string

// The states of a process.
const (
	StateStopped   State = "stopped"   // down, as wanted
	StateWaiting   State = "waiting"   // wanted; something it depends on is not there yet
	StateStarting  State = "starting"  // runs, not ready yet
	StateRunning   State = "running"   // runs and is ready
	StateEnding    State = "ending"    // it ended or failed; what is left of its group is ended, its chain is run
	StateBackoff   State = "backoff"   // waits before it is started again
	StateStopping  State = "stopping"  // the stop ladder is at work
	StateCompleted State = "completed" // ended well and stays down
	StateFatal     State = "fatal"     // failed and given up
)

// States lists all states in the order of docs/states.md.
func States() []State {
	return []State{
		StateStopped, StateWaiting, StateStarting, StateRunning, StateEnding,
		StateBackoff, StateStopping, StateCompleted, StateFatal,
	}
}

// AtRest reports whether nothing runs in this state and nothing will by itself.
func (s State) AtRest() bool {
	return s == StateStopped || s == StateCompleted || s == StateFatal
}

// Up reports whether a process runs in this state and is meant to go on.
func (s State) Up() bool { return s == StateStarting || s == StateRunning }

// Trigger is what moves a process from state to state.
type Trigger string

// The triggers.
const (
	TriggerStart    Trigger = "start"    // it is wanted up
	TriggerStop     Trigger = "stop"     // it is wanted down, or about to be restarted
	TriggerSpawned  Trigger = "spawned"  // the kernel has started it
	TriggerReady    Trigger = "ready"    // its readiness check has passed
	TriggerFail     Trigger = "fail"     // it was not ready in time, or works no more
	TriggerExited   Trigger = "exited"   // its leader has ended
	TriggerGone     Trigger = "gone"     // nothing is left of its process group
	TriggerComplete Trigger = "complete" // verdict on its end: it ended well and stays down
	TriggerRetry    Trigger = "retry"    // verdict on its end, or a chain's order: start it again after a delay
	TriggerGiveUp   Trigger = "give-up"  // verdict on its end: it failed for good
	TriggerDue      Trigger = "due"      // the delay is over

	TriggerTakenBack Trigger = "taken-back" // it has outlived a former supervisor
)

// Triggers lists all triggers in the order of docs/states.md.
func Triggers() []Trigger {
	return []Trigger{
		TriggerStart, TriggerStop, TriggerSpawned, TriggerReady, TriggerFail, TriggerExited,
		TriggerGone, TriggerComplete, TriggerRetry, TriggerGiveUp, TriggerDue, TriggerTakenBack,
	}
}

// What stands in the table where no state follows. They have no type, because
// they are no states.
const (
	stay  = "-" // the trigger may come and changes nothing
	never = "!" // the trigger cannot come; if it does, there is a defect
)

// table is total: a row for each state, a column for each trigger, in the
// orders of States and Triggers. A trigger that belongs to an earlier run of
// the process (its exit, its readiness) is dropped before it comes here, by the
// number of the run; a delay that is out of date, by the number of moves.
func table() [9][12]State {
	return [9][12]State{
		//             start         stop           spawned        ready         fail         exited       gone          complete        retry         give-up     due           taken-back
		/* stopped  */ {StateWaiting, stay, never, never, never, never, never, never, StateBackoff, never, never, StateStarting},
		/* waiting  */ {stay, StateStopped, StateStarting, never, never, never, never, never, StateBackoff, StateFatal, never, never},
		/* starting */ {stay, StateStopping, never, StateRunning, StateEnding, StateEnding, never, never, never, never, never, never},
		/* running  */ {stay, StateStopping, never, stay, StateEnding, StateEnding, never, never, never, never, never, never},
		/* ending   */ {stay, StateStopping, never, stay, stay, stay, stay, StateCompleted, StateBackoff, StateFatal, never, never},
		/* backoff  */ {StateWaiting, StateStopped, never, never, never, never, never, never, never, never, StateWaiting, never},
		/* stopping */ {stay, stay, never, stay, stay, stay, StateStopped, never, never, never, never, never},
		/* completed*/ {StateWaiting, stay, never, never, never, never, never, never, StateBackoff, never, never, never},
		/* fatal    */ {StateWaiting, StateStopped, never, never, never, never, never, never, StateBackoff, never, never, never},
	}
}

// transition returns the state after t, which is s itself where t changes
// nothing. An error means a defect: t cannot come in state s.
func transition(s State, t Trigger) (State, error) {
	row, column := -1, -1
	for i, x := range States() {
		if x == s {
			row = i
		}
	}
	for i, x := range Triggers() {
		if x == t {
			column = i
		}
	}
	if row < 0 || column < 0 {
		return s, fmt.Errorf("there is no state %q or no trigger %q", s, t)
	}
	switch next := table()[row][column]; next {
	case stay:
		return s, nil
	case never:
		return s, fmt.Errorf("trigger %q cannot come in state %q", t, s)
	default:
		return next, nil
	}
}
