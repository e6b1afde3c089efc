package heartbeat

import (
	"fmt"
	"slices"
)

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

// What stands in the table where no state follows. They have no type, because
// they are no states.
const (
	stay  = "-" // the trigger may come and changes nothing
	never = "!" // the trigger cannot come; if it does, there is a defect
)

// table is total: a row for each state, a column for each trigger, in the orders
// of States and Triggers. What comes by itself (late, overdue, overrun) comes when
// life.deadline says so, and only in the states that have such a deadline.
func table() [6][8]State {
	return [6][8]State{
		//            success  fail       start         late       overdue    overrun    pause        resume
		/* new     */ {StateUp, StateDown, StateStarted, never, never, never, StatePaused, stay},
		/* up      */ {StateUp, StateDown, StateStarted, StateLate, never, never, StatePaused, stay},
		/* late    */ {StateUp, StateDown, StateStarted, never, StateDown, never, StatePaused, stay},
		/* down    */ {StateUp, StateDown, StateStarted, never, StateDown, never, StatePaused, stay},
		/* started */ {StateUp, StateDown, StateStarted, never, never, StateDown, StatePaused, stay},
		/* paused  */ {StateUp, StateDown, StateStarted, never, never, never, StatePaused, StateNew},
	}
}

// transition returns the state after t, which is s itself where t changes
// nothing. An error means a defect: t cannot come in state s.
func transition(s State, t Trigger) (State, error) {
	row, column := slices.Index(States(), s), slices.Index(Triggers(), t)
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
