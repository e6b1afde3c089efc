package heartbeat

import "procops/internal/event"

// attachData says what an attached heartbeat is for.
type attachData struct {
	Description string `json:"description,omitempty" doc:"what beats, for people"`
	Created     bool   `json:"created,omitempty" doc:"a beat or a run attached it, not a person"`
}

// noData is the data of an event whose subject says it all.
type noData struct{}

// statusData says how the status of a heartbeat has changed.
type statusData struct {
	From    Status  `json:"from,omitempty" doc:"the status that the knock before found; missing for the first knock"`
	To      Status  `json:"to" doc:"the status that this knock found: ok, warning, critical or unknown"`
	Lag     float64 `json:"lag_seconds,omitempty" doc:"age of the last beat"`
	Message string  `json:"message" doc:"why, for people"`
}

// runData says which run of a command has begun.
type runData struct {
	Run     int64  `json:"run" doc:"number of the run"`
	Program string `json:"program" doc:"what is run, without its arguments"`
	PID     int    `json:"pid" doc:"process id of the procops that wraps it"`
}

// endData says how a run of a command has ended.
type endData struct {
	Run     int64   `json:"run" doc:"number of the run; 0 if its start could not be recorded"`
	Program string  `json:"program" doc:"what was run, without its arguments"`
	Code    int     `json:"code" doc:"exit code as a shell has it: 128 + n for signal n"`
	Seconds float64 `json:"seconds" doc:"how long it ran"`
	Message string  `json:"message,omitempty" doc:"why it failed, for people"`
}

// lostData says which run has gone without a word.
type lostData struct {
	Run     int64  `json:"run" doc:"number of the run"`
	Program string `json:"program" doc:"what was run, without its arguments"`
}

// stateData says how a heartbeat has moved in its life.
type stateData struct {
	From    State   `json:"from" doc:"the state before"`
	To      State   `json:"to" doc:"the state: new, up, late, down, started or paused"`
	Trigger Trigger `json:"trigger" doc:"what has moved it: success, fail, start, late, overdue, overrun, pause or resume"`
}

// alertData says what somebody is told.
type alertData struct {
	Alert    Alert  `json:"alert" doc:"down, still_down or recovered"`
	Failures int    `json:"failures,omitempty" doc:"failures and missed beats in a row"`
	Message  string `json:"message" doc:"why, for people"`
}

// clockData says how far the wall clock has jumped.
type clockData struct {
	Seconds float64 `json:"seconds" doc:"how far it was set on; negative: back"`
}

// resumedData says for how long nobody has watched.
type resumedData struct {
	Seconds float64 `json:"seconds,omitempty" doc:"since the last pass of a monitor; missing if there was none"`
}

// reactionData says which reaction to an alert has failed.
type reactionData struct {
	Alert    Alert  `json:"alert" doc:"down, still_down or recovered"`
	Reaction string `json:"reaction" doc:"its key: exec, webhook, signal, restart, task, detach or log"`
	Error    string `json:"error" doc:"why"`
}

var (
	eventState    = event.Define[stateData]("heartbeat.state_changed", "A heartbeat has come into another state; the event's time is that of the deadline, not of its detection.")
	eventAlert    = event.Define[alertData]("heartbeat.alert", "Somebody is to be told that a heartbeat is down, is still down or is up again; the event's time is that of the deadline.")
	eventClock    = event.Define[clockData]("heartbeat.clock_jumped", "The wall clock was set; the ages of beats stay what they are.")
	eventResumed  = event.Define[resumedData]("heartbeat.monitor.resumed", "A monitor watches after a time in which none did; what was expected meanwhile is expected anew.")
	eventReaction = event.Define[reactionData]("heartbeat.reaction_failed", "A reaction to an alert has failed; the next one is tried all the same.")
)

var (
	eventAttached     = event.Define[attachData]("heartbeat.attached", "A heartbeat was added to the list of observed ones.")
	eventDetached     = event.Define[noData]("heartbeat.detached", "A heartbeat was removed from the list of observed ones.")
	eventStatus       = event.Define[statusData]("heartbeat.status_changed", "A knock found another status than the knock before.")
	eventRunStarted   = event.Define[runData]("heartbeat.run.started", "A wrapped command was started.")
	eventRunSucceeded = event.Define[endData]("heartbeat.run.succeeded", "A wrapped command ended with exit code 0.")
	eventRunFailed    = event.Define[endData]("heartbeat.run.failed", "A wrapped command failed, was ended by a signal or ran too long.")
	eventRunLost      = event.Define[lostData]("heartbeat.run.lost", "The procops that wrapped a command is gone, and nobody knows how the command ended.")
)

// Events describes the event types of this package.
func Events() []event.Description {
	return []event.Description{
		eventAttached.Describe(), eventDetached.Describe(), eventStatus.Describe(),
		eventRunStarted.Describe(), eventRunSucceeded.Describe(), eventRunFailed.Describe(), eventRunLost.Describe(),
		eventState.Describe(), eventAlert.Describe(), eventClock.Describe(), eventResumed.Describe(), eventReaction.Describe(),
	}
}
