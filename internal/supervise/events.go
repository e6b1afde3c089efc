package supervise

import (
	"time"

	"procops/internal/event"
)

// changeData says how a process came into the state that the event names.
type changeData struct {
	From     State   `json:"from" doc:"the state before"`
	PID      int     `json:"pid,omitempty" doc:"process id while it runs"`
	Restarts int     `json:"restarts" doc:"restarts since supervision began"`
	Reason   string  `json:"reason,omitempty" doc:"why, for people"`
	Delay    float64 `json:"delay_seconds,omitempty" doc:"for backoff: time until the next start"`
}

// exitData says how a run of a process ended.
type exitData struct {
	PID      int     `json:"pid" doc:"process id it had"`
	Code     int     `json:"code" doc:"exit code as a shell has it: 128 + n for signal n"`
	Signal   string  `json:"signal,omitempty" doc:"the signal that ended it"`
	Text     string  `json:"text" doc:"the code and what it commonly means"`
	Seconds  float64 `json:"seconds" doc:"how long it ran"`
	Expected bool    `json:"expected" doc:"procops had asked it to stop, or the code counts as success"`
	Stdout   string  `json:"stdout,omitempty" doc:"the last lines of its standard output, of a failure"`
	Stderr   string  `json:"stderr,omitempty" doc:"the last lines of its standard error, of a failure"`
}

// groupData says why a group is restarted.
type groupData struct {
	Members []string `json:"members" doc:"the processes that are restarted together"`
	Process string   `json:"process" doc:"the process whose end caused it"`
	Delay   float64  `json:"delay_seconds" doc:"time until they are started again"`
}

// treeData says what the supervisor supervises.
type treeData struct {
	PID       int      `json:"pid" doc:"process id of procops"`
	Processes int      `json:"processes" doc:"how many processes the tree has"`
	ByHand    []string `json:"stopped_by_hand,omitempty" doc:"at the beginning: processes that an operator has stopped and that stay so"`
}

// failedData says which failure ended supervision.
type failedData struct {
	Command string `json:"command" doc:"what was run"`
	Code    int    `json:"code" doc:"exit code as a shell has it"`
	Text    string `json:"text" doc:"the code and what it commonly means"`
}

// reloadData says what a reload has done.
type reloadData struct {
	Added     []string `json:"added,omitempty" doc:"processes that are new"`
	Removed   []string `json:"removed,omitempty" doc:"processes that are stopped and forgotten"`
	Restarted []string `json:"restarted,omitempty" doc:"processes that run with a new config"`
	Updated   []string `json:"updated,omitempty" doc:"processes and groups that go on under new rules"`
}

// upgradeData says what procops has become.
type upgradeData struct {
	PID       int    `json:"pid" doc:"process id of procops, which stays the same"`
	Processes int    `json:"processes" doc:"how many processes the tree has"`
	Program   string `json:"program" doc:"path of the program that supervises now"`
}

// scaleData says what an operator's word about the number of instances has
// done.
type scaleData struct {
	Instances int      `json:"instances" doc:"how many there are to be"`
	Before    int      `json:"before" doc:"how many there were"`
	Added     []string `json:"added,omitempty" doc:"instances that are new"`
	Removed   []string `json:"removed,omitempty" doc:"instances that are stopped and forgotten"`
}

// concludedData says how the process ended that decides about the exit code.
type concludedData struct {
	Code int `json:"code" doc:"exit code as a shell has it, and that of procops"`
}

// linkData says what a log link of a chain says.
type linkData struct {
	Message string `json:"message" doc:"the link's text, filled in"`
}

// linkFailedData says which link has failed, and why.
type linkFailedData struct {
	Link   string `json:"link" doc:"the link's key: exec, webhook, task, job, start, stop or restart"`
	Target string `json:"target" doc:"what it runs, calls, queues or gives an order to; of a URL the host only"`
	Error  string `json:"error" doc:"why it failed"`
}

// linkOrderedData says what a chain has others do.
type linkOrderedData struct {
	Action  Action   `json:"action" doc:"start, stop or restart"`
	Members []string `json:"members" doc:"the processes that get the order"`
	Process string   `json:"process" doc:"the process whose end caused it"`
}

var (
	eventStarted      = event.Define[treeData]("supervise.started", "Supervision of a tree has begun.")
	eventReloaded     = event.Define[reloadData]("supervise.reloaded", "The tree was brought to a new config.")
	eventUpgraded     = event.Define[upgradeData]("supervise.upgraded", "Procops has become another program and supervises on; no process was stopped.")
	eventScaled       = event.Define[scaleData]("supervise.scaled", "An operator has changed how many instances of the subject there are.")
	eventStopped      = event.Define[treeData]("supervise.stopped", "Supervision has ended; nothing of the tree runs any more.")
	eventFailed       = event.Define[failedData]("supervise.failed", "The failure of the subject, which no chain settled, ends supervision.")
	eventConcluded    = event.Define[concludedData]("supervise.concluded", "The subject, which exit_with names, has ended for good, and that ends supervision.")
	eventExited       = event.Define[exitData]("supervise.process.exited", "A run of a process has ended.")
	eventLog          = event.Define[linkData]("supervise.process.log", "A log link of a chain was reached.")
	eventLinkFailed   = event.Define[linkFailedData]("supervise.link.failed", "A link of the subject's chain has failed; the next one takes over.")
	eventLinkOrdered  = event.Define[linkOrderedData]("supervise.link.ordered", "A link of the subject's chain gives an order to other processes.")
	eventGroupRestart = event.Define[groupData]("supervise.group.restarting", "Processes of a group are restarted together.")

	eventProcessStopped   = event.Define[changeData]("supervise.process.stopped", "A process is down, as wanted.")
	eventProcessWaiting   = event.Define[changeData]("supervise.process.waiting", "A process waits for what it depends on.")
	eventProcessStarting  = event.Define[changeData]("supervise.process.starting", "A process runs and is not ready yet.")
	eventProcessRunning   = event.Define[changeData]("supervise.process.running", "A process runs and is ready.")
	eventProcessEnding    = event.Define[changeData]("supervise.process.ending", "A process has ended or failed; the rest of its group is ended and its chain is run.")
	eventProcessBackoff   = event.Define[changeData]("supervise.process.backoff", "A process waits before it is started again.")
	eventProcessStopping  = event.Define[changeData]("supervise.process.stopping", "A process is being stopped.")
	eventProcessCompleted = event.Define[changeData]("supervise.process.completed", "A process has ended well and stays down.")
	eventProcessFatal     = event.Define[changeData]("supervise.process.fatal", "A process has failed and was given up.")
)

// Events describes the event types of this package.
func Events() []event.Description {
	list := []event.Description{
		eventStarted.Describe(), eventReloaded.Describe(), eventUpgraded.Describe(), eventScaled.Describe(), eventStopped.Describe(), eventFailed.Describe(), eventConcluded.Describe(),
		eventExited.Describe(), eventLog.Describe(), eventLinkFailed.Describe(), eventLinkOrdered.Describe(), eventGroupRestart.Describe(),
	}
	for _, s := range States() {
		list = append(list, changeType(s).Describe())
	}
	return list
}

// changeType returns the event type of coming into a state.
func changeType(s State) event.Type[changeData] {
	switch s {
	case StateWaiting:
		return eventProcessWaiting
	case StateStarting:
		return eventProcessStarting
	case StateRunning:
		return eventProcessRunning
	case StateEnding:
		return eventProcessEnding
	case StateBackoff:
		return eventProcessBackoff
	case StateStopping:
		return eventProcessStopping
	case StateCompleted:
		return eventProcessCompleted
	case StateFatal:
		return eventProcessFatal
	default:
		return eventProcessStopped
	}
}

func seconds(d time.Duration) float64 { return d.Round(time.Microsecond).Seconds() }
