package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/gearman"
	"procops/internal/proc"
	"procops/internal/store"
)

// Deps is what a worker needs of the rest of procops.
type Deps struct {
	Host  *proc.Host
	Store *store.Store // keeps failures; nil: they are published only
	Bus   *event.Bus
	Log   zerolog.Logger
	// LogLevel is handed to jobs as PROCOPS_LOG_LEVEL.
	LogLevel string
	Env      []string        // added to the environment of jobs
	Hurry    <-chan struct{} // closed: what is to stop is killed; may be nil
}

// Report counts what a worker has done.
type Report struct {
	Jobs   uint64 // that were done, those that have failed included
	Failed uint64
	Reason string // why it has ended, for people
}

// Worker does the jobs of its functions.
type Worker struct {
	cfg       gearman.Config
	deps      Deps
	id        string // what it is called at its servers
	functions map[string]*function

	slots   chan struct{}           // who has put one in has a job, or asks for one
	waiting atomic.Int32            // sessions that wait for one
	taking  context.Context         // its end: no more job is asked for
	leave   context.CancelCauseFunc // ends taking
	running context.Context         // its end stops the jobs
	jobs    sync.WaitGroup

	active       atomic.Int64 // jobs that run
	done, failed atomic.Uint64
	standing     *standing
	memory       memory
}

// New returns a worker for the functions of a config without faults, which has at least
// one.
func New(cfg gearman.Config, deps Deps) *Worker {
	cfg = cfg.Filled()
	cfg.Concurrency = max(1, cfg.Concurrency)
	w := &Worker{
		cfg: cfg, deps: deps, id: identity(), slots: make(chan struct{}, cfg.Concurrency),
		functions: make(map[string]*function, len(cfg.Functions)),
	}
	for name, f := range cfg.Functions {
		w.functions[name] = newFunction(name, f, w)
	}
	w.standing = newStanding(len(w.groups()))
	return w
}

// identity returns what this worker is called at its servers.
func identity() string {
	host, err := os.Hostname()
	if err != nil || strings.ContainsAny(host, " \x00\n") {
		host = "localhost"
	}
	return fmt.Sprintf("procops-%s-%d", host, os.Getpid())
}

// The reasons for which a worker ends by itself.
var (
	errRunTime = errors.New("max_run_time is over")
	errAsked   = errors.New("a job has asked for it")
	errToEnd   = errors.New("it was told to end")
)

// Run does jobs until ctx ends or the worker ends by itself, in good order: then it takes
// no more, and lets those under way end. After the end of ctx they have the time of
// stop_grace, and are then stopped.
func (w *Worker) Run(ctx context.Context) (Report, error) {
	if err := w.cfg.CheckTLS(); err != nil {
		return Report{}, err
	}
	running, halt := context.WithCancelCause(context.WithoutCancel(ctx))
	defer halt(nil)
	w.running = running
	w.taking, w.leave = context.WithCancelCause(ctx)
	defer w.leave(nil)
	defer w.listen()()
	if limit := w.cfg.MaxRunTime.Std(); limit > 0 {
		defer time.AfterFunc(limit, func() { w.leave(errRunTime) }).Stop()
	}
	over, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		w.limitGrace(ctx, halt, over)
	}()
	eventBeforeRun.Publish(w.deps.Bus, w.id, runData{Worker: w.id, Functions: w.cfg.FunctionNames(), Concurrency: w.cfg.Concurrency})
	var links sync.WaitGroup
	for _, server := range w.cfg.Servers {
		for _, functions := range w.groups() {
			links.Go(func() { (&link{w: w, server: server, functions: functions}).run() })
		}
	}
	links.Wait()
	w.jobs.Wait()
	close(over)
	<-watched
	report := w.report(ctx)
	end := endData{Worker: w.id, Jobs: report.Jobs, Failed: report.Failed, Reason: report.Reason}
	eventAfterRun.Publish(w.deps.Bus, w.id, end)
	err := w.close()
	eventBeforeDestroy.Publish(w.deps.Bus, w.id, end)
	return report, err
}

// groups returns the functions that have a connection in common: each that has a limit of
// its own has one of its own, on which nothing is asked for while it has all the jobs that
// it may have. To tell a server that a function is not there for a while would not do:
// gearmand takes the jobs of it that are under way for lost.
func (w *Worker) groups() (groups [][]*function) {
	var common []*function
	for _, name := range w.cfg.FunctionNames() {
		if f := w.functions[name]; f.slots == nil {
			common = append(common, f)
		} else {
			groups = append(groups, []*function{f})
		}
	}
	if len(common) > 0 {
		groups = append(groups, common)
	}
	return groups
}

func (w *Worker) report(ctx context.Context) Report {
	why := context.Cause(w.taking)
	if ctx.Err() != nil {
		why = errToEnd
	}
	return Report{Jobs: w.done.Load(), Failed: w.failed.Load(), Reason: why.Error()}
}

// limitGrace stops the jobs that take too long to end once the worker is told to.
func (w *Worker) limitGrace(ctx context.Context, halt context.CancelCauseFunc, over <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-over:
		return
	}
	w.deps.Log.Info().Stringer("stop_grace", w.cfg.StopGrace).Msg("the worker takes no more jobs, and waits for those under way")
	grace := time.NewTimer(w.cfg.StopGrace.Std())
	defer grace.Stop()
	select {
	case <-grace.C:
	case <-w.deps.Hurry:
	case <-over:
	}
	halt(errToEnd)
}

// closePatience is how long co-processes without work may take to end.
const closePatience = 10 * time.Second

// close ends what is left of the functions.
func (w *Worker) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	errs := make([]error, len(w.functions))
	var closing sync.WaitGroup
	i := 0
	for _, f := range w.functions {
		at := i
		closing.Go(func() { errs[at] = f.runner.Close(ctx) })
		i++
	}
	closing.Wait()
	return errors.Join(errs...)
}

// tellFailure records and publishes that something beside jobs has gone wrong.
func (w *Worker) tellFailure(server gearman.Address, err error) {
	w.record(eventFailed.New(w.id, failedData{Worker: w.id, Server: string(server), Message: err.Error()}))
}

// record publishes an event once it is kept. Without a place to keep it, it is published
// all the same.
func (w *Worker) record(e event.Event) {
	if w.deps.Store == nil {
		w.deps.Bus.Publish(e)
		return
	}
	if _, err := w.deps.Store.Record(context.WithoutCancel(w.running), e); err != nil {
		w.deps.Log.Warn().Err(err).Str("event", e.Type).Msg("it is not recorded")
		w.deps.Bus.Publish(e)
	}
}
