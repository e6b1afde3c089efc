package tasks

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"procops/internal/fault"
	"procops/internal/launch"
	"procops/internal/name"
	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/unit"
)

// Config is the section [tasks].
type Config struct {
	Broker          map[string]BrokerConfig `toml:"broker" doc:"a broker: where tasks are queued; without any there is \"sqlite\", in the state directory"`
	Selection       Selection               `toml:"selection" enum:"weighted,strict" default:"weighted" doc:"from which broker the next task comes, of those that have any: weighted (from each; the nth most important one has the weight 1/n) or strict (from the most important one)"`
	Workers         int                     `toml:"workers" default:"4" min:"1" max:"10000" doc:"how many tasks one worker process runs at once"`
	EmptyQueueSleep unit.Duration           `toml:"empty_queue_sleep" default:"0.5s" doc:"how long an idle worker waits before it looks for tasks again; a broker that can wakes it before that; 0: as short as can be"`
	BusySleep       unit.Duration           `toml:"busy_sleep" default:"0.2s" doc:"the same for a worker that runs some tasks and may run more; the end of a task wakes it as well; 0: as short as can be"`
	TimeLimit       unit.Duration           `toml:"time_limit" default:"10m" doc:"how long a task may run whose type has no time_limit of its own; 0: no limit"`
	MaxAttempts     int                     `toml:"max_attempts" default:"3" min:"1" doc:"how often a task may fail before it is given up; a worker that dies does not count"`
	MaxCrashes      int                     `toml:"max_crashes" default:"3" min:"1" doc:"how many workers may die while they run a task before it is given up"`
	Retry           Retry                   `toml:"retry" doc:"time between a failure and the next attempt: a table, a policy (exponential or fixed) or a list of durations"`
	Lease           unit.Duration           `toml:"lease" default:"30s" min:"1s" doc:"a task whose worker has died comes back after this; a living worker extends it all the time"`
	StopGrace       unit.Duration           `toml:"stop_grace" default:"30s" doc:"how long a worker that is to stop lets its tasks run on before it ends them and gives them back"`
	Keep            unit.Duration           `toml:"keep" default:"30d" doc:"done tasks are forgotten after this; 0: never"`
	Unknown         Unknown                 `toml:"unknown_types" default:"refuse" doc:"what becomes of a push of a type that is not declared, where any is: refuse or accept"`
	Meta            map[string]MetaConfig   `toml:"meta" doc:"a meta store: a further place where what becomes of tasks is written, for programs that look there, such as those that use leptir"`
	ErrorReport     []ErrorReport           `toml:"error_report" doc:"who is told of tasks that fail"`
	Types           map[string]Type         `toml:"type" doc:"a type of task: what runs it, and what parameters it has"`
}

// Type is a section [tasks.type.NAME].
type Type struct {
	launch.Settings
	Hooks

	Class       string           `toml:"class" doc:"the PHP class that stands for this type where leptir's formats are read or written, such as App\\Mail\\Send; default: the name of the type with backslashes for dots"`
	Command     proc.Command     `toml:"command" doc:"what runs a task: parameters as a JSON object on standard input, PROCOPS_TASK_* in the environment; without it tasks of this type are only pushed here and run elsewhere"`
	Mode        runner.Mode      `toml:"mode" enum:"command,coprocess" default:"command" doc:"command: each task is a fresh process; coprocess: long-lived processes do one task after the other and speak JSON lines"`
	Coprocess   runner.Config    `toml:"coprocess" doc:"how the co-processes are kept; a worker process has its own, and runs at most so many tasks of this type at once as there may be of them"`
	Stop        launch.Stop      `toml:"stop" doc:"how to stop a task"`
	TimeLimit   *unit.Duration   `toml:"time_limit" doc:"how long a task may run; default: time_limit of [tasks]"`
	MaxAttempts int              `toml:"max_attempts" min:"1" doc:"how often a task may fail before it is given up; default: one more than retry has delays here, otherwise max_attempts of [tasks]"`
	Retry       *Retry           `toml:"retry" doc:"time between a failure and the next attempt: a table, a policy or a list of durations; default: retry of [tasks]"`
	Params      map[string]Param `toml:"params" doc:"a parameter, or its type alone; a type that declares none takes any"`
}

// Unknown says what becomes of a push of a type that is not declared.
type Unknown string

// The two ways.
const (
	Refuse Unknown = "refuse" // it is probably a mistake; where no type is declared at all, every type is accepted
	Accept Unknown = "accept" // somebody else knows it
)

// UnmarshalText reads "refuse" or "accept".
func (u *Unknown) UnmarshalText(text []byte) error {
	read := Unknown(text)
	if read != Refuse && read != Accept {
		return fmt.Errorf("invalid value %q: want %q or %q", text, Refuse, Accept)
	}
	*u = read
	return nil
}

// Check reports what is wrong with the section; path is relative to it.
func (c Config) Check(report func(err error, path ...string)) {
	c.Retry.check(func(err error, path ...string) { report(err, append([]string{"retry"}, path...)...) })
	for i := range c.ErrorReport {
		c.ErrorReport[i].check(func(err error, path ...string) {
			report(err, append([]string{"error_report", strconv.Itoa(i)}, path...)...)
		})
	}
	c.checkBrokers(report)
	c.checkClasses(report)
	for _, name := range slices.Sorted(maps.Keys(c.Meta)) {
		c.Meta[name].check(name, report)
	}
	for _, typ := range slices.Sorted(maps.Keys(c.Types)) {
		t := c.Types[typ]
		for _, param := range slices.Sorted(maps.Keys(t.Params)) {
			if err := t.Params[param].check(); err != nil {
				report(err, "type", typ, "params", param, "default")
			}
		}
		if key := t.KeySet(); len(t.Command) == 0 && key != "" {
			report(errors.New("it means nothing without a command"), "type", typ, key)
		}
		if len(t.Command) == 0 && len(t.Before) > 0 {
			report(errors.New("it means nothing without a command"), "type", typ, "before")
		}
		if len(t.Command) == 0 && len(t.After) > 0 {
			report(errors.New("it means nothing without a command"), "type", typ, "after")
		}
		t.Coprocess.Check(func(err error, path ...string) {
			report(err, append([]string{"type", typ, "coprocess"}, path...)...)
		})
		if t.Retry != nil {
			t.Retry.check(func(err error, path ...string) {
				report(err, append([]string{"type", typ, "retry"}, path...)...)
			})
		}
	}
}

// find returns a type; the zero Type where any is accepted.
func (c Config) find(typ string) (Type, error) {
	if err := name.Check(typ); err != nil {
		return Type{}, fault.Wrap(fault.Usage, err, "invalid type of a task")
	}
	t, known := c.Types[typ]
	if known || len(c.Types) == 0 || c.Unknown == Accept {
		return t, nil
	}
	near := name.DidYouMean(typ, slices.Sorted(maps.Keys(c.Types)))
	return Type{}, fault.New(fault.NotFound, "the configuration has no type of task %q%s", typ, near).
		WithHint("add a section [tasks.type.%q], or set unknown_types = \"accept\" in [tasks] if it is run elsewhere", typ)
}

// ErrNoType says that a worker has nothing to do.
var ErrNoType = errors.New("the configuration has no type of task with a command")

// Runnable returns the types that can be run here, in order.
func (c Config) Runnable() []string {
	var types []string
	for _, typ := range slices.Sorted(maps.Keys(c.Types)) {
		if len(c.Types[typ].Command) > 0 {
			types = append(types, typ)
		}
	}
	return types
}

// timeLimit returns how long a task of type t may run, 0 if there is no limit;
// own is the task's, 0 if it has none.
func (c Config) timeLimit(t Type, own time.Duration) time.Duration {
	switch {
	case own > 0:
		return own
	case t.TimeLimit != nil:
		return t.TimeLimit.Std()
	default:
		return c.TimeLimit.Std()
	}
}
