package daemon

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"procops/internal/cron"
	"procops/internal/fault"
	"procops/internal/launch"
	"procops/internal/name"
	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/unit"
)

// Config is the section [daemon].
type Config struct {
	Context   string             `toml:"context" default:"production" doc:"where this runs, such as production or staging: part of the names of pidfiles and logs, so that two contexts of a daemon run side by side"`
	RunDir    string             `toml:"run_dir" path:"true" doc:"directory of the pidfiles NAME-CONTEXT[-INSTANCE].pid; default: run/ in the state directory"`
	LogDir    string             `toml:"log_dir" path:"true" doc:"directory of the logs NAME-CONTEXT.log, which the instances of a daemon share; default: logs/ in the state directory"`
	CommonLog string             `toml:"common_log" path:"true" doc:"file in which all daemons note their starts, stops and failed turns; default: none"`
	Rotation  RotationConfig     `toml:"rotation" doc:"when the logs are put aside"`
	Daemons   map[string]Section `toml:"*" doc:"the daemons, by name"`
}

// RotationConfig says when a log is put aside and what is kept.
type RotationConfig struct {
	MaxSize  unit.Size     `toml:"max_size" default:"10M" doc:"a log is rotated at this size; 0: never"`
	MaxFiles int           `toml:"max_files" min:"0" default:"5" doc:"rotated files that are kept"`
	MaxAge   unit.Duration `toml:"max_age" default:"0" doc:"rotated files older than this are removed; 0: keep"`
	Compress bool          `toml:"compress" default:"false" doc:"compress rotated files"`
}

// Section is a section [daemon.NAME].
type Section struct {
	launch.Settings

	Command         proc.Command     `toml:"command" doc:"what a turn runs: a list of program and arguments, or a string for /bin/sh -c; {{name}}, {{context}}, {{instance}} (from 1) and {{instances}} are filled in, here, in env and in paths" required:"true"`
	Mode            runner.Mode      `toml:"mode" enum:"command,coprocess" default:"command" doc:"command: each turn is a fresh process; coprocess: one long-lived process does all turns and speaks JSON lines"`
	Coprocess       runner.Config    `toml:"coprocess" doc:"how the co-process is kept; size is 1"`
	Sleep           *unit.Duration   `toml:"sleep" doc:"time from the start of a turn to the start of the next; 0: the next follows after min_sleep; default: 1s, without a schedule"`
	MinSleep        unit.Duration    `toml:"min_sleep" default:"0" doc:"least time between the end of a turn and the start of the next, however long the turn took"`
	Schedule        *cron.Expression `toml:"schedule" doc:"cron expression: turns start at those times, instead of sleep"`
	Timezone        string           `toml:"timezone" doc:"time zone of schedule, such as Europe/Berlin; default: that of the machine"`
	Jitter          unit.Duration    `toml:"jitter" default:"0" doc:"each turn starts up to this much later, by chance"`
	CatchUp         CatchUp          `toml:"catch_up" enum:"none,one" default:"none" doc:"after downtime in which the schedule had turns: none of them, or one at once"`
	Timeout         unit.Duration    `toml:"timeout" default:"0" doc:"a turn that takes longer is stopped, which is a failure; 0: no limit"`
	Instances       int              `toml:"instances" min:"1" max:"1000" default:"1" doc:"how many of it run side by side"`
	Context         string           `toml:"context" doc:"context of this daemon; default: context of [daemon]"`
	MemoryLimit     unit.Size        `toml:"memory_limit" default:"0" doc:"memory (RLIMIT_DATA) that each process of a turn may have; 0: no limit"`
	MemoryThreshold float64          `toml:"memory_threshold" min:"1" max:"100" default:"70" doc:"percentage of memory_limit: a turn that has used more ends the daemon in good order, so that its supervisor starts it afresh"`
	OnMemory        OnMemory         `toml:"on_memory" enum:"stop,recycle" default:"stop" doc:"what a turn that has used more than memory_threshold means: the end of the daemon, or in the mode coprocess a fresh co-process (recycle)"`
	Watchdog        unit.Duration    `toml:"watchdog" min:"10ms" doc:"the longest time between two WATCHDOG=1 that a turn says on NOTIFY_SOCKET, as under systemd, counted from its start; after it the turn is stopped, which is a failure; default: nothing is expected"`
	StopCode        int              `toml:"stop_code" min:"1" max:"255" default:"100" doc:"a turn that exits with this code ends the daemon in good order"`
	OnFailure       OnFailure        `toml:"on_failure" enum:"continue,stop" default:"continue" doc:"what becomes of the daemon when a turn has failed"`
	MaxFailures     int              `toml:"max_failures" min:"0" default:"0" doc:"failures in a row after which the daemon gives up; 0: it never does"`
	Backoff         launch.Backoff   `toml:"backoff" doc:"least time to the next turn after failures in a row"`
	Stop            launch.Stop      `toml:"stop" doc:"how to stop a turn"`
	OnUSR1          proc.Command     `toml:"on_usr1" doc:"command that signal USR1 runs; default: the next turn starts now"`
	OnUSR2          proc.Command     `toml:"on_usr2" doc:"command that signal USR2 runs; default: nothing"`
	Heartbeat       Heartbeat        `toml:"heartbeat" default:"false" doc:"true, or the name of a heartbeat: each good turn beats it, each bad one is its failure; with true it is called as the daemon is"`
	HistoryKeep     int              `toml:"history_keep" min:"0" default:"1000" doc:"how many turns the history keeps for each instance"`
}

// CatchUp says what becomes of the turns that a schedule had during downtime.
type CatchUp string

// The two ways.
const (
	CatchUpNone CatchUp = "none"
	CatchUpOne  CatchUp = "one"
)

// OnMemory says what becomes of a turn that has used too much memory.
type OnMemory string

// The two ways.
const (
	MemoryStop    OnMemory = "stop"    // the daemon ends in good order
	MemoryRecycle OnMemory = "recycle" // the co-process is replaced
)

// threshold returns the memory in bytes that a turn may have used before another; 0: no
// limit.
func (s Section) threshold() unit.Size {
	return unit.Size(float64(s.MemoryLimit.Bytes()) * s.MemoryThreshold / 100)
}

// OnFailure says what a failed turn means for its daemon.
type OnFailure string

// The two ways.
const (
	FailureContinue OnFailure = "continue"
	FailureStop     OnFailure = "stop"
)

// Heartbeat is the name of the heartbeat that a daemon beats; empty: none. Own stands
// for that of the daemon itself.
type Heartbeat string

// Own is the heartbeat that is called as its daemon.
const Own Heartbeat = "true"

// UnmarshalTOML reads true, false or a name.
func (h *Heartbeat) UnmarshalTOML(v any) error {
	switch value := v.(type) {
	case bool:
		*h = ""
		if value {
			*h = Own
		}
		return nil
	case string:
		return h.UnmarshalText([]byte(value))
	default:
		return errors.New("want true, false or the name of a heartbeat")
	}
}

// UnmarshalText reads the same from a text.
func (h *Heartbeat) UnmarshalText(text []byte) error {
	switch Heartbeat(text) {
	case "false":
		*h = ""
		return nil
	case Own:
		*h = Own
		return nil
	}
	*h = Heartbeat(text)
	return name.Check(string(text))
}

// MarshalText writes what UnmarshalText reads.
func (h Heartbeat) MarshalText() ([]byte, error) {
	if h == "" {
		return []byte("false"), nil
	}
	return []byte(h), nil
}

// JSONTypes names what the JSON schema of a configuration admits.
func (h Heartbeat) JSONTypes() []string { return []string{"boolean", "string"} }

// Check reports what is wrong with the section; path is relative to it.
func (c Config) Check(report func(err error, path ...string)) {
	checkContext(c.Context, report, "context")
	for _, daemon := range slices.Sorted(maps.Keys(c.Daemons)) {
		if err := name.Check(daemon); err != nil {
			report(err, daemon)
		}
		s := c.Daemons[daemon]
		s.check(func(err error, path ...string) { report(err, append([]string{daemon}, path...)...) })
	}
}

func (s Section) check(report func(err error, path ...string)) {
	checkContext(s.Context, report, "context")
	if err := s.Backoff.Check(); err != nil {
		report(err, "backoff", "initial")
	}
	s.Coprocess.Check(func(err error, path ...string) { report(err, append([]string{"coprocess"}, path...)...) })
	if s.OnMemory == MemoryRecycle && s.Mode != runner.ModeCoprocess {
		report(errors.New("only in the mode coprocess there is something to recycle"), "on_memory")
	}
	if s.Schedule != nil && s.Sleep != nil {
		report(errors.New("there is a schedule: leave one of the two out"), "sleep")
	}
	if s.Schedule == nil && s.CatchUp == CatchUpOne {
		report(errors.New("it means nothing without a schedule"), "catch_up")
	}
	if s.Schedule == nil && s.Timezone != "" {
		report(errors.New("it means nothing without a schedule"), "timezone")
	}
	if _, err := time.LoadLocation(s.Timezone); err != nil {
		report(fmt.Errorf("invalid time zone %q: want a name such as Europe/Berlin", s.Timezone), "timezone")
	}
}

// With returns the config with another section in the place of one. The error is what
// Check finds wrong with it.
func (c Config) With(daemon string, s Section) (Config, error) {
	c.Daemons = maps.Clone(c.Daemons)
	c.Daemons[daemon] = s
	var errs []error
	s.check(func(err error, path ...string) {
		errs = append(errs, fault.Wrap(fault.Usage, err, "%s of daemon %q", strings.Join(path, "."), daemon))
	})
	return c, errors.Join(errs...)
}

// defaultSleep is that of a daemon that has neither sleep nor a schedule.
const defaultSleep = time.Second

func (s Section) sleep() time.Duration {
	if s.Sleep == nil {
		return defaultSleep
	}
	return s.Sleep.Std()
}

// checkContext refuses what cannot be part of the name of a file.
func checkContext(context string, report func(err error, path ...string), path ...string) {
	if context == "" {
		return
	}
	if err := name.Check(context); err != nil {
		report(err, path...)
	}
}

// context returns the context in which a daemon runs.
func (c Config) contextOf(s Section) string {
	if s.Context != "" {
		return s.Context
	}
	return c.Context
}

// program is what a turn runs, with its place filled in.
func (s Section) program(id ID, instances int) launch.Program {
	fill := id.filler(instances)
	p := launch.Program{Command: make(proc.Command, len(s.Command)), Settings: s.Settings}
	p.Dir, p.Env, p.EnvFile = fill.Replace(s.Dir), make(map[string]string, len(s.Env)), make(launch.Files, len(s.EnvFile))
	for i, word := range s.Command {
		p.Command[i] = fill.Replace(word)
	}
	for key, value := range s.Env {
		p.Env[key] = fill.Replace(value)
	}
	for i, path := range s.EnvFile {
		p.EnvFile[i] = fill.Replace(path)
	}
	return p
}

// ID says which daemon one is: an instance of a section in a context.
type ID struct {
	Name     string `json:"name"`
	Context  string `json:"context"`
	Instance int    `json:"instance,omitempty"` // from 1; 0: the only one
}

// String returns the name of its pidfile, without the ending.
func (id ID) String() string {
	if id.Instance == 0 {
		return id.Name + "-" + id.Context
	}
	return fmt.Sprintf("%s-%s-%d", id.Name, id.Context, id.Instance)
}

// Number returns the instance as commands see it, from 1.
func (id ID) Number() int { return max(1, id.Instance) }

// filler puts the daemon's place into texts.
func (id ID) filler(instances int) *strings.Replacer {
	return strings.NewReplacer(
		"{{name}}", id.Name, "{{context}}", id.Context,
		"{{instance}}", fmt.Sprint(id.Number()), "{{instances}}", fmt.Sprint(instances),
	)
}

// PidfilePath returns the path of a daemon's pidfile.
func (c Config) PidfilePath(id ID, stateDir string) string {
	dir := c.RunDir
	if dir == "" {
		dir = filepath.Join(stateDir, "run")
	}
	return filepath.Join(dir, id.String()+".pid")
}
