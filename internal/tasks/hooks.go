package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/unit"
)

// Hooks are the commands around each run of a type.
type Hooks struct {
	Before        proc.Command  `toml:"before" doc:"command before each run of a task, with the same user, directory, environment and input; when it fails the task is not run, and has failed"`
	After         proc.Command  `toml:"after" doc:"command after each run of a task, whatever came of it, also when before has failed; what is known of the run is on its standard input as JSON; when it fails a success becomes a warning"`
	HookTimeLimit unit.Duration `toml:"hook_time_limit" min:"10ms" default:"30s" doc:"how long before, and after, may take"`
}

// hook is a command that is run before or after each run of a type.
type hook struct {
	name   string
	runner runner.Runner
	limit  time.Duration
}

// newHook returns a hook that is started as the tasks of its type are; nil without a
// command.
func (w *worker) newHook(h *handler, name string, command proc.Command) *hook {
	if len(command) == 0 {
		return nil
	}
	start := func() (proc.Spec, error) {
		spec, err := h.start()
		spec.Argv = command
		return spec, err
	}
	return &hook{name: name, limit: h.typ.HookTimeLimit.Std(), runner: runner.New(runner.Options{
		Host: w.deps.Host, Start: start, Ladder: h.typ.Stop.Ladder(), Hurry: w.opt.Hurry,
	})}
}

// run runs the hook. The error says why it has failed, in one line for people.
func (k *hook) run(ctx context.Context, told *tracker, meta []runner.Meta, input []byte) (runner.Result, error) {
	r, err := k.runner.Run(ctx, runner.Work{Input: input, Meta: meta, OnProgress: told.hear, MaxOutput: -1, TimeLimit: k.limit})
	switch {
	case err != nil && ctx.Err() != nil:
		return runner.Result{Outcome: runner.Cancelled}, context.Cause(ctx)
	case err != nil:
		return runner.Result{Outcome: runner.Failed}, fmt.Errorf("%s: %w", k.name, err)
	case r.Outcome == runner.Success || r.Outcome == runner.Warning:
		return r, nil
	default:
		return r, fmt.Errorf("%s: %s", k.name, r.Text())
	}
}

// execute runs what there is to run for a task and puts what came of it into its record:
// first before, then the handler unless that has failed, and in either case after. What
// procops has stopped is runner.Cancelled, and nothing is run any more.
func (w *worker) execute(h *held, hd *handler, r *Record, params []byte) runner.Outcome {
	told := newTracker(w.recorder(h.ctx, h, r.Attempts+1))
	limit := w.q.cfg.timeLimit(hd.typ, r.TimeLimit)
	meta := r.meta(limit)
	outcome, ok := hd.prepare(h.ctx, told, r, meta, params)
	if ok {
		r.Run, outcome = hd.runOnce(h.ctx, told, meta, params, limit)
	}
	if outcome != runner.Cancelled && hd.after != nil {
		hd.tidy(h.ctx, told, r, meta)
	}
	var whole bool
	if r.Run.Account, whole = told.finish(); !whole {
		w.deps.Log.Warn().Str("task", r.ID).Str("type", r.Type).Msg("the meta of the task is larger than 64K; what does not fit is not kept")
	}
	return outcome
}

// prepare runs before; false says that it has failed and with it the run.
func (h *handler) prepare(ctx context.Context, told *tracker, r *Record, meta []runner.Meta, params []byte) (runner.Outcome, bool) {
	if h.before == nil {
		return runner.Success, true
	}
	result, err := h.before.run(ctx, told, meta, params)
	if err == nil {
		return runner.Success, true
	}
	code := result.Code()
	if result.Started.IsZero() {
		code = notStarted
	}
	r.Run = Run{
		Started: result.Started, Duration: result.Duration, Result: resultOf(result.Outcome), Code: code,
		Message: err.Error(), Diagnostics: result.Diagnostics,
	}
	return result.Outcome, false
}

// tidy runs after. When that fails, a success becomes a warning.
func (h *handler) tidy(ctx context.Context, told *tracker, r *Record, meta []runner.Meta) {
	r.Run.Account = told.soFar()
	input, err := json.Marshal(storyOf(r))
	if err == nil {
		_, err = h.after.run(ctx, told, append(meta,
			runner.Meta{Name: "task_result", Value: string(r.Run.Result)},
			runner.Meta{Name: "task_exit_code", Value: fmt.Sprint(r.Run.Code)},
			runner.Meta{Name: "task_message", Value: r.Run.Message},
		), input)
	}
	if err == nil {
		return
	}
	if r.Run.Result == ResultSuccess {
		r.Run.Result = ResultWarning
	}
	if r.Run.Message != "" {
		r.Run.Message += "; "
	}
	r.Run.Message += err.Error()
}

// story is a run as programs are told of it that the config names. It is an interface:
// fields are added, never renamed.
type story struct {
	ID          string                     `json:"id"`
	Type        string                     `json:"type"`
	Params      json.RawMessage            `json:"params"`
	Attempt     int                        `json:"attempt"` // from 1
	Crashes     int                        `json:"crashes"`
	Result      Result                     `json:"result"`
	ResultCode  int                        `json:"ret_code"` // leptir's retC
	ExitCode    int                        `json:"exit_code"`
	Seconds     float64                    `json:"duration_seconds"`
	Message     string                     `json:"message,omitempty"`
	Response    string                     `json:"response,omitempty"`
	Diagnostics string                     `json:"diagnostics,omitempty"`
	State       string                     `json:"state,omitempty"` // the last one that it has told
	Meta        map[string]json.RawMessage `json:"meta,omitempty"`
}

func storyOf(r *Record) story {
	return story{
		ID: r.ID, Type: r.Type, Params: r.Params, Attempt: r.Attempts + 1, Crashes: r.Crashes,
		Result: r.Run.Result, ResultCode: r.Run.Result.Code(), ExitCode: r.Run.Code, Seconds: r.Run.Duration.Seconds(),
		Message: r.Run.Message, Response: string(r.Run.Response), Diagnostics: r.Run.Diagnostics,
		State: r.Run.state(), Meta: r.Run.Meta,
	}
}
