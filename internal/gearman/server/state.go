package server

import "procops/internal/states"

// State is where a job is in its life.
type State string

// The states of a job.
const (
	StateNew       State = "new"       // it is being recorded, and nobody has been told of it yet
	StateQueued    State = "queued"    // it waits for a worker
	StateScheduled State = "scheduled" // it waits for its time
	StateRunning   State = "running"   // a worker has it
	StateUnwanted  State = "unwanted"  // a worker has it, and nobody waits for the result
	StateDropped   State = "dropped"   // nobody wants it; it goes when its turn comes
	StateBuried    State = "buried"    // too many workers have died of it
	StateDone      State = "done"      // it has ended, whether well or not
)

// States lists all states in the order of docs/states.md.
func States() []State {
	return []State{
		StateNew, StateQueued, StateScheduled, StateRunning,
		StateUnwanted, StateDropped, StateBuried, StateDone,
	}
}

// Trigger is what moves a job from state to state.
type Trigger string

// The triggers.
const (
	TriggerAccept   Trigger = "accept"   // it is recorded, and may run at once; or an operator brings it back
	TriggerSchedule Trigger = "schedule" // it is recorded, and has to wait for its time
	TriggerDue      Trigger = "due"      // its time has come
	TriggerGrab     Trigger = "grab"     // a worker asks for a job
	TriggerLost     Trigger = "lost"     // its worker has left, or has had it for too long
	TriggerGiveUp   Trigger = "give-up"  // the same, for the last time
	TriggerEnd      Trigger = "end"      // its worker has said how it has ended
	TriggerDrop     Trigger = "drop"     // the last client has left, or an operator has cancelled it
	TriggerJoin     Trigger = "join"     // a client wants it, too
)

// Triggers lists all triggers in the order of docs/states.md.
func Triggers() []Trigger {
	return []Trigger{
		TriggerAccept, TriggerSchedule, TriggerDue, TriggerGrab, TriggerLost,
		TriggerGiveUp, TriggerEnd, TriggerDrop, TriggerJoin,
	}
}

// machine is total: a row for each state, a column for each trigger, in the orders
// of States and Triggers. What could not be recorded is done without having been
// told of. A dropped job is thrown away where a worker would have got it.
func machine() states.Table[State, Trigger] {
	const (
		stay  = states.Stay
		never = states.Never
	)
	return states.Table[State, Trigger]{
		States:   States(),
		Triggers: Triggers(),
		Next: [][]State{
			//            accept       schedule        due          grab          lost         give-up      end        drop           join
			/* new      */ {StateQueued, StateScheduled, never, never, never, never, never, StateDone, stay},
			/* queued   */ {never, never, never, StateRunning, never, never, never, StateDropped, stay},
			/* scheduled*/ {never, never, StateQueued, never, never, never, never, StateDropped, stay},
			/* running  */ {never, never, never, never, StateQueued, StateBuried, StateDone, StateUnwanted, stay},
			/* unwanted */ {never, never, never, never, StateDone, StateDone, StateDone, stay, StateRunning},
			/* dropped  */ {never, never, never, StateDone, never, never, never, stay, never},
			/* buried   */ {StateQueued, never, never, never, never, never, never, StateDone, never},
			/* done     */ {never, never, never, never, never, never, never, never, never},
		},
	}
}
