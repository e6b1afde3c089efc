package heartbeat

import (
	"context"
	"errors"
	"time"
)

// patience is how long a run waits for others.
type patience struct {
	start  time.Duration // a command, for the record of its start
	end    time.Duration // procops, for the record of the end or the lock of the name
	hurry  time.Duration // the same after a signal that ends programs
	kill   time.Duration // a command that ran too long, between SIGTERM and SIGKILL
	reader time.Duration // procops, for a reader of its output, after a command that was ended
}

func usualPatience() patience {
	return patience{start: time.Second, end: 15 * time.Second, hurry: 2 * time.Second, kill: 10 * time.Second, reader: 10 * time.Second}
}

// errSlow says that the state did not answer in time.
var errSlow = errors.New("the state does not answer in time")

// recorder records one run. A goroutine of its own opens the state and writes to
// it, so that a state that is locked or hangs delays nobody for longer than he
// wants to wait.
type recorder struct {
	open func(context.Context) (*List, func() error, error)
	jobs chan job
	done chan struct{}

	// Of the goroutine:
	list  *List
	close func() error
	run   int64 // number of the run, 0 until its start is recorded
}

type job struct {
	do      func(*List) error
	outcome chan error
}

// jobsOfARun are its start and its end.
const jobsOfARun = 2

// newRecorder starts a recorder; end ends it.
func newRecorder(ctx context.Context, open func(context.Context) (*List, func() error, error)) *recorder {
	r := &recorder{open: open, jobs: make(chan job, jobsOfARun), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for j := range r.jobs {
			j.outcome <- r.work(ctx, j)
		}
	}()
	return r
}

func (r *recorder) work(ctx context.Context, j job) error {
	if r.list == nil {
		list, shut, err := r.open(ctx)
		if err != nil {
			return err
		}
		r.list, r.close = list, shut
	}
	return j.do(r.list)
}

// start begins to record that the run has begun.
func (r *recorder) start(ctx context.Context, run Run) (outcome <-chan error) {
	return r.hand(func(l *List) (err error) {
		r.run, err = l.startRun(ctx, run)
		return err
	})
}

// end begins to record how the run has ended; nothing can be recorded afterwards.
func (r *recorder) end(ctx context.Context, run Run, client Client) (outcome <-chan error) {
	outcome = r.hand(func(l *List) error {
		run.ID = r.run
		return errors.Join(l.endRun(ctx, run, client), r.close())
	})
	close(r.jobs)
	return outcome
}

// hand gives the goroutine a job and does not wait for its outcome.
func (r *recorder) hand(do func(*List) error) <-chan error {
	j := job{do: do, outcome: make(chan error, 1)}
	r.jobs <- j
	return j.outcome
}
