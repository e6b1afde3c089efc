package daemon

import "procops/internal/states"

// State is where a daemon is in its life.
type State string

// The states of a daemon.
const (
	StateWaiting  State = "waiting"  // for its next turn
	StateRunning  State = "running"  // a turn is under way
	StateEnding   State = "ending"   // the last turn is under way
	StateStopping State = "stopping" // the turn is being stopped
	StateStopped  State = "stopped"  // it has ended
)

// Trigger is what moves a daemon from state to state.
type Trigger string

// The triggers.
const (
	TriggerDue    Trigger = "due"    // it is time for a turn
	TriggerOver   Trigger = "over"   // the turn has ended
	TriggerFinish Trigger = "finish" // the daemon ends by itself: a turn has asked for it, too many have failed, too much memory
	TriggerQuit   Trigger = "quit"   // signal QUIT: end after the turn
	TriggerStop   Trigger = "stop"   // signal TERM or INT: stop the turn and end
)

// machine is the table of docs/states.md.
func machine() states.Table[State, Trigger] {
	return states.Table[State, Trigger]{
		States:   []State{StateWaiting, StateRunning, StateEnding, StateStopping, StateStopped},
		Triggers: []Trigger{TriggerDue, TriggerOver, TriggerFinish, TriggerQuit, TriggerStop},
		Next: [][]State{
			//            due           over          finish        quit          stop
			/* waiting */ {StateRunning, states.Never, StateStopped, StateStopped, StateStopped},
			/* running */ {states.Stay, StateWaiting, states.Never, StateEnding, StateStopping},
			/* ending  */ {states.Stay, StateStopped, states.Never, states.Stay, StateStopping},
			/* stopping*/ {states.Stay, StateStopped, states.Never, states.Stay, states.Stay},
			/* stopped */ {states.Stay, states.Never, states.Stay, states.Stay, states.Stay},
		},
	}
}
