package worker

import "procops/internal/event"

// runData says which worker has begun.
type runData struct {
	Worker      string   `json:"worker" doc:"what the worker is called at its servers"`
	Functions   []string `json:"functions" doc:"names of its functions"`
	Concurrency int      `json:"concurrency" doc:"how many jobs it does at once"`
}

// serverData names a worker and one of its servers.
type serverData struct {
	Worker string `json:"worker" doc:"what the worker is called at its servers"`
	Server string `json:"server" doc:"address of the job server"`
}

// registerData says which functions a server is told.
type registerData struct {
	Worker    string   `json:"worker" doc:"what the worker is called at its servers"`
	Server    string   `json:"server" doc:"address of the job server"`
	Functions []string `json:"functions" doc:"names of the functions"`
}

// jobData says which job it is.
type jobData struct {
	Worker string `json:"worker" doc:"what the worker is called at its servers"`
	Server string `json:"server" doc:"address of the job server that has given the job"`
	Job    string `json:"job" doc:"handle of the job"`
	Unique string `json:"unique,omitempty" doc:"unique key of the job"`
}

// resultData says how a job has gone.
type resultData struct {
	Worker   string  `json:"worker" doc:"what the worker is called at its servers"`
	Server   string  `json:"server" doc:"address of the job server that has given the job"`
	Job      string  `json:"job" doc:"handle of the job"`
	Unique   string  `json:"unique,omitempty" doc:"unique key of the job"`
	Outcome  string  `json:"outcome" doc:"success, warning, retry, error, unknown, timeout, cancelled or stop"`
	Seconds  float64 `json:"seconds" doc:"how long it took, with all attempts"`
	Attempts int     `json:"attempts" doc:"how often it was tried; 0: it could not be begun"`
	Message  string  `json:"message,omitempty" doc:"why it was not a success, for people"`
	Lost     bool    `json:"lost,omitempty" doc:"the server has not been told: the connection was lost"`
}

// endData says why a worker ends.
type endData struct {
	Worker string `json:"worker" doc:"what the worker is called at its servers"`
	Jobs   uint64 `json:"jobs" doc:"how many jobs it has done, those that have failed included"`
	Failed uint64 `json:"failed" doc:"how many of them have failed"`
	Reason string `json:"reason" doc:"why it ends, for people"`
}

// failedData says what has gone wrong beside jobs.
type failedData struct {
	Worker  string `json:"worker" doc:"what the worker is called at its servers"`
	Server  string `json:"server,omitempty" doc:"address of the job server"`
	Message string `json:"message" doc:"what, for people"`
}

var (
	eventBeforeRun      = event.Define[runData]("worker.before_run", "A worker is about to work; the subject is what it is called at its servers. Published and not recorded.")
	eventConnect        = event.Define[serverData]("worker.server.connect", "A worker is about to connect to a server. Published and not recorded.")
	eventConnected      = event.Define[serverData]("worker.server.connected", "A worker is connected to a server. Published and not recorded.")
	eventBeforeRegister = event.Define[registerData]("worker.functions.before_register", "A worker is about to tell a server what it can do. Published and not recorded.")
	eventAfterRegister  = event.Define[registerData]("worker.functions.after_register", "A worker has told a server what it can do. Published and not recorded.")
	eventNoJobs         = event.Define[serverData]("worker.no_jobs", "A server has no job for a worker. Published and not recorded.")
	eventIOWait         = event.Define[serverData]("worker.io_wait", "A worker sleeps until a server wakes it. Published and not recorded.")
	eventBeforeExecute  = event.Define[jobData]("worker.function.before_execute", "A worker is about to do a job; the subject is its function. Published and not recorded.")
	eventAfterExecute   = event.Define[resultData]("worker.function.after_execute", "A job has ended well; the subject is its function. Published and not recorded.")
	eventFunctionFailed = event.Define[resultData]("worker.function.failed", "A job has failed; the subject is its function.")
	eventWork           = event.Define[jobData]("worker.work", "A worker is done with a job, whatever came of it; the subject is its function. Published and not recorded.")
	eventAfterRun       = event.Define[endData]("worker.after_run", "A worker takes no more jobs, and has ended those that it had. Published and not recorded.")
	eventBeforeDestroy  = event.Define[endData]("worker.before_destroy", "A worker is gone after this. Published and not recorded.")
	eventFailed         = event.Define[failedData]("worker.failed", "A worker cannot work as it should: a server cannot be reached or has gone away. Of several failures in a row it is the first.")
)

// Events describes the event types of this package.
func Events() []event.Description {
	return []event.Description{
		eventBeforeRun.Describe(), eventConnect.Describe(), eventConnected.Describe(),
		eventBeforeRegister.Describe(), eventAfterRegister.Describe(),
		eventNoJobs.Describe(), eventIOWait.Describe(), eventWork.Describe(),
		eventBeforeExecute.Describe(), eventAfterExecute.Describe(), eventFunctionFailed.Describe(),
		eventAfterRun.Describe(), eventBeforeDestroy.Describe(), eventFailed.Describe(),
	}
}
