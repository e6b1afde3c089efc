package tasks

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/tasks/broker"
)

const (
	// lookInterval is how often a worker whose types are paused looks whether they still are.
	lookInterval = 500 * time.Millisecond
	// leastPatience keeps a worker from running round and round where the configuration has
	// no pause between two looks at a broker that cannot wake it.
	leastPatience = 10 * time.Millisecond
	// brokerPause is the time between two attempts to reach a broker that is away.
	brokerPause = time.Second
)

// Deps are what a worker needs beside the queue.
type Deps struct {
	Host *proc.Host
	Env  []string   // for handlers, beside the environment of procops
	Bus  *event.Bus // is told of progress
	Log  zerolog.Logger
	// NewRunner makes what runs the tasks of a type; nil: runner.New.
	NewRunner func(runner.Options) runner.Runner
}

// WorkOptions say how to work.
type WorkOptions struct {
	UntilEmpty bool            // end when nothing is ready or running any more, here or elsewhere
	Hurry      <-chan struct{} // closed: what runs is ended at once; may be nil
	Started    func()          // called when all is well and the work begins; may be nil
	Observe    func(Progress)  // hears of each change; must not block; may be nil
}

// Progress is what a worker does at one moment.
type Progress struct {
	Begun   bool // it has reached the broker
	Running int  // tasks
	Found   int  // with UntilEmpty: tasks that were ready or running when it began, here or elsewhere
	Report
}

// Report counts what a worker has done.
type Report struct {
	Completed int // runs that ended well
	Failed    int // runs that failed
	Released  int // runs that were stopped, and their tasks given back
}

// Work claims tasks and runs them until ctx ends, or until there are none. When
// ctx ends nothing new is begun; what runs may go on for the time that the
// configuration grants, and is then stopped and given back.
func (q *Queue) Work(ctx context.Context, deps Deps, opt WorkOptions) (Report, error) {
	if deps.NewRunner == nil {
		deps.NewRunner = runner.New
	}
	w := &worker{
		q: q, deps: deps, opt: opt, types: q.cfg.Runnable(), handlers: map[string]*handler{},
		ended: make(chan ending), leases: leases{some: make(chan struct{}, 1), held: map[claim]*held{}},
	}
	if len(w.types) == 0 {
		return Report{}, fault.Wrap(fault.Usage, ErrNoType, "there is nothing to work off").
			WithHint("add a section such as [tasks.type.\"mail.send\"] with command = [\"./send-mail\"]")
	}
	for _, name := range w.types {
		w.handlers[name] = w.newHandler(name, q.cfg.Types[name])
	}
	w.survey(ctx)
	w.reports = startReporters(q.cfg.ErrorReport, deps)
	if opt.Started != nil {
		opt.Started()
	}
	report, err := w.run(ctx)
	w.reports.close()
	return report, errors.Join(err, w.closeHandlers())
}

// survey counts what there is to do, for those who want to see how much of it is done.
func (w *worker) survey(ctx context.Context) {
	if !w.opt.UntilEmpty || w.opt.Observe == nil {
		return
	}
	if n, err := w.q.broker.Count(ctx, w.types); err == nil { // else the work itself will tell
		w.found = n.Ready + n.Leased
	}
}

// worker is one call of Work. The goroutine of run owns it; each task has a
// goroutine of its own, and one extends the leases of all.
type worker struct {
	q     *Queue
	deps  Deps
	opt   WorkOptions
	types []string
	// handlers are those of types.
	handlers map[string]*handler
	pauses   pauses

	active  int  // tasks that run
	found   int  // see Progress
	begun   bool // the broker has answered
	report  Report
	ended   chan ending
	leases  leases
	reports *reporters
	leave   context.CancelCauseFunc // nothing more is begun
	stop    context.Context         // its end stops the tasks that run
	failed  bool                    // the broker could not be asked, and that was logged
}

// ending is what a task's goroutine reports.
type ending struct {
	typ string
	how runEnd
}

// runEnd is how the work on a task has ended.
type runEnd int

const (
	runCompleted runEnd = iota
	runFailed
	runReleased
	runNothing // the task was not run, or somebody else has it now
)

func (w *worker) run(ctx context.Context) (Report, error) {
	stop, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	w.stop = stop
	ctx, w.leave = context.WithCancelCause(ctx)
	defer w.leave(nil)
	keeping, enough := context.WithCancel(context.WithoutCancel(ctx))
	var keeper sync.WaitGroup
	keeper.Go(func() { w.keepLeases(keeping) })
	keeper.Go(func() { w.watchCancels(keeping) })
	err := w.loop(ctx)
	w.drain(cancel)
	enough()
	keeper.Wait()
	return w.report, err
}

// loop begins tasks until there is nothing more to do.
func (w *worker) loop(ctx context.Context) error {
	for ctx.Err() == nil {
		begun, err := w.begin(ctx)
		switch {
		case ctx.Err() != nil: // then an error is no news
		case err != nil && w.opt.UntilEmpty:
			return err
		case err != nil:
			w.pause(ctx, err)
		case begun > 0:
		default:
			if empty, err := w.empty(ctx); empty || err != nil {
				return err
			}
			w.await(ctx)
		}
	}
	return nil
}

// open returns the types of which more may run than do, and how many of each may.
func (w *worker) open() (types []string, most int) {
	most = w.q.cfg.Workers - w.active
	if most <= 0 {
		return nil, 0
	}
	for _, name := range w.types {
		if room := w.handlers[name].room(most); room > 0 && !w.pauses.has(name) {
			types, most = append(types, name), room
		}
	}
	return types, most
}

// begin claims as many tasks as may run beside those that do, and starts them. When
// none may it waits for the end of one.
func (w *worker) begin(ctx context.Context) (int, error) {
	types, most := w.collect(ctx)
	if len(types) == 0 {
		return 0, nil // ctx has ended, or all is paused
	}
	ask := broker.Ask{Types: types, Max: most, Lease: w.q.cfg.Lease.Std()}
	asked := time.Now()
	claimed, err := w.q.broker.Claim(ctx, ask)
	fresh := err == nil && !w.begun
	w.begun = w.begun || err == nil
	w.failed = w.failed && err != nil
	for _, l := range claimed {
		until := asked.Add(ask.Lease)
		if !l.Asked.IsZero() {
			until = l.Asked.Add(ask.Lease)
		}
		w.active++
		w.handlers[l.Type].active++
		h := w.leases.add(w.stop, l, until)
		go func() {
			e := w.attend(h)
			w.leases.remove(h)
			w.ended <- ending{h.lease.Type, e}
		}()
	}
	if fresh || len(claimed) > 0 {
		w.progress()
	}
	return len(claimed), err
}

// collect takes note of the tasks that have ended, and waits for one while as
// many run as may. It returns what open does.
func (w *worker) collect(ctx context.Context) (types []string, most int) {
	for {
		select {
		case e := <-w.ended:
			w.count(e)
			continue
		default:
		}
		w.lookForPauses(ctx)
		if types, most = w.open(); len(types) > 0 || w.opt.UntilEmpty && w.active == 0 {
			return types, most
		}
		if !w.awaitEnd(ctx) {
			return nil, 0
		}
	}
}

// awaitEnd waits for the end of a task, or until there may be something to resume. It
// returns false when ctx has ended.
func (w *worker) awaitEnd(ctx context.Context) bool {
	var again <-chan time.Time
	if len(w.pauses.types) > 0 {
		timer := time.NewTimer(lookInterval)
		defer timer.Stop()
		again = timer.C
	}
	select {
	case e := <-w.ended:
		w.count(e)
	case <-again:
	case <-ctx.Done():
		return false
	}
	return true
}

// count takes note of the end of a task.
func (w *worker) count(e ending) {
	w.active--
	w.handlers[e.typ].active--
	switch e.how {
	case runCompleted:
		w.report.Completed++
	case runFailed:
		w.report.Failed++
	case runReleased:
		w.report.Released++
	case runNothing:
	}
	w.progress()
}

// progress tells who wants to know what the worker does.
func (w *worker) progress() {
	if w.opt.Observe != nil {
		w.opt.Observe(Progress{Begun: w.begun, Running: w.active, Found: w.found, Report: w.report})
	}
}

// empty reports whether there is an end to come and it has: nothing is ready or
// running, here or elsewhere.
func (w *worker) empty(ctx context.Context) (bool, error) {
	if !w.opt.UntilEmpty || w.active > 0 {
		return false, nil
	}
	types := w.unpaused()
	if len(types) == 0 {
		return true, nil
	}
	n, err := w.q.broker.Count(ctx, types)
	return n.Ready == 0 && n.Leased == 0, err
}

// await waits until there may be something to claim, or a task ends, or the
// queue may be empty.
func (w *worker) await(ctx context.Context) {
	types, _ := w.open()
	var looking sync.WaitGroup
	defer looking.Wait()
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	signed := make(chan error, 1)
	patience := w.patience()
	looking.Go(func() { signed <- w.look(waiting, types, patience) })
	select {
	case err := <-signed:
		if err != nil && ctx.Err() == nil {
			w.pause(ctx, err)
		}
	case e := <-w.ended:
		w.count(e)
	}
}

// look returns when there may be something to claim; where an empty queue is the
// end it returns from time to time.
func (w *worker) look(ctx context.Context, types []string, patience time.Duration) error {
	for {
		found, err := w.q.broker.Await(ctx, types, patience)
		if found || err != nil || w.opt.UntilEmpty || len(w.pauses.types) > 0 {
			return err
		}
	}
}

// patience is how long a worker waits for the broker's sign before it looks by itself.
func (w *worker) patience() time.Duration {
	if w.active > 0 {
		return max(leastPatience, w.q.cfg.BusySleep.Std())
	}
	return max(leastPatience, w.q.cfg.EmptyQueueSleep.Std())
}

// pause waits before a broker that could not be asked is asked again. That is logged once.
func (w *worker) pause(ctx context.Context, err error) {
	if !w.failed {
		w.deps.Log.Error().Err(err).Msg("cannot ask for tasks")
	}
	w.failed = true
	timer := time.NewTimer(brokerPause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// The reasons why a worker stops.
var (
	errStopping = errors.New("the worker stops")
	errAsked    = errors.New("a task has asked for it")
)

// drain waits for the tasks that run. When it takes too long, or somebody is in a
// hurry, they are stopped.
func (w *worker) drain(stop context.CancelCauseFunc) {
	grace := time.NewTimer(w.q.cfg.StopGrace.Std())
	defer grace.Stop()
	hurry := w.opt.Hurry
	for w.active > 0 {
		select {
		case e := <-w.ended:
			w.count(e)
		case <-grace.C:
			stop(errStopping)
		case <-hurry:
			hurry = nil
			stop(errStopping)
		}
	}
}
