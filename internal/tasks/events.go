package tasks

import "procops/internal/event"

// pushData says what was queued. The parameters may hold secrets and stay out of
// the events.
type pushData struct {
	Type     string `json:"type" doc:"type of the task"`
	Priority int    `json:"priority,omitempty" doc:"lower is more important"`
	RunAt    string `json:"run_at,omitempty" doc:"it is not run before this time, as in RFC 3339; missing: at once"`
}

// startData says which run has begun.
type startData struct {
	Type    string `json:"type" doc:"type of the task"`
	Attempt int    `json:"attempt" doc:"number of the attempt, from 1"`
	Crashes int    `json:"crashes,omitempty" doc:"how many workers have died while they ran it"`
}

// progressData says how far a run has got. It is published and not recorded.
type progressData struct {
	Type    string  `json:"type" doc:"type of the task"`
	Attempt int     `json:"attempt" doc:"number of the attempt, from 1"`
	Done    uint64  `json:"done,omitempty" doc:"how much is done, of total"`
	Total   uint64  `json:"total,omitempty" doc:"how much there is; missing: it has not said"`
	Percent float64 `json:"percent,omitempty" doc:"the same as a percentage"`
	Message string  `json:"message,omitempty" doc:"what it is about, for people"`
	State   string  `json:"state,omitempty" doc:"the state that it has passed into"`
}

// endData says how a run has ended.
type endData struct {
	Type    string  `json:"type" doc:"type of the task"`
	Attempt int     `json:"attempt" doc:"number of the attempt, from 1"`
	Result  Result  `json:"result" doc:"success, warning, error, unknown, timeout or retry"`
	Code    int     `json:"code" doc:"exit code as a shell has it: 128 + n for signal n"`
	Seconds float64 `json:"seconds" doc:"how long it ran"`
	Message string  `json:"message,omitempty" doc:"why it was not a success, for people"`
	RetryAt string  `json:"retry_at,omitempty" doc:"unless it has ended well or was given up: when it is tried again, as in RFC 3339"`
}

// deadData says why a task was given up.
type deadData struct {
	Type     string `json:"type" doc:"type of the task"`
	Attempts int    `json:"attempts" doc:"how often it has failed"`
	Crashes  int    `json:"crashes" doc:"how many workers have died while they ran it"`
	Message  string `json:"message" doc:"why, for people"`
}

// releaseData says which task was given back.
type releaseData struct {
	Type string `json:"type" doc:"type of the task"`
}

// handData says what somebody has done to a task.
type handData struct {
	Type string `json:"type,omitempty" doc:"type of the task; missing if it is not known here"`
}

// pauseData says no more than the type of event and the subject do.
type pauseData struct{}

// brokerData says why a broker is, or was, of no use.
type brokerData struct {
	Reason string `json:"reason" doc:"why it is of no use, for people; of one that is back: why it was"`
}

var (
	eventPushed    = event.Define[pushData]("tasks.task.pushed", "A task was queued; the subject is its id.")
	eventStarted   = event.Define[startData]("tasks.task.started", "A worker has begun to run a task.")
	eventProgress  = event.Define[progressData]("tasks.task.progress", "A task has told how far it has got. Published at most every 0.3 s for each task, and not recorded.")
	eventCompleted = event.Define[endData]("tasks.task.completed", "A task has ended well.")
	eventFailed    = event.Define[endData]("tasks.task.failed", "A run of a task has failed.")
	eventPostponed = event.Define[endData]("tasks.task.postponed", "A run of a task has asked to be tried again later (exit code 75); that is no failed attempt.")
	eventDead      = event.Define[deadData]("tasks.task.dead", "A task was given up: it has failed too often, or too many workers have died of it.")
	eventReleased  = event.Define[releaseData]("tasks.task.released", "A worker that stops has given a task back before it was done.")
	eventRequeued  = event.Define[handData]("tasks.task.requeued", "A dead task was given back to the queue; its counts begin anew.")
	eventCancelled = event.Define[handData]("tasks.task.cancelled", "A task was cancelled: it is not run any more, or its run is being ended.")
	eventPaused    = event.Define[pauseData]("tasks.type.paused", "No worker with this state begins tasks of a type any more; the subject is the type, or * for all.")
	eventResumed   = event.Define[pauseData]("tasks.type.resumed", "A pause has ended; the subject is the type, or * for all.")
	eventDeleted   = event.Define[handData]("tasks.task.deleted", "A dead task was deleted.")

	eventBrokerLost     = event.Define[brokerData]("tasks.broker.lost", "A broker does not answer any more, or lets nobody in; the subject is its name. It is tried again and again.")
	eventBrokerRefusing = event.Define[brokerData]("tasks.broker.refusing", "A broker answers, but takes no new tasks: it is full, for instance.")
	eventBrokerBack     = event.Define[brokerData]("tasks.broker.back", "A broker that was lost or refusing does what it should again.")
)

// Events describes the event types of this package.
func Events() []event.Description {
	return []event.Description{
		eventPushed.Describe(), eventStarted.Describe(), eventProgress.Describe(), eventCompleted.Describe(),
		eventFailed.Describe(), eventPostponed.Describe(), eventDead.Describe(), eventReleased.Describe(),
		eventRequeued.Describe(), eventDeleted.Describe(), eventCancelled.Describe(), eventPaused.Describe(), eventResumed.Describe(),
		eventBrokerLost.Describe(), eventBrokerRefusing.Describe(), eventBrokerBack.Describe(),
	}
}
