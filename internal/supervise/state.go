package supervise

import "procops/internal/states"

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

// machine is total: a row for each state, a column for each trigger, in the
// orders of States and Triggers. A trigger that belongs to an earlier run of
// the process (its exit, its readiness) is dropped before it comes here, by the
// number of the run; a delay that is out of date, by the number of moves.
func machine() states.Table[State, Trigger] {
	return states.Table[State, Trigger]{
		States: States(), Triggers: Triggers(),
		Next: [][]State{
			//             start         stop           spawned        ready         fail         exited       gone          complete        retry         give-up     due           taken-back
			/* stopped  */ {StateWaiting, states.Stay, states.Never, states.Never, states.Never, states.Never, states.Never, states.Never, StateBackoff, states.Never, states.Never, StateStarting},
			/* waiting  */ {states.Stay, StateStopped, StateStarting, states.Never, states.Never, states.Never, states.Never, states.Never, StateBackoff, StateFatal, states.Never, states.Never},
			/* starting */ {states.Stay, StateStopping, states.Never, StateRunning, StateEnding, StateEnding, states.Never, states.Never, states.Never, states.Never, states.Never, states.Never},
			/* running  */ {states.Stay, StateStopping, states.Never, states.Stay, StateEnding, StateEnding, states.Never, states.Never, states.Never, states.Never, states.Never, states.Never},
			/* ending   */ {states.Stay, StateStopping, states.Never, states.Stay, states.Stay, states.Stay, states.Stay, StateCompleted, StateBackoff, StateFatal, states.Never, states.Never},
			/* backoff  */ {StateWaiting, StateStopped, states.Never, states.Never, states.Never, states.Never, states.Never, states.Never, states.Never, states.Never, StateWaiting, states.Never},
			/* stopping */ {states.Stay, states.Stay, states.Never, states.Stay, states.Stay, states.Stay, StateStopped, states.Never, states.Never, states.Never, states.Never, states.Never},
			/* completed*/ {StateWaiting, states.Stay, states.Never, states.Never, states.Never, states.Never, states.Never, states.Never, StateBackoff, states.Never, states.Never, states.Never},
			/* fatal    */ {StateWaiting, StateStopped, states.Never, states.Never, states.Never, states.Never, states.Never, states.Never, StateBackoff, states.Never, states.Never, states.Never},
		},
	}
}

// transition returns the state after t, which is s itself where t changes
// nothing. An error means a defect: t cannot come in state s.
func transition(s State, t Trigger) (State, error) { return machine().Transition(s, t) }
