package tasks

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"procops/internal/event"
	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/sentry"
	"procops/internal/unit"
	"procops/internal/webhook"
)

// ErrorReport says who is told of tasks that fail. Exactly one of Exec, Webhook and Sentry
// is set.
type ErrorReport struct {
	Exec     proc.Command    `toml:"exec" doc:"run this; the failure is on its standard input as JSON"`
	Webhook  *webhook.Config `toml:"webhook" doc:"post the failure as a CloudEvent, to a URL or as the table says"`
	Sentry   sentry.DSN      `toml:"sentry" doc:"report it to Sentry, or what speaks its protocol: https://KEY@HOST/PROJECT"`
	Types    []string        `toml:"types" doc:"only tasks of these types, where * stands for anything; default: all"`
	OnlyDead bool            `toml:"only_dead" default:"false" doc:"only tasks that are given up, not each attempt that fails"`
	Timeout  unit.Duration   `toml:"timeout" min:"10ms" default:"30s" doc:"cut a report off after this time"`
}

func (e *ErrorReport) check(report func(err error, path ...string)) {
	n := 0
	for _, set := range []bool{len(e.Exec) > 0, e.Webhook != nil, e.Sentry != ""} {
		if set {
			n++
		}
	}
	if n != 1 {
		report(errors.New("want exactly one of exec, webhook and sentry"))
	}
	if e.Webhook != nil {
		e.Webhook.Check(func(err error, path ...string) { report(err, append([]string{"webhook"}, path...)...) })
	}
}

// failure is what is reported. It is an interface: fields are added, never renamed.
type failure struct {
	story

	Time      time.Time `json:"time"`
	TimeLimit float64   `json:"time_limit_seconds"` // 0: none
	Dead      bool      `json:"dead"`               // it is given up
}

const (
	// reportsQueued is how many failures may wait for a report that takes long; what
	// comes beyond is dropped and counted.
	reportsQueued = 100
	// reportsPatience is how long a worker that ends waits for its reports.
	reportsPatience = 10 * time.Second
)

// reporter tells of failures, and never holds a task up.
type reporter struct {
	cfg     ErrorReport
	deps    Deps
	queue   chan failure
	mu      sync.Mutex
	dropped int
}

// reporters are those of a worker.
type reporters struct {
	all    []*reporter
	ctx    context.Context
	cancel context.CancelFunc
	atWork sync.WaitGroup
}

func startReporters(cfg []ErrorReport, deps Deps) *reporters {
	s := &reporters{}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	for _, c := range cfg {
		r := &reporter{cfg: c, deps: deps, queue: make(chan failure, reportsQueued)}
		s.all = append(s.all, r)
		s.atWork.Go(func() { r.run(s.ctx) })
	}
	return s
}

// tell queues a failure for all who want to hear of it.
func (s *reporters) tell(f failure) {
	for _, r := range s.all {
		if r.wants(&f) {
			r.offer(f)
		}
	}
}

// close waits until all is reported, for a while. No task may be running any more.
func (s *reporters) close() {
	for _, r := range s.all {
		close(r.queue)
	}
	late := time.AfterFunc(reportsPatience, s.cancel)
	s.atWork.Wait()
	late.Stop()
	s.cancel()
}

func (r *reporter) wants(f *failure) bool {
	if r.cfg.OnlyDead && !f.Dead {
		return false
	}
	return len(r.cfg.Types) == 0 || slices.ContainsFunc(r.cfg.Types, func(p string) bool { return event.Match(p, f.Type) })
}

func (r *reporter) offer(f failure) {
	select {
	case r.queue <- f:
	default:
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.dropped++; r.dropped == 1 {
			r.deps.Log.Warn().Msg("error reports are dropped: they take longer than the failures to come")
		}
	}
}

// run reports one failure after the other until there is none any more.
func (r *reporter) run(ctx context.Context) {
	lost := 0
	for f := range r.queue {
		if ctx.Err() != nil {
			lost++
			continue
		}
		if err := r.report(ctx, &f); err != nil {
			r.deps.Log.Warn().Err(err).Str("task", f.ID).Str("type", f.Type).Msg("cannot report a failure")
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if lost += r.dropped; lost > 0 {
		r.deps.Log.Warn().Int("dropped", lost).Msg("failures were not reported")
	}
}

// report tells of one failure.
func (r *reporter) report(ctx context.Context, f *failure) error {
	limit := r.cfg.Timeout.Std()
	if limit == 0 {
		limit = reportsPatience
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it was cut off after %s", limit))
	defer cancel()
	switch {
	case len(r.cfg.Exec) > 0:
		return r.exec(ctx, f)
	case r.cfg.Webhook != nil:
		return f.post(ctx, *r.cfg.Webhook)
	default:
		client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}} // ctx limits it
		defer client.CloseIdleConnections()
		return sentry.Send(ctx, client, r.cfg.Sentry, f.sentryEvent())
	}
}

func (r *reporter) exec(ctx context.Context, f *failure) error {
	input, err := json.Marshal(f)
	if err != nil {
		return err
	}
	result, err := runner.Run(ctx, r.deps.Host, runner.Unit{
		Command: r.cfg.Exec, Env: launch.MergeEnv(r.deps.Env), Input: bytes.NewReader(input), Hurry: ctx.Done(), MaxOutput: -1,
	})
	switch {
	case err != nil:
		return err
	case result.Outcome == runner.Success:
		return nil
	case result.Outcome == runner.Cancelled:
		return fmt.Errorf("the command %q: %w", r.cfg.Exec.String(), context.Cause(ctx))
	}
	return fmt.Errorf("the command %q ended with %s", r.cfg.Exec.String(), result.Text())
}

func (f *failure) post(ctx context.Context, cfg webhook.Config) error {
	sender, err := webhook.NewSender(cfg)
	if err != nil {
		return err
	}
	defer sender.Close()
	m, err := webhook.NewMessage("tasks", event.Event{Type: eventFailed.Name(), Subject: f.ID, Time: f.Time, Data: f})
	if err != nil {
		return err
	}
	return sender.Send(ctx, m)
}

// sentryEvent returns the failure as Sentry takes it: one issue for each type and result.
func (f *failure) sentryEvent() sentry.Event {
	host, _ := os.Hostname() // without one it is left out
	return sentry.Event{
		ID: eventID(), Time: f.Time.UTC(), Platform: "other", Level: "error", Logger: "procops.tasks", Server: host,
		Exception:   sentry.Exceptions{Values: []sentry.Exception{{Type: f.Type + " " + string(f.Result), Value: f.Message}}},
		Fingerprint: []string{"procops.tasks", f.Type, string(f.Result)},
		Tags: map[string]string{
			"task_id": f.ID, "task_type": f.Type, "attempt": strconv.Itoa(f.Attempt), "result": string(f.Result),
			"exit_code": strconv.Itoa(f.ExitCode), "dead": strconv.FormatBool(f.Dead),
		},
		Extra: f,
	}
}

// eventID returns 32 hexadecimal digits, as Sentry wants them.
func eventID() string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}

// reportFailure tells of a run that has failed.
func (w *worker) reportFailure(r Record, attempt int, dead bool) {
	f := failure{story: storyOf(&r), Time: time.Now(), Dead: dead, TimeLimit: w.q.cfg.timeLimit(w.q.cfg.Types[r.Type], r.TimeLimit).Seconds()}
	f.Attempt = attempt
	w.reports.tell(f)
}
