package hook

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"procops/internal/event"
	"procops/internal/proc"
	"procops/internal/unit"
	"procops/internal/webhook"
)

// Rules are the sections [[hook]].
type Rules []Rule

// Rule is a section [[hook]]: what is done about some events. Exactly one action is set.
type Rule struct {
	Name  string               `toml:"name" doc:"what it is called in the log and in events; default: its number"`
	On    Patterns             `toml:"on" required:"true" doc:"types of events that it is about, such as \"supervise.process.exited\" or \"daemon.*\", or a list of them"`
	Where map[string]Condition `toml:"where" doc:"only events with these values: subject, source, or a field of the data, such as code or a.b for a field in a field; a text with * for any letters, a number, true or false, or a comparison such as \">= 3\" or \"!= 0\""`

	Exec    proc.Command    `toml:"exec" doc:"run this; the event is on its standard input as JSON, and in PROCOPS_EVENT_* variables"`
	Webhook *webhook.Config `toml:"webhook" doc:"post the event as a CloudEvent, to a URL or as the table says"`
	Task    string          `toml:"task" doc:"queue a task of this type; the event is its parameters"`
	Job     string          `toml:"job" doc:"submit a background job for this Gearman function; the event is its workload"`
	Beat    string          `toml:"beat" doc:"beat this heartbeat"`
	Fail    string          `toml:"fail" doc:"tell this heartbeat of a failure"`
	Start   string          `toml:"start" doc:"start this supervised process or group"`
	Stop    string          `toml:"stop" doc:"stop it"`
	Restart string          `toml:"restart" doc:"restart it"`
	Log     string          `toml:"log" doc:"write this to procops' log; {{type}}, {{subject}} and the fields of the data are filled in"`

	Timeout unit.Duration `toml:"timeout" min:"10ms" default:"1m" doc:"cut it off after this time"`
	Rate    Rate          `toml:"rate" default:"60/1m" doc:"how often it acts at most, such as 10/1h; what comes more often is dropped and counted"`
}

// Action names what a hook does.
type Action string

// The actions.
const (
	ActExec    Action = "exec"
	ActWebhook Action = "webhook"
	ActTask    Action = "task"
	ActJob     Action = "job"
	ActBeat    Action = "beat"
	ActFail    Action = "fail"
	ActStart   Action = "start"
	ActStop    Action = "stop"
	ActRestart Action = "restart"
	ActLog     Action = "log"
)

// Action returns what the hook does; empty if that is nothing, or more than one thing.
func (r Rule) Action() Action {
	var found []Action
	for _, a := range []struct {
		action Action
		set    bool
	}{
		{ActExec, len(r.Exec) > 0},
		{ActWebhook, r.Webhook != nil},
		{ActTask, r.Task != ""},
		{ActJob, r.Job != ""},
		{ActBeat, r.Beat != ""},
		{ActFail, r.Fail != ""},
		{ActStart, r.Start != ""},
		{ActStop, r.Stop != ""},
		{ActRestart, r.Restart != ""},
		{ActLog, r.Log != ""},
	} {
		if a.set {
			found = append(found, a.action)
		}
	}
	if len(found) != 1 {
		return ""
	}
	return found[0]
}

// own are events that the action causes in the same process: a hook that listens to one of
// them would cause it again and again. Whether it does is not known where more than the
// subject is a condition of a restart.
func (r *Rule) own() []string {
	switch r.Action() {
	case ActTask:
		return []string{"tasks.task.pushed"}
	case ActBeat, ActFail:
		return []string{"heartbeat.state_changed"}
	case ActRestart:
		subject, about := r.Where["subject"]
		if about && !subject.holds(r.Restart, false) || len(r.Where) > 1 || len(r.Where) == 1 && !about {
			return nil
		}
		return []string{
			"supervise.process.stopping", "supervise.process.exited", "supervise.process.stopped",
			"supervise.process.starting", "supervise.process.running",
		}
	default: // what is started or stopped already is left as it is
		return nil
	}
}

// Check reports what is wrong with the hooks.
func (r *Rules) Check(report func(err error, path ...string)) {
	names := map[string]int{}
	for i, rule := range *r {
		at := func(err error, path ...string) { report(err, append([]string{strconv.Itoa(i)}, path...)...) }
		if first, taken := names[rule.Name]; taken && rule.Name != "" {
			at(fmt.Errorf("hook %d has this name already", first+1), "name")
		}
		names[rule.Name] = i
		rule.check(at)
	}
}

func (r *Rule) check(report func(err error, path ...string)) {
	if r.Action() == "" {
		report(errors.New("want exactly one of exec, webhook, task, job, beat, fail, start, stop, restart and log"))
	}
	if own := r.heardOwn(); own != "" {
		report(fmt.Errorf("it would listen to what it causes itself (%s), without end; name the types of events more closely", own), "on")
	}
	if slices.ContainsFunc(r.On, func(p string) bool { return strings.HasPrefix(p, eventPrefix) }) {
		report(errors.New("there are no hooks on events of hooks"), "on")
	}
	if r.Webhook != nil {
		r.Webhook.Check(func(err error, path ...string) { report(err, append([]string{"webhook"}, path...)...) })
	}
}

// heardOwn returns one of its own events that the hook would hear; empty if there is none.
func (r *Rule) heardOwn() string {
	for _, own := range r.own() {
		if slices.ContainsFunc(r.On, func(p string) bool { return event.Match(p, own) }) {
			return own
		}
	}
	return ""
}

// Patterns are patterns of event types: a list, or a string for one.
type Patterns []string

// UnmarshalTOML reads a list of patterns or a pattern.
func (p *Patterns) UnmarshalTOML(v any) error {
	items, isList := v.([]any)
	if !isList {
		items = []any{v}
	}
	*p = Patterns{}
	for _, item := range items {
		text, ok := item.(string)
		if !ok || text == "" {
			return errors.New(`want a type of events such as "daemon.task_failed", a pattern such as "daemon.*", or a list of them`)
		}
		*p = append(*p, text)
	}
	if len(*p) == 0 {
		return errors.New("the list is empty")
	}
	return nil
}

// JSONTypes names what the JSON schema of a configuration admits.
func (p Patterns) JSONTypes() []string { return []string{"string", "array"} }

// Rate is how often something may happen: Count times in Per.
type Rate struct {
	Count int
	Per   time.Duration
}

// UnmarshalText reads a rate such as "10/1h".
func (r *Rate) UnmarshalText(text []byte) error {
	count, per, ok := strings.Cut(string(text), "/")
	n, err := strconv.Atoi(strings.TrimSpace(count))
	if !ok || err != nil || n < 1 {
		return fmt.Errorf("%q is no rate such as \"10/1h\" or \"1/30s\"", text)
	}
	d, err := unit.ParseDuration(strings.TrimSpace(per))
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is no rate such as \"10/1h\": %q is no time", text, per)
	}
	r.Count, r.Per = n, d
	return nil
}

// MarshalText returns the rate as it is written.
func (r Rate) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%d/%s", r.Count, unit.Duration(r.Per)), nil
}
