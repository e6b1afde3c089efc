package server

import (
	"strconv"

	"procops/internal/event"
)

// buriedData says which job was buried.
type buriedData struct {
	Function string `json:"function" doc:"function of the job"`
	Tries    int    `json:"tries" doc:"how many workers have left or run out of time with it"`
}

var eventBuried = event.Define[buriedData]("worker.job.buried", "Too many workers have died of a durable job; the subject is its handle. `worker admin retry job` brings it back.")

// Events describes the event types of this package.
func Events() []event.Description { return []event.Description{eventBuried.Describe()} }

// forPeople returns a name that can stand in JSON.
func forPeople(name string) string {
	if quoted := strconv.Quote(name); len(quoted) != len(name)+2 {
		return quoted
	}
	return name
}
