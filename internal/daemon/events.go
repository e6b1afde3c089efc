package daemon

import "procops/internal/event"

// startData says what has begun.
type startData struct {
	PID      int    `json:"pid" doc:"process id of the one that runs the turns"`
	Context  string `json:"context" doc:"where it runs, such as production"`
	Instance int    `json:"instance,omitempty" doc:"its number, from 1; missing: it is the only one"`
}

// turnData says how a turn has gone.
type turnData struct {
	Context  string  `json:"context" doc:"where the daemon runs, such as production"`
	Instance int     `json:"instance,omitempty" doc:"number of the daemon's instance, from 1; missing: it is the only one"`
	Turn     uint64  `json:"turn" doc:"number of the turn since the daemon has begun, from 1"`
	Outcome  string  `json:"outcome" doc:"success, warning, retry, error, unknown, timeout, cancelled, stop or memory"`
	Code     int     `json:"code" doc:"exit code as a shell has it: 128 + n for signal n"`
	Seconds  float64 `json:"seconds" doc:"how long it took"`
	Memory   int64   `json:"memory,omitempty" doc:"largest resident memory of its processes in bytes"`
	Delay    float64 `json:"delay" doc:"seconds until the next turn; 0: it follows at once, or there is none"`
	Message  string  `json:"message,omitempty" doc:"why it was not a success, for people"`
	Failures int     `json:"failures,omitempty" doc:"failures in a row"`
}

// skipData says which turn was left out.
type skipData struct {
	Context  string `json:"context" doc:"where the daemon runs, such as production"`
	Instance int    `json:"instance,omitempty" doc:"number of the daemon's instance, from 1; missing: it is the only one"`
	Count    int    `json:"count" doc:"how many turns of the schedule, at most 1000"`
	Reason   string `json:"reason" doc:"why, for people"`
}

// reloadData says what a reload has done.
type reloadData struct {
	Context  string `json:"context" doc:"where the daemon runs, such as production"`
	Instance int    `json:"instance,omitempty" doc:"number of the daemon's instance, from 1; missing: it is the only one"`
	Error    string `json:"error,omitempty" doc:"why the config was not read; the daemon goes on as before"`
}

// stopData says why a daemon has ended.
type stopData struct {
	PID      int    `json:"pid" doc:"process id of the one that has run the turns"`
	Context  string `json:"context" doc:"where it ran, such as production"`
	Instance int    `json:"instance,omitempty" doc:"its number, from 1; missing: it is the only one"`
	Turns    uint64 `json:"turns" doc:"how many turns it has run"`
	Reason   string `json:"reason" doc:"why, for people"`
	Failed   bool   `json:"failed,omitempty" doc:"it has given up"`
	Memory   int64  `json:"memory,omitempty" doc:"when it ended because of its memory: what its last turn has used, in bytes"`
	Limit    int64  `json:"limit,omitempty" doc:"when it ended because of its memory: memory_limit in bytes"`
}

var (
	eventStart   = event.Define[startData]("daemon.start", "A daemon has begun; the subject is its name.")
	eventDone    = event.Define[turnData]("daemon.task_done", "A turn has ended well. It is published and not recorded: the history of the daemon has it.")
	eventFailed  = event.Define[turnData]("daemon.task_failed", "A turn has failed.")
	eventSkipped = event.Define[skipData]("daemon.task_skipped", "Turns of a schedule were left out, because one before was still under way.")
	eventReload  = event.Define[reloadData]("daemon.reload", "A daemon has read its config and opened its logs again, or could not.")
	eventStop    = event.Define[stopData]("daemon.stop", "A daemon has ended.")
)

// Events describes the event types of this package.
func Events() []event.Description {
	return []event.Description{
		eventStart.Describe(), eventDone.Describe(), eventFailed.Describe(),
		eventSkipped.Describe(), eventReload.Describe(), eventStop.Describe(),
	}
}
