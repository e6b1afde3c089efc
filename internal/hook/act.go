package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/unit"
	"procops/internal/webhook"
)

// EnvName is a variable that the commands of hooks have: a procops that finds it runs no
// hooks, so that none can cause itself.
const EnvName = "PROCOPS_HOOK"

// act does what the hook does, for as long as it may take. To wait for who runs commands
// is not part of that: some processes have nobody until their end.
func (k *hook) act(e event.Event, f fields) error {
	var host *proc.Host
	if k.rule.Action() == ActExec && k.deps.Host != nil {
		var err error
		if host, err = k.deps.Host(k.ctx); err != nil {
			return err
		}
	}
	limit := k.rule.limit()
	ctx, cancel := context.WithTimeoutCause(k.ctx, limit, fmt.Errorf("it was cut off after %s", unit.Duration(limit)))
	defer cancel()
	switch r := &k.rule; r.Action() {
	case ActExec:
		return k.exec(ctx, host, e)
	case ActWebhook:
		return k.post(ctx, e)
	case ActTask:
		return with(ctx, k.deps.PushTask, r.Task, e)
	case ActJob:
		return with(ctx, k.deps.SubmitJob, r.Job, e)
	case ActBeat:
		return k.beat(ctx, r.Beat, true, "")
	case ActFail:
		return k.beat(ctx, r.Fail, false, strings.TrimSpace(e.Type+" "+e.Subject))
	case ActStart:
		return k.control(ctx, ActStart, r.Start)
	case ActStop:
		return k.control(ctx, ActStop, r.Stop)
	case ActRestart:
		return k.control(ctx, ActRestart, r.Restart)
	default:
		log := k.log().Level(zerolog.InfoLevel) // somebody has asked for it
		log.Info().Str("hook", k.name).Msg(f.fill(r.Log))
		return nil
	}
}

// errNotHere is the error of an action for which this procops has nothing.
var errNotHere = errors.New("this procops cannot do that")

// with hands an event to somebody as JSON.
func with(ctx context.Context, do func(context.Context, string, []byte) error, name string, e event.Event) error {
	if do == nil {
		return errNotHere
	}
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return do(ctx, name, text)
}

func (k *hook) beat(ctx context.Context, name string, ok bool, message string) error {
	if k.deps.Beat == nil {
		return errNotHere
	}
	return k.deps.Beat(ctx, name, ok, message)
}

func (k *hook) control(ctx context.Context, action Action, name string) error {
	if k.deps.Control == nil {
		return errNotHere
	}
	return k.deps.Control(ctx, action, name)
}

func (k *hook) post(ctx context.Context, e event.Event) error {
	sender, err := webhook.NewSender(*k.rule.Webhook)
	if err != nil {
		return err
	}
	defer sender.Close()
	part, _, _ := strings.Cut(e.Source, "[")
	m, err := webhook.NewMessage(part, e)
	if err != nil {
		return err
	}
	return sender.Send(ctx, m)
}

// exec runs a command.
func (k *hook) exec(ctx context.Context, host *proc.Host, e event.Event) error {
	if host == nil {
		return errNotHere
	}
	input, err := json.Marshal(e)
	if err != nil {
		return err
	}
	result, err := runner.Run(ctx, host, runner.Unit{
		Command: k.rule.Exec, Env: launch.MergeEnv(append(slices.Clip(k.deps.Env), k.env(e)...)),
		Input: bytes.NewReader(append(input, '\n')), Hurry: ctx.Done(), MaxOutput: -1, // nobody reads it
	})
	command := k.rule.Exec.String()
	switch {
	case err != nil:
		return err
	case result.Outcome == runner.Success:
		return nil
	case result.Outcome == runner.Cancelled:
		return fmt.Errorf("the command %q: %w", command, context.Cause(ctx))
	}
	return fmt.Errorf("the command %q ended with %s", command, result.Text())
}

// env returns the event as variables for a command.
func (k *hook) env(e event.Event) []string {
	return []string{
		EnvName + "=" + k.name,
		"PROCOPS_EVENT_TYPE=" + e.Type,
		"PROCOPS_EVENT_SUBJECT=" + e.Subject,
		"PROCOPS_EVENT_SOURCE=" + e.Source,
		"PROCOPS_EVENT_ID=" + strconv.FormatInt(e.ID, 10),
		"PROCOPS_EVENT_TIME=" + e.Time.UTC().Format(time.RFC3339Nano),
	}
}
