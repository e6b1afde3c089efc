package heartbeat

import "procops/internal/states"

// State is where a heartbeat is in its life.
type State string

// The states of a heartbeat.
const (
	StateNew     State = "new"     // no beat yet
	StateUp      State = "up"      // it beats as expected
	StateLate    State = "late"    // a beat is overdue, within the grace
	StateDown    State = "down"    // no beat within the grace, or a failure
	StateStarted State = "started" // a run is under way
	StatePaused  State = "paused"  // nothing is expected
)

// States lists all states in the order of docs/states.md.
func States() []State {
	return []State{StateNew, StateUp, StateLate, StateDown, StateStarted, StatePaused}
}

// Trigger is what moves a heartbeat from state to state.
type Trigger string

// The triggers.
const (
	TriggerSuccess Trigger = "success" // a beat, or the good end of a run
	TriggerFail    Trigger = "fail"    // the client says that it has failed
	TriggerStart   Trigger = "start"   // a run has begun
	TriggerLate    Trigger = "late"    // the time of the next beat has come
	TriggerOverdue Trigger = "overdue" // the grace after that is over
	TriggerOverrun Trigger = "overrun" // a run takes longer than it may
	TriggerPause   Trigger = "pause"   // nothing is to be expected
	TriggerResume  Trigger = "resume"  // the end of a pause
)

// Triggers lists all triggers in the order of docs/states.md.
func Triggers() []Trigger {
	return []Trigger{
		TriggerSuccess, TriggerFail, TriggerStart, TriggerLate,
		TriggerOverdue, TriggerOverrun, TriggerPause, TriggerResume,
	}
}

// machine is total: a row for each state, a column for each trigger, in the orders
// of States and Triggers. What comes by itself (late, overdue, overrun) comes when
// life.deadline says so, and only in the states that have such a deadline.
func machine() states.Table[State, Trigger] {
	return states.Table[State, Trigger]{
		States: States(), Triggers: Triggers(),
		Next: [][]State{
			//            success  fail       start         late       overdue    overrun    pause        resume
			/* new     */ {StateUp, StateDown, StateStarted, states.Never, states.Never, states.Never, StatePaused, states.Stay},
			/* up      */ {StateUp, StateDown, StateStarted, StateLate, states.Never, states.Never, StatePaused, states.Stay},
			/* late    */ {StateUp, StateDown, StateStarted, states.Never, StateDown, states.Never, StatePaused, states.Stay},
			/* down    */ {StateUp, StateDown, StateStarted, states.Never, StateDown, states.Never, StatePaused, states.Stay},
			/* started */ {StateUp, StateDown, StateStarted, states.Never, states.Never, StateDown, StatePaused, states.Stay},
			/* paused  */ {StateUp, StateDown, StateStarted, states.Never, states.Never, states.Never, StatePaused, StateNew},
		},
	}
}

// transition returns the state after t, which is s itself where t changes
// nothing. An error means a defect: t cannot come in state s.
func transition(s State, t Trigger) (State, error) { return machine().Transition(s, t) }
