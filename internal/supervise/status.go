package supervise

import "time"

// Status is a picture of the whole tree at one moment.
type Status struct {
	PID       int             `json:"pid"`     // of the supervising procops
	Started   time.Time       `json:"started"` // when supervision began
	Config    string          `json:"config,omitempty"`
	StateDir  string          `json:"state_dir"`
	Stopping  bool            `json:"stopping"`          // the whole tree is on its way down
	Program   string          `json:"program,omitempty"` // path of the procops that supervises
	Upgrades  int             `json:"upgrades"`          // how often it has become another program since supervision began
	Processes []ProcessStatus `json:"processes"`
	Tree      []Node          `json:"tree"`
}

// ProcessStatus is a picture of one process.
type ProcessStatus struct {
	Name     string        `json:"name"`
	Group    string        `json:"group,omitempty"`    // path of the groups above it: "site/backend"
	Instance int           `json:"instance,omitempty"` // its number, from 1, if it is one of several
	Command  string        `json:"command"`
	State    State         `json:"state"`
	Wanted   bool          `json:"wanted"`           // up, as far as the operator and the config have a say
	Reason   string        `json:"reason,omitempty"` // why it is in this state, for people
	PID      int           `json:"pid,omitempty"`
	Started  time.Time     `json:"started,omitzero"`
	Since    time.Time     `json:"since"` // of the state
	Ready    bool          `json:"ready"`
	Alive    *Alive        `json:"alive,omitempty"`        // of a process with a liveness check, while it is ready
	Watchdog *Watchdog     `json:"watchdog,omitempty"`     // of a process that runs and has to say WATCHDOG=1
	Restarts int           `json:"restarts"`               // since supervision began
	CPU      float64       `json:"cpu_seconds,omitempty"`  // processor time used by the process so far
	Memory   int64         `json:"memory_bytes,omitempty"` // resident set
	LastExit *ExitStatus   `json:"last_exit,omitempty"`
	Dropped  uint64        `json:"dropped_lines,omitempty"` // of output, because the log could not keep up
	Log      string        `json:"log,omitempty"`           // path of the log file
	Cgroup   *CgroupStatus `json:"cgroup,omitempty"`        // of a process that is to have one
	Said
}

// AsWanted reports whether the process is where it should be: up and ready when
// it is wanted up, at rest when not. A process that ended well is as wanted.
func (p ProcessStatus) AsWanted() bool {
	switch p.State {
	case StateCompleted:
		return true
	case StateFatal:
		return false
	case StateStopped:
		return !p.Wanted
	default:
		return p.Wanted && p.State == StateRunning
	}
}

// Said is what a process has said of itself with sd_notify.
type Said struct {
	StatusText string `json:"status_text,omitempty"` // STATUS=, for people
	MainPID    int    `json:"main_pid,omitempty"`    // MAINPID=
	Errno      int    `json:"errno,omitempty"`       // ERRNO=
	Reloading  bool   `json:"reloading,omitempty"`   // RELOADING=1, and no READY=1 since
	Ending     bool   `json:"ending,omitempty"`      // STOPPING=1
}

// Alive says what the liveness checks of a process have found.
type Alive struct {
	Passed   bool   `json:"passed"`            // one has passed since the process became ready
	Failures int    `json:"failures"`          // in a row, that count
	Problem  string `json:"problem,omitempty"` // what the last one found, if it failed
}

// ExitStatus says how a run of a process ended.
type ExitStatus struct {
	Code   int       `json:"code"` // as a shell has it: 128 + n for signal n
	Signal string    `json:"signal,omitempty"`
	Text   string    `json:"text"` // "143 Termination (request to terminate)"
	Time   time.Time `json:"time"`
}

// Node is a place in the tree: a group with children, or a process.
type Node struct {
	Name      string `json:"name"`
	Group     bool   `json:"group"`
	State     State  `json:"state"`               // of a group: that of its worst child
	Instances *int   `json:"instances,omitempty"` // how many, if the children are the instances of one process
	Children  []Node `json:"children,omitempty"`
}

// Action is what an operator asks for.
type Action string

// The actions.
const (
	ActionStart   Action = "start"
	ActionStop    Action = "stop"
	ActionRestart Action = "restart"
	ActionSignal  Action = "signal"
	ActionScale   Action = "scale" // asked for with a ScaleRequest
)

// Request asks for an action on the named processes and groups, or on all.
type Request struct {
	Action  Action   `json:"action"`
	Names   []string `json:"names,omitempty"`
	All     bool     `json:"all,omitempty"`
	Signal  string   `json:"signal,omitempty"`  // for ActionSignal
	NoWait  bool     `json:"no_wait,omitempty"` // answer when the wish is recorded, not when it has come true
	Rolling bool     `json:"rolling,omitempty"` // for ActionRestart: one after the other
}

// ScaleRequest asks for numbers of instances.
type ScaleRequest struct {
	Instances map[string]int `json:"instances"`         // by the name of the process
	NoWait    bool           `json:"no_wait,omitempty"` // answer when the wish is recorded, not when it has come true
}

// Result says what became of an action on one process.
type Result struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	PID   int    `json:"pid,omitempty"`
	OK    bool   `json:"ok"`
	Note  string `json:"note,omitempty"` // why not, or what else there is to know
}

// LogRequest asks for the output of processes.
type LogRequest struct {
	Names  []string `json:"names,omitempty"` // processes and groups; empty means all
	Lines  int      `json:"lines"`           // of the past, for each process; 0 means none
	Follow bool     `json:"follow,omitempty"`
}

// LogLine is one line of a process's output.
type LogLine struct {
	Time   time.Time `json:"time"`
	Name   string    `json:"name"`
	Stream string    `json:"stream"` // "stdout" or "stderr"
	Text   string    `json:"text"`
}
