package supervise

import (
	"encoding/json"
	"errors"
	"time"

	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/unit"
	"procops/internal/webhook"
)

// Config is the section [supervise].
type Config struct {
	Children []string                 `toml:"children" doc:"names at the top of the tree; default: every process and group that no group has as a child"`
	ExitWith string                   `toml:"exit_with" doc:"a process: when it has ended for good everything is stopped, and procops exits with its exit code; signals such as USR1 go to it"`
	LogDir   string                   `toml:"log_dir" path:"true" doc:"directory of the processes' log files; default: logs/ in the state directory"`
	Process  map[string]ProcessConfig `toml:"process" doc:"the processes, by name"`
	Group    map[string]GroupConfig   `toml:"group" doc:"the groups, by name; groups and processes share their names"`

	Hosted map[string]Hosted // services that lists of children may name, such as "daemon.report"; they are in the tree only then
}

// ProcessConfig is a section [supervise.process.NAME].
type ProcessConfig struct {
	launch.Settings

	Command      proc.Command       `toml:"command" doc:"what to run: a list of program and arguments, or a string for /bin/sh -c" required:"true"`
	Instances    *int               `toml:"instances" min:"0" max:"1000" doc:"run this many of it, as NAME-1, NAME-2 and so on below a group NAME; {{instance}} (from 1), {{index}} (from 0), either with +N or -N, and {{name}} are filled in in all texts of this section; default: one, that is called NAME"`
	Stdin        string             `toml:"stdin" path:"true" doc:"file that is its standard input, relative to the config file; a named pipe is kept open; default: /dev/null"`
	Adopt        bool               `toml:"adopt" default:"false" doc:"it goes on when procops is killed, and the next run takes it back; otherwise it ends with procops"`
	Autostart    bool               `toml:"autostart" default:"true" doc:"start it with the tree; otherwise it waits for a start command"`
	Restart      Restart            `toml:"restart" enum:"never,on-failure,always" default:"never" doc:"never, on-failure or always"`
	SuccessCodes []int              `toml:"success_codes" min:"0" max:"255" default:"0" doc:"exit codes that count as a good end"`
	Backoff      launch.Backoff     `toml:"backoff" doc:"how long to wait before a restart"`
	MaxRestarts  int                `toml:"max_restarts" default:"0" min:"0" doc:"restarts in a row before the process is given up (fatal); 0: no limit"`
	HealthyAfter unit.Duration      `toml:"healthy_after" default:"10s" doc:"running this long resets the backoff and the count of restarts"`
	DependsOn    []DependencyConfig `toml:"depends_on" doc:"what must have got how far before this starts: names, or {name, condition}"`
	Ready        ReadyConfig        `toml:"ready" doc:"how to tell that the process is ready; default: when it runs"`
	Alive        *AliveConfig       `toml:"alive" doc:"how to tell that the process still works; without it, running is enough"`
	Watchdog     unit.Duration      `toml:"watchdog" min:"10ms" doc:"the longest time between two WATCHDOG=1 that the process says on NOTIFY_SOCKET, as under systemd; after it the process is stopped, which counts as a failure. It counts from READY=1 with ready.notify, otherwise from the start; default: nothing is expected"`
	WatchSignal  proc.Signal        `toml:"watchdog_signal" doc:"first signal when the watchdog ends it, such as \"ABRT\" for a core dump; default: what stop says"`
	Stop         StopConfig         `toml:"stop" doc:"how to stop it"`
	OnFail       []LinkConfig       `toml:"on_fail" doc:"chain of reactions to a failure, tried in order"`
	OnPass       []LinkConfig       `toml:"on_pass" doc:"chain of reactions to a good end"`
	Output       OutputConfig       `toml:"output" doc:"where its output goes"`
	Session      bool               `toml:"session" default:"false" doc:"give it a session of its own (setsid) instead of a process group only"`
	Cgroup       *CgroupConfig      `toml:"cgroup" doc:"a cgroup (v2) of its own: limits of all its processes together, and a stop that nothing in it escapes. What this machine does not offer is replaced by resource limits, with a warning"`

	which  instance // of an expanded config
	hosted hosted   // likewise
}

// GroupConfig is a section [supervise.group.NAME].
type GroupConfig struct {
	Children    []string       `toml:"children" doc:"processes and groups in this group, in order of start" required:"true"`
	Strategy    Strategy       `toml:"strategy" enum:"one_for_one,one_for_all,rest_for_one" default:"one_for_one" doc:"which children are restarted when one is: only that one, all, or that one and those after it"`
	MaxRestarts int            `toml:"max_restarts" default:"0" min:"0" doc:"more restarts of children than this within the time within, and the group has failed; 0: no limit"`
	Within      unit.Duration  `toml:"within" default:"1m" doc:"the time for max_restarts"`
	Restart     Restart        `toml:"restart" enum:"never,on-failure,always" default:"never" doc:"never: a failure of the group goes to the group above; otherwise that one restarts it by its strategy"`
	Backoff     launch.Backoff `toml:"backoff" doc:"how long to wait before the group is restarted"`
	OnFail      []LinkConfig   `toml:"on_fail" doc:"chain of reactions to a failure that a child's own chain did not settle; retry restarts all children"`
	OnPass      []LinkConfig   `toml:"on_pass" doc:"chain of reactions when all children have ended well"`

	instances bool // of an expanded config: the children are the instances of a process
}

// Strategy says which children of a group are restarted when one of them is.
// The strategies are those of Erlang/OTP's supervisors.
type Strategy string

// The strategies.
const (
	OneForOne  Strategy = "one_for_one"  // only that child
	OneForAll  Strategy = "one_for_all"  // all children
	RestForOne Strategy = "rest_for_one" // that child and those after it
)

// Restart says when a process that has ended is started again.
type Restart string

// The restart policies.
const (
	RestartNever     Restart = "never"
	RestartOnFailure Restart = "on-failure"
	RestartAlways    Restart = "always"
)

// afterFailure reports whether a failure is followed by a restart.
func (r Restart) afterFailure() bool { return r == RestartOnFailure || r == RestartAlways }

// Condition says how far a dependency must have got.
type Condition string

// The conditions.
const (
	ConditionStarted   Condition = "started"   // it runs
	ConditionReady     Condition = "ready"     // it runs and has become ready
	ConditionHealthy   Condition = "healthy"   // it is ready, and its liveness check, if it has one, has passed
	ConditionCompleted Condition = "completed" // it has ended well
)

// DependencyConfig is one entry of depends_on: a name, or a table.
type DependencyConfig struct {
	Name      string    `toml:"name" doc:"a process or group" required:"true"`
	Condition Condition `toml:"condition" enum:"started,ready,healthy,completed" default:"ready" doc:"started, ready, healthy (ready, and its liveness check has passed once) or completed"`
}

// ReadyConfig says how to tell that a process is ready: at most one of TCP, HTTP
// and Exec, by which procops asks, and Log, Notify and FD, by which the process
// says it.
type ReadyConfig struct {
	TCP        string        `toml:"tcp" doc:"host:port that accepts a connection once the process is ready"`
	HTTP       string        `toml:"http" doc:"URL that answers once the process is ready; redirects to other hosts are not followed"`
	Status     []int         `toml:"status" min:"100" max:"599" doc:"status codes of http that count; default: 200 to 299"`
	Exec       proc.Command  `toml:"exec" doc:"command that exits with 0 once the process is ready; it runs as the process's user, in its directory and with its environment"`
	Log        string        `toml:"log" doc:"regular expression that a line of output matches once the process is ready"`
	Notify     bool          `toml:"notify" default:"false" doc:"the process says READY=1 on NOTIFY_SOCKET, as under systemd (sd_notify)"`
	FD         int           `toml:"fd" min:"3" max:"1023" doc:"the process writes a newline to this descriptor, as under s6"`
	Interval   unit.Duration `toml:"interval" min:"1ms" default:"100ms" doc:"time between two attempts of tcp, http and exec"`
	TryTimeout unit.Duration `toml:"try_timeout" min:"1ms" default:"5s" doc:"time for one attempt of tcp, http and exec"`
	Timeout    unit.Duration `toml:"timeout" default:"1m" doc:"not ready after this long is a failure; 0: wait for ever"`
}

// AliveConfig is a section [supervise.process.NAME.alive]: a check that is made
// again and again once the process is ready. Exactly one of TCP, HTTP and Exec
// is set.
type AliveConfig struct {
	TCP         string        `toml:"tcp" doc:"host:port that accepts a connection"`
	HTTP        string        `toml:"http" doc:"URL that answers; redirects to other hosts are not followed"`
	Status      []int         `toml:"status" min:"100" max:"599" doc:"status codes of http that count; default: 200 to 299"`
	Exec        proc.Command  `toml:"exec" doc:"command that exits with 0; it runs as the process's user, in its directory and with its environment"`
	Interval    unit.Duration `toml:"interval" min:"10ms" default:"10s" doc:"time between two checks"`
	Timeout     unit.Duration `toml:"timeout" min:"1ms" default:"5s" doc:"time for one check"`
	Failures    int           `toml:"failures" min:"1" default:"3" doc:"failed checks in a row after which the process is stopped, which counts as a failure"`
	StartPeriod unit.Duration `toml:"start_period" default:"0" doc:"checks that fail this early after the process has become ready do not count, unless one has passed"`
}

// StopConfig is the stop ladder: Signal, then after Grace the next of Then, and
// SIGKILL after the last. Each goes to the whole process group.
type StopConfig struct {
	Command proc.Command  `toml:"command" doc:"run this instead of sending the first signal; {{pid}} is the process"`
	Signal  proc.Signal   `toml:"signal" default:"TERM" doc:"first signal"`
	Grace   unit.Duration `toml:"grace" default:"10s" doc:"time to end after each signal"`
	Then    []proc.Signal `toml:"then" doc:"further signals before KILL"`
}

// LinkConfig is one link of a chain. Exactly one of all but Settle is set, or
// Settle alone.
type LinkConfig struct {
	Retry   int             `toml:"retry" min:"1" doc:"restart, at most this many times; then the next link takes over"`
	Exec    proc.Command    `toml:"exec" doc:"run this; the failure is on its standard input as JSON and in PROCOPS_* variables; then the next link takes over"`
	Webhook *webhook.Config `toml:"webhook" doc:"post the failure as a CloudEvent, to a URL or as the table says; then the next link takes over"`
	Task    *TaskLink       `toml:"task" doc:"queue a task: its type, or a table; then the next link takes over"`
	Job     *JobLink        `toml:"job" doc:"submit a background job to a Gearman server: its function, or a table; then the next link takes over"`
	Start   Names           `toml:"start" doc:"start these processes and groups; the next link takes over at once"`
	Stop    Names           `toml:"stop" doc:"stop these processes and groups; the next link takes over at once"`
	Restart Names           `toml:"restart" doc:"restart these processes and groups; the next link takes over at once"`
	Log     string          `toml:"log" doc:"write this to procops' log; {{name}}, {{exit_code}} and {{exit_text}} are filled in; then the next link takes over"`
	Raise   bool            `toml:"raise" doc:"hand the failure to the parent at once"`
	Settle  bool            `toml:"settle" doc:"the chain ends here and the parent does not hear of the failure"`
}

// Names are processes and groups: a list, or a string for one.
type Names []string

// UnmarshalTOML reads a list of names or a name.
func (n *Names) UnmarshalTOML(v any) error {
	*n = Names{} // there is a link, whatever is wrong with it
	items, isList := v.([]any)
	if !isList {
		items = []any{v}
	}
	if len(items) == 0 {
		return errors.New("the list is empty")
	}
	for _, item := range items {
		text, ok := item.(string)
		if !ok || text == "" {
			return errors.New("want a name or a list of names")
		}
		*n = append(*n, text)
	}
	return nil
}

// TaskLink is a task that a link queues. In a config file it is a table, or a
// string that is only the type.
type TaskLink struct {
	Type     string        `toml:"type" doc:"type of the task, such as \"mail.send\"" required:"true"`
	Params   Params        `toml:"params" doc:"its parameters, with {{name}}, {{pid}}, {{exit_code}} and {{exit_text}} filled in; default: the failure"`
	Priority int           `toml:"priority" default:"0" doc:"its priority; the lower, the sooner"`
	Delay    unit.Duration `toml:"delay" doc:"not before this time has passed"`
}

// UnmarshalString reads a task that is only a type.
func (t *TaskLink) UnmarshalString(text string) error {
	t.Type = text
	return filled(text)
}

// Params is a table of whatever JSON can say.
type Params map[string]any

// UnmarshalTOML reads a table.
func (p *Params) UnmarshalTOML(v any) error {
	table, ok := v.(map[string]any)
	if !ok {
		return errors.New("want a table")
	}
	if _, err := json.Marshal(table); err != nil {
		return errors.New("nan and inf have no place in JSON")
	}
	*p = table
	return nil
}

// JobLink is a job that a link submits. In a config file it is a table, or a
// string that is only the function.
type JobLink struct {
	Function string   `toml:"function" doc:"function that the job is for" required:"true"`
	Servers  []string `toml:"servers" doc:"job servers, host:port; the first that takes the job gets it; default: those of [worker]"`
	Workload string   `toml:"workload" doc:"what the job gets, with {{name}}, {{pid}}, {{exit_code}} and {{exit_text}} filled in; default: the failure as JSON"`
	Unique   string   `toml:"unique" doc:"while a job of the same function and key waits or runs, no other is made; filled in like workload; default: a key of its own"`
	Priority Priority `toml:"priority" enum:"low,normal,high" default:"normal" doc:"low, normal or high"`
}

// UnmarshalString reads a job that is only a function.
func (j *JobLink) UnmarshalString(text string) error {
	j.Function = text
	return filled(text)
}

func filled(text string) error {
	if text == "" {
		return errors.New("it is empty")
	}
	return nil
}

// Priority is that of a Gearman job.
type Priority string

// The priorities.
const (
	PriorityLow    Priority = "low"
	PriorityNormal Priority = "normal"
	PriorityHigh   Priority = "high"
)

// OutputConfig says where the output of a process goes.
type OutputConfig struct {
	File     string        `toml:"file" doc:"log file; default: NAME.log in log_dir; \"none\": no file"`
	Format   string        `toml:"format" enum:"text,json" default:"text" doc:"text (time, stream, line) or json"`
	Overflow Overflow      `toml:"overflow" enum:"drop,block" default:"drop" doc:"when the process writes faster than the disk: drop lines and count them, or hold the process up"`
	MaxSize  unit.Size     `toml:"max_size" default:"10M" doc:"the file is rotated at this size"`
	MaxFiles int           `toml:"max_files" min:"0" default:"5" doc:"rotated files that are kept"`
	MaxAge   unit.Duration `toml:"max_age" default:"0" doc:"rotated files older than this are removed; 0: keep"`
	Compress bool          `toml:"compress" default:"false" doc:"compress rotated files"`
}

// Overflow says what happens to output that comes faster than the disk takes it.
type Overflow string

// The policies.
const (
	OverflowDrop  Overflow = "drop"  // it is dropped and counted
	OverflowBlock Overflow = "block" // the process is held up, as long as the disk takes anything
)

// patience returns for how long the process is held up at most while the log
// takes nothing.
func (o Overflow) patience() time.Duration {
	if o == OverflowBlock {
		return 10 * time.Second
	}
	return 100 * time.Millisecond // to get over a hiccup
}

// CgroupConfig is a section [supervise.process.NAME.cgroup]; 0 or absent is no
// limit.
type CgroupConfig struct {
	Memory     unit.Size `toml:"memory" doc:"memory of all together (memory.max): where that is not enough the kernel kills one of them; otherwise RLIMIT_DATA of each"`
	MemoryHigh unit.Size `toml:"memory_high" doc:"memory beyond which they are slowed down and their memory is reclaimed (memory.high)"`
	CPU        float64   `toml:"cpu" min:"0.01" max:"8192" doc:"processor time of all together, in CPUs: 0.5 is half of one (cpu.max)"`
	CPUWeight  int       `toml:"cpu_weight" min:"1" max:"10000" doc:"share of the CPUs where they are short; others have 100 (cpu.weight)"`
	Pids       int       `toml:"pids" min:"1" doc:"processes and threads of all together (pids.max); otherwise RLIMIT_NPROC"`
}

// UnmarshalString reads an entry of depends_on that is only a name.
func (d *DependencyConfig) UnmarshalString(text string) error {
	if text == "" {
		return errors.New("it is empty")
	}
	d.Name = text
	return nil
}
