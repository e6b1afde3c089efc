package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"procops/internal/proc"
)

// Runner runs units of work, in whichever mode. Its methods may be called from any
// goroutine.
type Runner interface {
	// Run runs a unit to its end. Cancelling ctx stops it. The error says that it has
	// not begun, or that something of it cannot be stopped; all else is in the result.
	Run(ctx context.Context, w Work) (Result, error)
	// Warm starts what would otherwise be started when it is first needed, and waits
	// until it is ready. The error says why it is not.
	Warm(ctx context.Context) error
	// Close waits for the units under way, or stops them when ctx has ended. It returns
	// when no process is left; the error says which cannot be ended. Nothing is run
	// afterwards.
	Close(ctx context.Context) error
}

// Work is one unit of work for a Runner, whose mode the one who has the work need not
// know. Every field may be left out.
type Work struct {
	Input []byte
	// Meta tells of the unit: in the mode command the variables PROCOPS_NAME of the
	// environment, in the mode coprocess "meta" of the message.
	Meta []Meta

	// OnStart is called when the unit has begun: there is a process for it.
	OnStart func()
	// OnProgress is told of progress, from one goroutine.
	OnProgress func(Progress)
	// OnData is told of pieces of the result that a co-process sends ahead of it, which
	// then are no part of Result.Output. The bytes are valid during the call only.
	OnData func([]byte)
	// Output is told of all output, as it comes: the result and its pieces as Stdout,
	// diagnostics as Stderr. No two calls for the same stream happen at once. The bytes
	// are valid during the call only.
	Output func(proc.Stream, []byte)
	// MaxOutput is how many bytes of result are kept; 0: 16 MiB; negative: none, for
	// those who take it from Output. A result that is longer is a failure.
	MaxOutput int

	// NoMemory: nobody wants to know Result.Memory. To look at it after each unit costs as
	// much as much else that is done for a short one.
	NoMemory bool

	TimeLimit time.Duration // 0: none; the wait for a free co-process does not count
}

// Meta is something to know about a unit of work: in lower case, with "_" between
// words.
type Meta struct{ Name, Value string }

// Options say how a Runner works.
type Options struct {
	Host *proc.Host
	Mode Mode // empty: ModeCommand
	// Start says how a process is started. It is called for each, from several
	// goroutines; the streams and the output are the Runner's.
	Start  func() (proc.Spec, error)
	Ladder proc.Ladder     // how to stop a process; no steps: SIGTERM, ten seconds, SIGKILL
	Hurry  <-chan struct{} // closed: a stop under way becomes SIGKILL; may be nil

	// What follows is for co-processes.
	Coprocess Config
	// Observe is told of each co-process, in order; may be nil. It must not block.
	Observe func(Notice)
	// Output is told what a co-process writes to standard error while it has no unit of
	// work; may be nil. It must not block.
	Output func(proc.Stream, []byte)
	// OnError is told of defects of procops; may be nil.
	OnError func(error)
}

// ErrClosed is the error of a Run after Close.
var ErrClosed = errors.New("it is closed")

func cannotRun(err error) error { return fmt.Errorf("cannot run a unit of work: %w", err) }

// New returns a Runner. It starts nothing.
func New(o Options) Runner {
	if o.Mode == ModeCoprocess {
		return newPool(o)
	}
	return newCommands(o)
}

// commands is the Runner of the mode command.
type commands struct {
	o      Options
	under  gate
	hasten context.CancelFunc
	ctx    context.Context // its end is that of all units: Close does not wait any longer
}

func newCommands(o Options) *commands {
	c := &commands{o: o}
	c.ctx, c.hasten = context.WithCancel(context.Background())
	return c
}

// Run runs a command.
func (c *commands) Run(ctx context.Context, w Work) (Result, error) {
	if !c.under.enter() {
		return Result{}, cannotRun(ErrClosed)
	}
	defer c.under.leave()
	spec, err := c.o.Start()
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })()
	result, err := Run(ctx, c.o.Host, Unit{
		Command: spec.Argv, Dir: spec.Dir, Env: withMeta(spec.Env, w.Meta),
		Input: bytes.NewReader(w.Input), OnStart: w.OnStart, Output: w.Output, OnProgress: w.OnProgress, MaxOutput: w.MaxOutput,
		TimeLimit: w.TimeLimit, Ladder: c.o.Ladder, Hurry: c.o.Hurry,
		User: spec.User, Umask: spec.Umask, Nice: spec.Nice, CPUs: spec.CPUs, Limits: spec.Limits, Cgroup: spec.Cgroup,
	})
	result.Memory = result.Exit.MaxRSS
	return result, err
}

// Warm has nothing to start.
func (c *commands) Warm(context.Context) error { return nil }

// Close lets no unit in any more, and waits until all are ended.
func (c *commands) Close(ctx context.Context) error {
	select {
	case <-c.under.close():
	case <-ctx.Done():
		c.hasten()
		<-c.under.close()
	}
	c.hasten()
	return nil
}

// withMeta returns the environment with what there is to know about a unit.
func withMeta(env []string, meta []Meta) []string {
	if len(meta) == 0 {
		return env
	}
	if env == nil {
		env = os.Environ()
	}
	env = slices.Clip(env)
	for _, m := range meta {
		env = append(env, "PROCOPS_"+strings.ToUpper(m.Name)+"="+m.Value)
	}
	return env
}
