package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"procops/internal/proc"
)

// The sizes in bytes that a Unit leaves open.
const (
	defaultMaxOutput = 16 << 20
	diagnosticsSize  = 10 << 10
)

// defaultGrace is how long a process has between SIGTERM and SIGKILL unless the
// Unit says otherwise.
const defaultGrace = 10 * time.Second

// Unit is one unit of work and how it is run. Only Command is needed.
type Unit struct {
	Command proc.Command
	Dir     string   // working directory; empty: that of procops
	Env     []string // the whole environment; nil: that of procops

	// Input is given on standard input; nil: nothing. A file is handed over as it
	// is. Of another reader as much is read as the process takes; Run returns only
	// after a Read under way has, so it must not block for ever.
	Input io.Reader
	// OnStart is called when the process has been started; may be nil.
	OnStart func()
	// Output is told of what the process writes, as it comes, from one goroutine
	// per stream. The bytes are valid during the call only.
	Output func(proc.Stream, []byte)
	// OnProgress is told of progress, from one goroutine.
	OnProgress func(Progress)
	// MaxOutput is how many bytes of result are kept; 0: 16 MiB; negative: none, for
	// those who take it from Output. A result that is longer is a failure.
	MaxOutput int

	TimeLimit time.Duration   // 0: none
	Ladder    proc.Ladder     // how to stop it; no steps: SIGTERM, ten seconds, SIGKILL
	Hurry     <-chan struct{} // closed: a stop under way becomes SIGKILL; may be nil

	User   *proc.User
	Umask  *proc.Umask
	Nice   int
	CPUs   proc.CPUs
	Limits proc.Limits
	Cgroup *proc.Cgroup
}

// Run runs a unit of work to its end and everything that belongs to it: what the
// process leaves in its process group is stopped, too. Cancelling ctx stops it. The
// error says that it could not be started, or that something of it cannot be
// stopped; all else is in the result.
func Run(ctx context.Context, h *proc.Host, u Unit) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("cannot run %q: %w", u.Command.String(), context.Cause(ctx))
	}
	out := &collector{limit: maxOutput(u.MaxOutput), tail: proc.NewTail(diagnosticsSize), tell: u.Output}
	feed, err := newFeed(u.Input)
	if err != nil {
		return Result{}, fmt.Errorf("cannot run %q: %w", u.Command.String(), err)
	}
	spec := proc.Spec{
		Argv: u.Command, Dir: u.Dir, Env: u.Env, Stdin: feed.child, Raw: out.add, Attended: true,
		User: u.User, Umask: u.Umask, Nice: u.Nice, CPUs: u.CPUs, Limits: u.Limits, Cgroup: u.Cgroup,
	}
	if u.OnProgress != nil {
		spec.Progress = progressLines(u.OnProgress)
	} else {
		spec.ExtraFiles = []*os.File{h.Null()} // descriptor 3 is there, whether or not anybody listens
	}
	p, err := h.Start(spec)
	feed.start(err == nil)
	if err != nil {
		return Result{}, err
	}
	if u.OnStart != nil {
		u.OnStart()
	}
	ended, err := u.attend(ctx, p)
	finished := time.Now()
	feed.wait()
	if err != nil {
		return Result{}, err
	}
	result := Result{
		Exit: p.Exit(), Started: p.Started(), Duration: finished.Sub(p.Started()),
		Output: out.kept, Truncated: out.more, Diagnostics: out.tail.Text(proc.Stderr),
	}
	result.conclude(ended, &u)
	return result, nil
}

// lastWords is how long what a process has written, and the rest of its group, may take
// that ends by itself. Only then it is stopped, which costs more.
const lastWords = 5 * time.Millisecond

// awaitGone reports whether nothing is left of a process that has ended, which is the
// common case.
func awaitGone(p *proc.Process) bool {
	select {
	case <-p.Gone():
		return true
	default:
	}
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-p.Gone():
		return true
	case <-timer.C:
		return false
	}
}

// attend waits for the end of the process, or makes an end of it, and returns why
// it did.
func (u *Unit) attend(ctx context.Context, p *proc.Process) (Outcome, error) {
	h := &halt{unit: u, process: p, failed: make(chan struct{})}
	if u.TimeLimit > 0 {
		timer := time.AfterFunc(u.TimeLimit, func() { h.force(TimedOut) })
		defer timer.Stop()
	}
	defer context.AfterFunc(ctx, func() { h.force(Cancelled) })()
	p.Attend()
	select {
	case <-p.Exited():
	case <-h.failed:
	}
	h.natural()
	return h.why, h.err
}

// halt is the end of a process, once: by itself, or by force.
type halt struct {
	unit    *Unit
	process *proc.Process
	failed  chan struct{} // closed when it could not be ended

	once sync.Once
	why  Outcome // empty: by itself
	err  error
}

// force stops the process. If it has ended, and only what it has written is not dealt
// with yet, that is no force.
func (h *halt) force(why Outcome) {
	h.once.Do(func() {
		select {
		case <-h.process.Exited():
		default:
			h.why = why
		}
		if h.err = stop(h.process, h.unit.Ladder, h.unit.Hurry); h.err != nil {
			close(h.failed)
			h.process.Release()
		}
	})
}

// natural stops what the process has left in its group, or waits until force is through.
func (h *halt) natural() {
	h.once.Do(func() {
		if !awaitGone(h.process) {
			h.err = stop(h.process, h.unit.Ladder, h.unit.Hurry)
		}
	})
}

// stop ends what is left of a process; a ladder without steps is SIGTERM, then SIGKILL.
func stop(p *proc.Process, ladder proc.Ladder, hurry <-chan struct{}) error {
	if len(ladder.Steps) == 0 {
		ladder.Steps = []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: defaultGrace}}
	}
	if hurry == nil {
		return p.Stop(context.Background(), ladder)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	select {
	case <-hurry: // from the beginning: it is not even asked
		cancel()
	default:
	}
	watched := make(chan struct{})
	defer func() { <-watched }()
	over := make(chan struct{})
	defer close(over)
	go func() {
		defer close(watched)
		select {
		case <-hurry:
			cancel()
		case <-over:
		}
	}()
	return p.Stop(ctx, ladder)
}

// collector keeps what is wanted of the output. Each stream has its own goroutine,
// and its own part of the collector.
type collector struct {
	limit int
	kept  []byte
	more  bool
	tail  *proc.Tail
	tell  func(proc.Stream, []byte)
}

func (c *collector) add(stream proc.Stream, data []byte) {
	if c.tell != nil {
		c.tell(stream, data)
	}
	if stream != proc.Stdout {
		c.tail.Write(stream, data)
		return
	}
	room := c.limit - len(c.kept)
	if len(data) > room {
		c.more = c.limit > 0
		data = data[:room]
	}
	c.kept = append(c.kept, data...)
}

// feed gives the input to the process.
type feed struct {
	child *os.File // its end; nil: no input
	ours  bool     // child is to be closed when the process has it
	input io.Reader
	pipe  *os.File // our end; nil: nothing to copy
	done  chan struct{}
}

// newFeed opens what the child reads.
func newFeed(input io.Reader) (*feed, error) {
	f := &feed{done: make(chan struct{})}
	if small, ok := input.(*bytes.Reader); ok && small.Len() == 0 {
		input = nil
	}
	if input == nil {
		return f, nil
	}
	if file, ok := input.(*os.File); ok {
		f.child = file
		return f, nil
	}
	child, pipe, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot create a pipe for its input: %w", err)
	}
	f.child, f.ours, f.pipe, f.input = child, true, pipe, input
	if small, ok := input.(*bytes.Reader); ok && small.Len() <= pipeHolds {
		// No goroutine needs to wait for the process to take it.
		_, err := small.WriteTo(pipe)
		f.pipe, f.input = nil, nil
		if err = errors.Join(err, pipe.Close()); err != nil {
			return nil, fmt.Errorf("cannot write its input into a pipe: %w", errors.Join(err, child.Close()))
		}
	}
	return f, nil
}

// pipeHolds is how many bytes even the smallest pipe takes before anybody reads them (pipe(7)).
const pipeHolds = 4096

// start begins to copy, if the process could be started.
func (f *feed) start(started bool) {
	if f.child != nil && f.ours {
		_ = f.child.Close()
	}
	if f.pipe == nil {
		close(f.done)
		return
	}
	if !started {
		_ = f.pipe.Close()
		close(f.done)
		return
	}
	go func() {
		defer close(f.done)
		// The process need not read its input: then there is nobody to write to.
		_, _ = io.Copy(f.pipe, f.input)
		_ = f.pipe.Close()
	}()
}

// wait ends the copying after the process has ended.
func (f *feed) wait() {
	if f.pipe != nil {
		_ = f.pipe.Close()
	}
	<-f.done
}
