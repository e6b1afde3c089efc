package heartbeat

import (
	"context"
	"errors"
	"time"
)

// patience is how long a run waits for others.
type patience struct {
	start time.Duration // a command, for the record of its start
	end   time.Duration // procops, for the record of the end
	kill  time.Duration // a command that ran too long, between SIGTERM and SIGKILL
}

func usualPatience() patience {
	return patience{start: time.Second, end: 15 * time.Second, kill: 10 * time.Second}
}

// errSlow says that the state did not answer in time.
var errSlow = errors.New("the state does not answer in time")

// recorder records one run. A goroutine of its own opens the state and writes to
// it, so that a state that is locked or hangs delays nobody for longer than he
// wants to wait.
type recorder struct {
	open     func(context.Context) (*List, func() error, error)
	patience patience
	jobs     chan job
	done     chan struct{}

	// Of the goroutine:
	list  *List
	close func() error
	run   int64 // number of the run, 0 until its start is recorded
}

type job struct {
	do       func(*List) error
	outcome  chan error
	patience time.Duration
}

// newRecorder starts a recorder; end ends it.
func newRecorder(ctx context.Context, open func(context.Context) (*List, func() error, error), p patience) *recorder {
	r := &recorder{open: open, patience: p, jobs: make(chan job), done: make(chan struct{})}
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

// start records that the run has begun.
func (r *recorder) start(ctx context.Context, run Run) error {
	return r.hand(job{patience: r.patience.start, do: func(l *List) (err error) {
		r.run, err = l.startRun(ctx, run)
		return err
	}})
}

// end records how the run has ended; nothing can be recorded afterwards. A job
// that still hangs then is left to itself: the process is about to end.
func (r *recorder) end(ctx context.Context, run Run, client Client) error {
	err := r.hand(job{patience: r.patience.end, do: func(l *List) error {
		run.ID = r.run
		return errors.Join(l.endRun(ctx, run, client), r.close())
	}})
	close(r.jobs)
	if !errors.Is(err, errSlow) {
		<-r.done
	}
	return err
}

// hand gives the goroutine a job and waits for its outcome.
func (r *recorder) hand(j job) error {
	j.outcome = make(chan error, 1)
	timeout := time.NewTimer(j.patience)
	defer timeout.Stop()
	select {
	case r.jobs <- j:
	case <-timeout.C:
		return errSlow
	}
	select {
	case err := <-j.outcome:
		return err
	case <-timeout.C:
		return errSlow
	}
}
