package heartbeat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/unit"
	"procops/internal/webhook"
)

// Reaction is what is done about an alert. Exactly one of all but Timeout is set.
type Reaction struct {
	Exec    proc.Command    `toml:"exec" doc:"run this; the alert is on its standard input as JSON and in PROCOPS_* variables"`
	Webhook *webhook.Config `toml:"webhook" doc:"post the alert as a CloudEvent, to a URL or as the table says"`
	Signal  *proc.Signal    `toml:"signal" doc:"send this signal to the process that beat last, such as KILL"`
	Restart string          `toml:"restart" doc:"restart this supervised process or group"`
	Task    string          `toml:"task" doc:"queue a task of this type; the alert is its parameters"`
	Detach  bool            `toml:"detach" doc:"take an attached heartbeat off the list"`
	Log     string          `toml:"log" doc:"write this to procops' log; {{name}}, {{alert}} and {{message}} are filled in"`
	Timeout unit.Duration   `toml:"timeout" min:"10ms" default:"1m" doc:"cut it off after this time"`
}

// kind returns the key of what is done, "" if nothing or more than one thing is.
func (r Reaction) kind() (kind string) {
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"exec", len(r.Exec) > 0},
		{"webhook", r.Webhook != nil},
		{"signal", r.Signal != nil},
		{"restart", r.Restart != ""},
		{"task", r.Task != ""},
		{"detach", r.Detach},
		{"log", r.Log != ""},
	} {
		switch {
		case k.set && kind != "":
			return ""
		case k.set:
			kind = k.name
		}
	}
	return kind
}

func checkReactions(all []Reaction, key string, report func(err error, path ...string)) {
	for i, r := range all {
		if r.kind() == "" {
			report(errors.New("want exactly one of exec, webhook, signal, restart, task, detach and log"), key, strconv.Itoa(i))
		}
		if r.Webhook != nil {
			r.Webhook.Check(func(err error, path ...string) {
				report(err, append([]string{key, strconv.Itoa(i), "webhook"}, path...)...)
			})
		}
	}
}

// Deps are what a monitor needs to act.
type Deps struct {
	Host *proc.Host
	Env  []string // what commands find beside the environment of procops
	Log  zerolog.Logger
	// Restart restarts a supervised process; PushTask queues a task with JSON as its
	// parameters.
	Restart  func(ctx context.Context, process string) error
	PushTask func(ctx context.Context, taskType string, params []byte) error
}

// delivery is an alert on its way.
type delivery struct {
	id       int64
	Name     string    `json:"name"`
	Alert    Alert     `json:"alert"`
	Time     time.Time `json:"time"`
	Failures int       `json:"failures"`
	Message  string    `json:"message"`
	PID      int       `json:"pid,omitempty"` // of the process that beat last
}

// reactor reacts to alerts.
type reactor struct {
	list *List
	deps Deps
}

// react does all that is to be done about an alert, in order. A reaction that fails
// does not keep the next ones from being tried.
func (r *reactor) react(ctx context.Context, h Heartbeat, d delivery) {
	for _, reaction := range r.list.reactions(h, d.Alert) {
		if err := r.try(ctx, h, reaction, d); err != nil {
			r.failed(ctx, reaction.kind(), d, err)
		}
	}
}

// reactions returns what is to be done about an alert.
func (l *List) reactions(h Heartbeat, a Alert) []Reaction {
	own, fallback := h.Target.OnAttack, l.cfg.OnAttack
	if a == AlertRecovered {
		own, fallback = h.Target.OnRecovery, l.cfg.OnRecovery
	}
	if len(own) == 0 {
		own = fallback
	}
	if a != AlertRecovered && h.Target.DetachDown {
		own = append(slices.Clip(own), Reaction{Detach: true})
	}
	return own
}

func (r *reactor) failed(ctx context.Context, kind string, d delivery, err error) {
	r.deps.Log.Warn().Err(err).Str("heartbeat", d.Name).Str("reaction", kind).Msg("a reaction to an alert has failed")
	e := eventReaction.New(d.Name, reactionData{Alert: d.Alert, Reaction: kind, Error: err.Error()})
	if _, err := r.list.store.Record(ctx, e); err != nil {
		r.deps.Log.Warn().Err(err).Msg("cannot record an event")
	}
}

// defaultTimeout cuts off a reaction that has no timeout of its own.
const defaultTimeout = time.Minute

func (r *reactor) try(ctx context.Context, h Heartbeat, reaction Reaction, d delivery) error {
	limit := reaction.Timeout.Std()
	if limit == 0 {
		limit = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it was cut off after %s", unit.Duration(limit)))
	defer cancel()
	switch reaction.kind() {
	case "exec":
		return r.exec(ctx, reaction.Exec, d)
	case "webhook":
		return d.post(ctx, *reaction.Webhook)
	case "signal":
		return signalLast(h, *reaction.Signal)
	case "restart":
		return r.restart(ctx, reaction.Restart)
	case "task":
		return r.task(ctx, reaction.Task, d)
	case "detach":
		return r.detach(ctx, h)
	default:
		r.deps.Log.Info().Str("heartbeat", d.Name).Msg(d.fill(reaction.Log))
		return nil
	}
}

func (r *reactor) exec(ctx context.Context, command proc.Command, d delivery) error {
	if r.deps.Host == nil {
		return errors.New("this procops runs no commands")
	}
	input, err := json.Marshal(d)
	if err != nil {
		return err
	}
	result, err := runner.Run(ctx, r.deps.Host, runner.Unit{
		Command: command, Env: launch.MergeEnv(append(slices.Clip(r.deps.Env), d.env()...)),
		Input: bytes.NewReader(input), Hurry: ctx.Done(),
		MaxOutput: -1, // nobody reads it
	})
	switch {
	case err != nil:
		return err
	case result.Outcome == runner.Success:
		return nil
	case result.Outcome == runner.Cancelled:
		return fmt.Errorf("the command %q: %w", command.String(), context.Cause(ctx))
	}
	return fmt.Errorf("the command %q ended with %s", command.String(), result.Text())
}

func (r *reactor) restart(ctx context.Context, process string) error {
	if r.deps.Restart == nil {
		return errors.New("this procops restarts nothing")
	}
	return r.deps.Restart(ctx, process)
}

func (r *reactor) task(ctx context.Context, taskType string, d delivery) error {
	if r.deps.PushTask == nil {
		return errors.New("this procops queues nothing")
	}
	params, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return r.deps.PushTask(ctx, taskType, params)
}

// detach takes a heartbeat off the list; one that is not in it any more is no
// failure.
func (r *reactor) detach(ctx context.Context, h Heartbeat) error {
	err := r.list.Detach(ctx, h.Name)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// startTolerance is how well the start of a process is known from the uptime that it
// has told: the kernel counts in hundredths of a second, the beat took a moment.
const startTolerance = 2 * time.Second

// signalLast sends a signal to the process that beat last, unless its pid belongs to
// another process by now.
func signalLast(h Heartbeat, s proc.Signal) error {
	if h.Last == nil || h.Last.Client.PID == 0 {
		return errors.New("nobody knows which process to signal: no beat came with a pid")
	}
	pid := h.Last.Client.PID
	id, err := identify(pid)
	if err != nil {
		return fmt.Errorf("process %d is gone", pid)
	}
	now, err := ReadClient(pid)
	if err != nil {
		return fmt.Errorf("process %d is gone", pid)
	}
	began, told := time.Now().Add(-now.Uptime), h.Last.Time.Add(-h.Last.Client.Uptime)
	if math.Abs(float64(began.Sub(told))) > float64(startTolerance) {
		return fmt.Errorf("process %d is another one than that which beat", pid)
	}
	return id.Signal(s)
}

// env returns the alert as variables for a command.
func (d delivery) env() []string {
	return []string{
		"PROCOPS_HEARTBEAT=" + d.Name,
		"PROCOPS_ALERT=" + string(d.Alert),
		"PROCOPS_FAILURES=" + strconv.Itoa(d.Failures),
		"PROCOPS_MESSAGE=" + d.Message,
		"PROCOPS_PID=" + strconv.Itoa(d.PID),
	}
}

func (d delivery) post(ctx context.Context, cfg webhook.Config) error {
	sender, err := webhook.NewSender(cfg)
	if err != nil {
		return err
	}
	defer sender.Close()
	m, err := webhook.NewMessage("heartbeat", event.Event{Type: eventAlert.Name(), Subject: d.Name, Time: d.Time, Data: d})
	if err != nil {
		return err
	}
	return sender.Send(ctx, m)
}

// fill fills a template of the config in with the alert.
func (d delivery) fill(template string) string {
	return strings.NewReplacer("{{name}}", d.Name, "{{alert}}", string(d.Alert), "{{message}}", d.Message).Replace(template)
}
