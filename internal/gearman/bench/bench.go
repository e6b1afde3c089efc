package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/gearman/wire"
)

// Mode is what is measured.
type Mode string

// The modes.
const (
	ModeSubmit     Mode = "submit"     // background jobs are submitted
	ModeDrain      Mode = "drain"      // queued jobs are done by workers
	ModeForeground Mode = "foreground" // clients wait for jobs that workers do
)

// Modes returns all modes in the order in which they are measured.
func Modes() []Mode { return []Mode{ModeSubmit, ModeDrain, ModeForeground} }

// Options say how to measure. All numbers are at least 1, Size at least 0.
type Options struct {
	Mode        Mode
	Jobs        int
	Size        int // of a workload in bytes
	Connections int // of clients
	Workers     int // with a connection each
	InFlight    int // jobs of each client that are on their way at once
}

// Result is what was measured.
type Result struct {
	Mode Mode
	Jobs int
	Took time.Duration
	// Latency is that of a job: until it is accepted (submit), between the question for
	// it and the job (drain), or until its result is there (foreground).
	Latency Latency
}

// Rate returns jobs in a second.
func (r Result) Rate() float64 { return float64(r.Jobs) / r.Took.Seconds() }

// Latency is how long it takes: the least, the most, and which no more than so many of a
// hundred exceed.
type Latency struct{ Min, Median, P90, P99, Max time.Duration }

func latency(all []time.Duration) Latency {
	if len(all) == 0 {
		return Latency{}
	}
	slices.Sort(all)
	at := func(percent int) time.Duration { return all[min(len(all)-1, len(all)*percent/100)] }
	return Latency{all[0], at(50), at(90), at(99), all[len(all)-1]}
}

// bench is one measurement.
type bench struct {
	cfg      gearman.Config
	server   gearman.Address
	opt      Options
	function string // nobody else has it
	began    bool   // there was a connection
}

// functionPrefix is what the function of every measurement begins with.
const functionPrefix = "procops-bench-"

// cleanPatience is how long it may take to remove what a measurement has left.
const cleanPatience = 10 * time.Minute

// Run measures a server. The end of ctx ends it, as an error. In any case nothing is left
// on the server: the jobs of the measurement are gone, and its function is not known any
// more. The error is a fault.Unreachable if the server goes away.
func Run(ctx context.Context, cfg gearman.Config, server gearman.Address, opt Options) (Result, error) {
	b := &bench{cfg: cfg.Filled(), server: server, opt: opt, function: functionPrefix + strings.ToLower(rand.Text())}
	took, all, err := b.measure(ctx)
	if !b.began {
		return Result{}, err
	}
	cleaning, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), cleanPatience, errors.New("it takes too long"))
	defer cancel()
	if failed := b.clean(cleaning); failed != nil {
		left := fault.Wrap(fault.Kind(fault.ExitCode(failed)), failed, "cannot remove the jobs of function %q", b.function).
			WithHint("a worker of that function removes them")
		return Result{}, errors.Join(err, left)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Mode: opt.Mode, Jobs: opt.Jobs, Took: took, Latency: latency(all)}, nil
}

func (b *bench) measure(ctx context.Context) (time.Duration, []time.Duration, error) {
	switch b.opt.Mode {
	case ModeSubmit:
		return b.submit(ctx, wire.SubmitJobBg, wire.JobCreated)
	case ModeDrain:
		if _, _, err := b.submit(ctx, wire.SubmitJobBg, wire.JobCreated); err != nil {
			return 0, nil, err
		}
		return b.drain(ctx)
	case ModeForeground:
		return b.foreground(ctx)
	}
	return 0, nil, fmt.Errorf("there is no mode %q", b.opt.Mode)
}

// submit submits all jobs, each connection its share.
func (b *bench) submit(ctx context.Context, t, ends wire.Type) (time.Duration, []time.Duration, error) {
	clients := make([]*client, b.opt.Connections)
	took, err := b.each(ctx, len(clients), func(i int, l *link) error {
		share := b.opt.Jobs / len(clients)
		if i < b.opt.Jobs%len(clients) {
			share++
		}
		clients[i] = b.client(l, t, ends)
		return clients[i].run(share)
	})
	if err != nil {
		return 0, nil, err
	}
	var all []time.Duration
	for _, c := range clients {
		all = append(all, c.latencies...)
	}
	return took, all, nil
}

// drain does all jobs that are queued.
func (b *bench) drain(ctx context.Context) (time.Duration, []time.Duration, error) {
	workers := make([]*worker, b.opt.Workers)
	took, err := b.each(ctx, len(workers), func(i int, l *link) error {
		workers[i] = &worker{link: l, function: b.function}
		return workers[i].run(false)
	})
	if err != nil {
		return 0, nil, err
	}
	var all []time.Duration
	done := 0
	for _, w := range workers {
		all = append(all, w.latencies...)
		done += w.done
	}
	if done != b.opt.Jobs {
		return 0, nil, fault.New(fault.Failure, "%s: of %d jobs that it has accepted it has handed out %d", b.server, b.opt.Jobs, done)
	}
	return took, all, nil
}

// foreground has clients wait for all jobs.
func (b *bench) foreground(ctx context.Context) (time.Duration, []time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errOver := errors.New("all is done")
	working, over := context.WithCancelCause(ctx)
	var workers sync.WaitGroup
	for range b.opt.Workers {
		l, err := b.dial(working)
		if err != nil {
			over(err)
			workers.Wait()
			return 0, nil, err
		}
		workers.Go(func() {
			defer l.close()
			if err := (&worker{link: l, function: b.function}).run(true); !errors.Is(err, errOver) {
				cancel(err)
			}
		})
	}
	took, all, err := b.submit(ctx, wire.SubmitJob, wire.WorkComplete)
	over(errOver)
	workers.Wait()
	return took, all, err
}

// clean does what is left of the jobs, waits until the server has seen the end of all
// connections, and drops the function.
func (b *bench) clean(ctx context.Context) error {
	client := gearman.NewClient(b.cfg)
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for jobs, workers := 1, 1; workers > 0; {
		var err error
		if jobs > 0 {
			err = b.sweep(ctx)
		} else {
			select {
			case <-look.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		if err == nil {
			jobs, workers, err = b.left(ctx, client)
		}
		if err != nil {
			return err
		}
	}
	_, err := client.Admin(ctx, b.server, "drop function "+b.function)
	return err
}

// lookAgain is the time between two questions about what is left.
const lookAgain = 10 * time.Millisecond

// sweep does all jobs that are queued.
func (b *bench) sweep(ctx context.Context) error {
	_, err := b.each(ctx, b.opt.Workers, func(_ int, l *link) error { return (&worker{link: l, function: b.function}).run(false) })
	return err
}

// left returns how many jobs and workers the function has: those of connections whose end
// the server has not seen yet.
func (b *bench) left(ctx context.Context, client *gearman.Client) (jobs, workers int, err error) {
	all, err := client.Functions(ctx, b.server)
	if err != nil {
		return 0, 0, err
	}
	for _, f := range all {
		if f.Name == b.function {
			return f.Queued + f.Running, f.Workers, nil // none is scheduled
		}
	}
	return 0, 0, nil
}
