package cli

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/supervise"
)

const (
	// tailLines is how many lines of the output of a process that did not become
	// ready are shown.
	tailLines = 20
	// commandGrace is how long the command of --then has to end when procops is
	// told to end.
	commandGrace = 10 * time.Second
)

// errTreeFailed is why the command of --then is not run, or is stopped.
var errTreeFailed = errors.New("the tree failed")

// then runs the command of --then once the tree is ready, and then has the tree
// taken down.
type then struct {
	session *session
	tails   tails

	treeDone chan struct{} // closed when the tree has ended
	treeGood bool          // it ended without a failure; set before treeDone is closed
	done     chan struct{} // closed when the command has ended; nil before begin

	// Set before done is closed.
	code int // of the command
	err  error
}

func newThen(s *session) *then { return &then{session: s, treeDone: make(chan struct{})} }

// begin runs the command in the background.
func (t *then) begin(supervisor *supervise.Supervisor) {
	t.done = make(chan struct{})
	go func() {
		defer close(t.done)
		defer t.session.stop(nil)
		if t.err = t.awaitReady(supervisor); t.err == nil {
			t.code, t.err = t.command()
		}
	}()
}

// treeEnded says how the tree ended, and returns when the command has, too.
func (t *then) treeEnded(good bool) {
	if t.done == nil {
		return
	}
	t.treeGood = good
	close(t.treeDone)
	if !good {
		t.session.stop(errTreeFailed)
	}
	<-t.done
}

// awaitReady returns when the whole tree is ready. A tree that has done its
// work and ended is ready.
func (t *then) awaitReady(supervisor *supervise.Supervisor) error {
	late := fault.New(fault.Failure, "the tree is not ready after %v", t.session.opt.timeout)
	ctx, cancel := withLimit(t.session.ctx, t.session.opt.timeout, late)
	defer cancel()
	err := supervisor.WaitReady(ctx, nil)
	if errors.Is(err, late) {
		t.showUnready(supervisor)
	}
	if err == nil {
		_, err = supervisor.Status(t.session.ctx)
	}
	if !fault.Is(err, fault.Unreachable) {
		return err
	}
	<-t.treeDone
	if !t.treeGood {
		return errTreeFailed
	}
	return nil
}

// showUnready prints what the processes that are not ready have said last.
func (t *then) showUnready(supervisor *supervise.Supervisor) {
	status, err := supervisor.Status(t.session.ctx)
	if err != nil {
		return // it has ended: its report says why
	}
	for _, p := range status.Processes {
		if !p.Wanted || p.AsWanted() {
			continue
		}
		t.session.console.note(time.Now(), p.Name, unready(p), red)
		for _, l := range t.tails.of(p.Name) {
			t.session.console.show(l)
		}
	}
}

// unready says what keeps a process from being ready.
func unready(p supervise.ProcessStatus) string {
	text := "is not ready: " + string(p.State)
	if p.Reason != "" {
		text += ", " + p.Reason
	}
	return text
}

// command runs the command and returns its exit code as a shell has it.
func (t *then) command() (int, error) {
	s := t.session
	s.console.say("all is ready; running %s", proc.Command(s.opt.then))
	child, err := s.app.Host().Start(proc.Spec{
		Argv:  s.opt.then,
		Stdin: s.io.Stdin, Stdout: s.io.Stdout, Stderr: s.io.Stderr,
		Foreground: true,
	})
	if err != nil {
		return cannotRun(err), err
	}
	ending := proc.Signal(syscall.SIGTERM)
	select {
	case <-child.Exited():
	case <-s.ctx.Done():
		err = context.Cause(s.ctx)
		if sig, ok := errors.AsType[*signalError](err); ok {
			ending = proc.Signal(sig.signal)
		}
	}
	// Also after a good end: what it has left in the background goes down too.
	stopErr := child.Stop(s.hurryCtx, proc.Ladder{Steps: []proc.Step{{Signal: ending, Wait: commandGrace}}})
	return child.Exit().ShellCode(), errors.Join(err, stopErr)
}

// cannotRun returns the exit code of shells for a command that cannot be run.
func cannotRun(err error) int {
	if errors.Is(err, fs.ErrNotExist) {
		return 127
	}
	return 126
}

// result returns the error that ends procops: with the code of the command
// where it came to its own end.
func (t *then) result(report supervise.Report) error {
	_, bySignal := errors.AsType[*signalError](t.err)
	switch {
	case t.err == nil:
		return asExit(t.code)
	case bySignal:
		return t.err
	case report.ExitCode() != 0:
		return exit(report.ExitCode())
	case t.code != 0:
		printError(t.session.io.Stderr, t.err)
		return exit(t.code)
	}
	return t.err
}

// tails keeps the last lines of each process.
type tails struct {
	mu    sync.Mutex
	lines map[string][]supervise.LogLine
}

func (t *tails) add(l supervise.LogLine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil {
		t.lines = map[string][]supervise.LogLine{}
	}
	kept := t.lines[l.Name]
	if len(kept) >= tailLines {
		kept = kept[:copy(kept, kept[len(kept)-tailLines+1:])]
	}
	t.lines[l.Name] = append(kept, l)
}

func (t *tails) of(name string) []supervise.LogLine {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]supervise.LogLine(nil), t.lines[name]...)
}
