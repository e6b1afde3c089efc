package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/runner"
)

// outcomeMemory is the outcome of a turn that has hit memory_limit; runner does not know
// it.
const outcomeMemory = "memory"

// nearLimit is the share of memory_limit from which on a failed turn is taken to have
// failed for want of memory: the kernel refuses the page that would not fit, so its
// largest size is a little below.
const nearLimit = 0.9

// Turn is one turn of a daemon.
type Turn struct {
	Number   uint64        `json:"turn"` // from 1, since the daemon has begun
	Started  time.Time     `json:"started"`
	Duration time.Duration `json:"-"`
	Outcome  string        `json:"outcome"` // of runner, or memory
	Code     int           `json:"code"`    // as a shell has it
	Memory   int64         `json:"memory"`  // largest resident memory in bytes; 0: not known
	Message  string        `json:"message,omitempty"`

	begun bool // there was a process
}

// Failed reports whether the turn counts as a failure. One that wants to be tried again
// later does not: it is.
func (t Turn) Failed() bool {
	switch runner.Outcome(t.Outcome) {
	case runner.Success, runner.Warning, runner.Retry, runner.Cancelled, runner.Stop:
		return false
	default:
		return true
	}
}

// worker runs turns, one at a time.
type worker interface {
	// turn runs one; the end of ctx stops it. A turn that could not begin is a Turn, too.
	// begun, which may be nil, is called when it has begun.
	turn(ctx context.Context, number uint64, begun func()) Turn
	// usage returns the memory in bytes that counts for memory_threshold: what is used
	// now, not once.
	usage() int64
	// close ends what is left.
	close()
}

// hand is the worker that runs the program of a section, in either mode.
type hand struct {
	runner   runner.Runner
	cfg      Section
	output   func(proc.Stream, []byte)
	watchdog *watchdog // nil: no signs of life are expected
	memory   int64     // of the last turn

	peak     int64 // largest resident memory of procops itself in bytes
	peakRead time.Time
}

func (d *Daemon) newHand() (worker, error) {
	instances := max(1, d.cfg.Instances)
	extra := slices.Concat(d.deps.Env, []string{
		"PROCOPS_DAEMON=" + d.id.Name, "PROCOPS_CONTEXT=" + d.id.Context,
		"PROCOPS_INSTANCE=" + strconv.Itoa(d.id.Number()), "PROCOPS_INSTANCES=" + strconv.Itoa(instances),
	})
	h := &hand{cfg: d.cfg, output: d.logs.output}
	var err error
	if h.watchdog, err = newWatchdog(d.cfg.Watchdog.Std()); err != nil {
		return nil, err
	}
	start := d.cfg.starter(d.cfg.program(d.id, instances), append(extra, h.watchdog.env()...))
	h.runner = runner.New(runner.Options{
		Host: d.deps.Host, Mode: d.cfg.Mode, Start: start, Ladder: d.cfg.Stop.Ladder(), Hurry: d.hurry,
		Coprocess: d.cfg.pool(), Observe: d.observe, Output: d.logs.output,
		OnError: func(err error) { d.deps.Log.Error().Err(err).Str("daemon", d.id.String()).Msg("co-process") },
	})
	return h, nil
}

// pool returns how the one co-process of a daemon is kept.
func (s Section) pool() runner.Config {
	c := s.Coprocess
	c.Size = 1 // turns do not overlap
	if s.OnMemory == MemoryRecycle && c.MemoryThreshold == 0 {
		c.MemoryThreshold = s.threshold()
	}
	return c
}

// observe notes in the log what becomes of the co-process.
func (d *Daemon) observe(n runner.Notice) {
	switch n.Kind {
	case runner.NoticeStarted:
		d.logs.say("co-process", fmt.Sprintf("started, pid %d", n.PID))
	case runner.NoticeEnded:
		d.logs.say("co-process", fmt.Sprintf("pid %d has ended after %d turns: %s", n.PID, n.Units, n.Reason))
	case runner.NoticeReady:
	}
}

// turn runs a turn.
func (h *hand) turn(ctx context.Context, number uint64, begun func()) Turn {
	t := Turn{Number: number, Started: time.Now()}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer h.watchdog.expect(cancel)()
	r, err := h.runner.Run(ctx, runner.Work{
		Meta: []runner.Meta{{Name: "turn", Value: strconv.FormatUint(number, 10)}}, OnStart: begun,
		Output: h.output, MaxOutput: -1, TimeLimit: h.cfg.Timeout.Std(),
	})
	switch {
	case err != nil && ctx.Err() == nil:
		return t.notBegun(err)
	case err != nil: // it was told to stop before it had begun
		t.Outcome, t.Message = string(runner.Cancelled), "it was stopped"
		return t
	}
	h.memory = r.Memory
	if h.cfg.Mode != runner.ModeCoprocess {
		h.memory = h.ownMemory(r.Exit)
	}
	t.begun = true
	t.Started, t.Duration, t.Memory = r.Started, r.Duration, h.memory
	t.Outcome, t.Code, t.Message = string(r.Outcome), r.Code(), r.Reason
	if errors.Is(context.Cause(ctx), errSilent) && r.Outcome == runner.Cancelled {
		t.Outcome, t.Message = string(runner.TimedOut), h.watchdog.reason()
	}
	return h.cfg.judge(t, r)
}

// peakAge is how old what is known of procops' own memory may be.
const peakAge = time.Second

// ownMemory returns the largest resident memory of a process in bytes; 0 if it is not
// known, because it was not larger than procops has been: the kernel counts from there.
func (h *hand) ownMemory(exit proc.Exit) int64 {
	if time.Since(h.peakRead) > peakAge {
		h.peak, h.peakRead = proc.PeakMemory(), time.Now()
	}
	if exit.MaxRSS <= h.peak {
		return 0
	}
	return exit.MaxRSS
}

// judge adds what only a daemon knows.
func (s Section) judge(t Turn, r runner.Result) Turn {
	limit := s.MemoryLimit.Bytes()
	command := s.Mode != runner.ModeCoprocess
	switch {
	case t.Outcome == string(runner.Cancelled) || t.Outcome == string(runner.TimedOut):
	case command && r.Exit.Signal == 0 && t.Code == s.StopCode:
		t.Outcome, t.Message = string(runner.Stop), fmt.Sprintf("exit code %d", t.Code)
	case limit > 0 && float64(max(t.Memory, r.Exit.MaxRSS)) >= nearLimit*float64(limit) && t.Failed():
		t.Message = fmt.Sprintf("it has used %s of its memory_limit of %s: %s", bytesText(max(t.Memory, r.Exit.MaxRSS)), bytesText(limit), t.Message)
		t.Outcome = outcomeMemory
	}
	return t
}

func (h *hand) usage() int64 {
	if h.cfg.Mode == runner.ModeCoprocess && h.cfg.OnMemory == MemoryRecycle {
		return 0 // the co-process is replaced instead
	}
	return h.memory
}

func (h *hand) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	_ = h.runner.Close(ctx) // what cannot be ended, the end of the host says
	h.watchdog.close()
}

// starter says how the processes of turns are started.
func (s Section) starter(program launch.Program, extra []string) func() (proc.Spec, error) {
	start := program.Starter(extra)
	limit := uint64(s.MemoryLimit.Bytes())
	if limit == 0 {
		return start
	}
	return func() (proc.Spec, error) {
		spec, err := start()
		spec.Limits.Data = &limit
		return spec, err
	}
}

// codeNotStarted is what a shell says of a command that it cannot start.
const codeNotStarted = 127

func (t Turn) notBegun(err error) Turn {
	t.Duration = time.Since(t.Started)
	t.Outcome, t.Code, t.Message = string(runner.Failed), codeNotStarted, err.Error()
	return t
}

// bytesText writes a size for people.
func bytesText(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }
