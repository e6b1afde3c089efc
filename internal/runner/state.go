package runner

import "procops/internal/states"

// State is where a co-process is in its life.
type State string

// The states of a co-process.
const (
	StateStarting State = "starting" // started, and has not said hello yet
	StateIdle     State = "idle"     // waits for work
	StateBusy     State = "busy"     // has a unit of work
	StateLeaving  State = "leaving"  // its standard input is closed: it is to leave by itself
	StateStopping State = "stopping" // what is left of it is being ended
	StateEnded    State = "ended"    // nothing is left of it
)

// Trigger is what moves a co-process from state to state.
type Trigger string

// The triggers.
const (
	TriggerHello  Trigger = "hello"  // it is ready
	TriggerWork   Trigger = "work"   // it gets a unit
	TriggerAnswer Trigger = "answer" // the unit is done, whatever came of it
	TriggerLeave  Trigger = "leave"  // it has done enough, uses too much memory, or the pool is closed
	TriggerFail   Trigger = "fail"   // it breaks the protocol, takes too long, or its unit is stopped
	TriggerExited Trigger = "exited" // it has ended, or need not be waited for any longer
	TriggerGone   Trigger = "gone"   // its process group is empty
)

// machine is the table of docs/states.md. The end of a busy one becomes known as
// fail: first it is read what it has written.
func machine() states.Table[State, Trigger] {
	return states.Table[State, Trigger]{
		States:   []State{StateStarting, StateIdle, StateBusy, StateLeaving, StateStopping, StateEnded},
		Triggers: []Trigger{TriggerHello, TriggerWork, TriggerAnswer, TriggerLeave, TriggerFail, TriggerExited, TriggerGone},
		Next: [][]State{
			//             hello         work          answer        leave         fail           exited         gone
			/* starting */ {StateIdle, states.Never, states.Never, states.Never, StateStopping, StateStopping, states.Never},
			/* idle     */ {states.Never, StateBusy, states.Never, StateLeaving, states.Never, StateStopping, states.Never},
			/* busy     */ {states.Never, states.Never, StateIdle, states.Never, StateStopping, states.Never, states.Never},
			/* leaving  */ {states.Never, states.Never, states.Never, states.Stay, states.Never, StateStopping, states.Never},
			/* stopping */ {states.Never, states.Never, states.Never, states.Stay, states.Stay, states.Stay, StateEnded},
			/* ended    */ {states.Never, states.Never, states.Never, states.Never, states.Never, states.Never, states.Never},
		},
	}
}
