package hook

import "procops/internal/event"

// eventPrefix begins the types of events of hooks.
const eventPrefix = "hook."

// failData says what a hook could not do.
type failData struct {
	Action Action `json:"action" doc:"exec, webhook, task, job, beat, fail, start, stop, restart or log"`
	On     string `json:"on" doc:"type of the event that it was about"`
	About  string `json:"about,omitempty" doc:"subject of that event"`
	Error  string `json:"error" doc:"why, for people"`
}

// dropData says what a hook has not dealt with.
type dropData struct {
	Rate  int `json:"rate,omitempty" doc:"how many came more often than the hook may act"`
	Queue int `json:"queue,omitempty" doc:"how many came while too many waited"`
	End   int `json:"end,omitempty" doc:"how many still waited when procops ended"`
}

var (
	eventFailed  = event.Define[failData]("hook.failed", "A hook could not do what it does; the subject is its name. No hook hears of it.")
	eventDropped = event.Define[dropData]("hook.dropped", "A hook has not dealt with all events; told once for all that were dropped together.")
)

// Events describes the event types of this package.
func Events() []event.Description {
	return []event.Description{eventFailed.Describe(), eventDropped.Describe()}
}
