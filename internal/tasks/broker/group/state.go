package group

import "procops/internal/states"

// State is how a broker does, as this process sees it.
type State string

// The states of a broker.
const (
	StateUnknown  State = "unknown"  // it was not asked for anything yet
	StateUp       State = "up"       // it answers
	StateRefusing State = "refusing" // it answers, but takes no new tasks: it is full, for instance
	StateDown     State = "down"     // it does not answer, or lets nobody in; it is tried again after a while
)

// States lists all states in the order of docs/states.md.
func States() []State { return []State{StateUnknown, StateUp, StateRefusing, StateDown} }

// Trigger is what moves a broker from state to state.
type Trigger string

// The triggers.
const (
	TriggerAnswer Trigger = "answer" // it has done what was asked, but for a push
	TriggerAccept Trigger = "accept" // it has taken new tasks
	TriggerRefuse Trigger = "refuse" // it has answered that it takes no new tasks
	TriggerFail   Trigger = "fail"   // it has not answered in time, or not done what was asked
)

// Triggers lists all triggers in the order of docs/states.md.
func Triggers() []Trigger {
	return []Trigger{TriggerAnswer, TriggerAccept, TriggerRefuse, TriggerFail}
}

func machine() states.Table[State, Trigger] {
	return states.Table[State, Trigger]{
		States: States(), Triggers: Triggers(),
		Next: [][]State{
			//             answer       accept       refuse         fail
			/* unknown  */ {StateUp, StateUp, StateRefusing, StateDown},
			/* up       */ {states.Stay, states.Stay, StateRefusing, StateDown},
			/* refusing */ {states.Stay, StateUp, states.Stay, StateDown},
			/* down     */ {StateUp, StateUp, StateRefusing, states.Stay},
		},
	}
}

// transition returns the state after t. There is none for states and triggers that do not
// exist.
func transition(s State, t Trigger) State {
	next, err := machine().Transition(s, t)
	if err != nil {
		return StateUnknown
	}
	return next
}
