package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/unit"
)

// The exit codes that Run makes itself; otherwise it passes on its command's.
const (
	CodeTimeout       = 124 // as timeout(1)
	CodeNotExecutable = 126 // as a shell
	CodeNotFound      = 127 // as a shell
)

// drainPatience is how long output is waited for that a background process of
// the command may still write.
const drainPatience = 250 * time.Millisecond

// Wrap says how Run runs a command.
type Wrap struct {
	Name                  string // of the heartbeat
	Argv                  []string
	Stdin, Stdout, Stderr *os.File
	Signals               <-chan os.Signal // signals to procops, which go on to the command
	OtherSignals          <-chan os.Signal // more of them, which matter only while it runs
	MaxRuntime            time.Duration    // 0: no limit
	NoOverlap             bool             // refuse to run while another run of Name is under way
	Wait                  bool             // with NoOverlap: wait for its end instead
	LockDir               string           // where the locks of NoOverlap are

	// Open opens the list that the run is recorded in, and returns how to close it
	// again. Both are called in a goroutine of their own; their failure, or their
	// taking long, does not keep the command from running.
	Open func(context.Context) (list *List, shut func() error, err error)
	// Warn tells the user what could not be recorded.
	Warn func(error)
}

// Run runs a command as if procops were not there: its input, its output, its
// signals and its exit code pass through. It records the start and the end, and
// beats with the outcome. code is what the process should exit with. An error
// means that the command was not started: a fault.Conflict when another run is
// under way, otherwise with code 126 or 127.
func (w Wrap) Run(ctx context.Context, host *proc.Host) (code int, err error) {
	return w.run(ctx, host, usualPatience())
}

func (w Wrap) run(ctx context.Context, host *proc.Host, p patience) (code int, err error) {
	if err := CheckName(w.Name); err != nil {
		return 0, err
	}
	x := &execution{Wrap: w, patience: p}
	if w.NoOverlap {
		code, err := x.takeTurn(ctx)
		if err != nil || code != 0 {
			return code, err
		}
		defer x.lock.free()
	}
	x.recorder = newRecorder(ctx, w.Open)
	return x.run(ctx, host)
}

// execution is one run of a command under way.
type execution struct {
	Wrap
	patience patience
	lock     *runLock // with NoOverlap
	recorder *recorder
	record   Run
	client   Client
	early    []os.Signal    // came before there was a command to get them
	asked    syscall.Signal // the last that asked it to end, 0 if none did
	hurry    bool           // one came when there was no command to get it
}

func (x *execution) run(ctx context.Context, host *proc.Host) (int, error) {
	x.record = Run{Name: x.Name, Program: x.Argv[0], State: RunRunning, Started: time.Now()}
	err := x.awaitStart(x.recorder.start(ctx, x.record))
	if err != nil && x.asked == 0 {
		x.warn("start", err)
	}
	var cause error
	if x.asked != 0 {
		x.ended(128+int(x.asked), fmt.Sprintf("ended by signal %s before it was started", proc.Signal(x.asked)))
	} else {
		cause = x.execute(host)
	}
	x.record.Ended = time.Now()
	x.record.Duration = x.record.Ended.Sub(x.record.Started)
	x.client.Uptime = x.record.Duration
	if err := x.awaitEnd(x.recorder.end(ctx, x.record, x.client)); err != nil {
		x.warn("end", err)
	}
	return x.record.Code, cause
}

// awaitStart waits until the start is recorded, though not for long. A signal that
// would have ended the command ends the waiting, and the command is not started.
func (x *execution) awaitStart(outcome <-chan error) error {
	timeout := time.NewTimer(x.patience.start)
	defer timeout.Stop()
	for {
		select {
		case err := <-outcome:
			x.lookForSignals()
			return err
		case <-timeout.C:
			return errSlow
		case s := <-x.Signals:
			if x.came(s); x.asked != 0 {
				return errSlow
			}
		}
	}
}

// lookForSignals takes those that have come already.
func (x *execution) lookForSignals() {
	for x.asked == 0 {
		select {
		case s := <-x.Signals:
			x.came(s)
		default:
			return
		}
	}
}

// came notes a signal that came before the command was there to get it.
func (x *execution) came(s os.Signal) {
	if sig, ok := s.(syscall.Signal); ok && endsProgram(s) {
		x.asked, x.hurry = sig, true
		return
	}
	x.early = append(x.early, s)
}

// awaitEnd waits until the end is recorded. A signal cannot reach the command any
// more: it hurries. What hangs then is left to itself, because the process ends.
func (x *execution) awaitEnd(outcome <-chan error) error {
	patience := x.patience.end
	if x.hurry {
		patience = x.patience.hurry
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case err := <-outcome:
			<-x.recorder.done
			return err
		case <-timeout.C:
			return errSlow
		case s := <-x.Signals:
			if endsProgram(s) && !x.hurry {
				x.hurry = true
				timeout.Reset(x.patience.hurry)
			}
		}
	}
}

// warn tells the user, but waits no longer for a reader that does not read than
// for the state.
func (x *execution) warn(what string, err error) {
	told := make(chan struct{})
	go func() {
		defer close(told)
		x.Warn(fault.Wrap(fault.Failure, err, "cannot record the %s of this run of %q", what, x.Name))
	}()
	patience := time.NewTimer(x.patience.start)
	defer patience.Stop()
	select {
	case <-told:
	case <-patience.C:
	}
}

// execute runs the command and notes how it ended.
func (x *execution) execute(host *proc.Host) error {
	t, err := newTees(x.Stdout, x.Stderr)
	if err != nil {
		x.ended(1, err.Error())
		return err
	}
	p, err := host.Start(proc.Spec{
		Argv: x.Argv, Foreground: true,
		Stdin: x.Stdin, Stdout: t.stdout, Stderr: t.stderr,
		Inherit: true,
	})
	t.started()
	if err != nil {
		<-t.finish(0)
		return x.notStarted(err)
	}
	x.client.PID = p.PID()
	for _, s := range x.early {
		x.forward(p, s)
	}
	tooLong := x.attend(p)
	x.awaitOutput(t.finish(drainPatience), tooLong)
	x.record.Output = t.tail.bytes()
	x.judge(p.Exit(), tooLong)
	return nil
}

// notStarted gives a command that could not be started the exit code of a shell.
func (x *execution) notStarted(err error) error {
	code := CodeNotExecutable
	if errors.Is(err, fs.ErrNotExist) {
		code = CodeNotFound
	}
	x.ended(code, err.Error())
	return err
}

func (x *execution) judge(exit proc.Exit, tooLong bool) {
	x.client.Memory = exit.MaxRSS
	switch {
	case tooLong:
		x.ended(CodeTimeout, fmt.Sprintf("ended after --max-runtime %s", unit.Duration(x.MaxRuntime)))
	case exit.Signal != 0:
		x.ended(exit.ShellCode(), fmt.Sprintf("ended by signal %s", proc.Signal(exit.Signal)))
	case exit.Code != 0:
		x.ended(exit.Code, fmt.Sprintf("failed with exit code %d", exit.Code))
	default:
		x.ended(0, "")
	}
}

func (x *execution) ended(code int, message string) {
	x.record.State, x.record.Code, x.record.Message = RunFailed, code, message
	if code == 0 {
		x.record.State = RunSucceeded
	}
}

// attend passes signals on until the command has ended. It returns true if the
// command ran too long; then its whole group has ended.
func (x *execution) attend(p *proc.Process) (tooLong bool) {
	var limit <-chan time.Time
	if x.MaxRuntime > 0 {
		timer := time.NewTimer(x.MaxRuntime)
		defer timer.Stop()
		limit = timer.C
	}
	for {
		select {
		case <-p.Exited():
			return false
		case s := <-x.Signals:
			x.forward(p, s)
		case s := <-x.OtherSignals:
			x.forward(p, s)
		case <-limit:
			x.stop(p)
			return true
		}
	}
}

// stop ends the command with all that it has started. A signal hurries.
func (x *execution) stop(p *proc.Process) {
	ctx, hurry := context.WithCancel(context.Background())
	defer hurry()
	stopped := make(chan error, 1)
	go func() {
		stopped <- p.Stop(ctx, proc.Ladder{Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: x.patience.kill}}})
	}()
	for {
		select {
		case err := <-stopped:
			if err != nil {
				x.Warn(err)
			}
			return
		case s := <-x.Signals:
			if endsProgram(s) {
				hurry()
			}
		}
	}
}

// awaitOutput waits until the output has been passed on. Whoever reads it decides
// how long that takes; but when the command was to end, a reader that has stopped
// reading does not hold up the end for ever, and a further signal ends it at once.
func (x *execution) awaitOutput(passed <-chan struct{}, tooLong bool) {
	var limit <-chan time.Time
	if tooLong || x.asked != 0 {
		timer := time.NewTimer(x.patience.reader)
		defer timer.Stop()
		limit = timer.C
	}
	for {
		select {
		case <-passed:
			return
		case <-limit:
			return
		case s := <-x.Signals:
			if endsProgram(s) {
				x.hurry = true
				return
			}
		}
	}
}

// forward hands a signal to the command and notes one that asks it to end.
func (x *execution) forward(p *proc.Process, s os.Signal) {
	err := passOn(p, s)
	if sig, ok := s.(syscall.Signal); ok && endsProgram(s) {
		x.asked = sig
		x.hurry = x.hurry || errors.Is(err, os.ErrProcessDone)
	}
}

// endsProgram reports whether a signal asks a program to end. One that procops
// was started with ignored, as by nohup, means nothing to the command either.
func endsProgram(s os.Signal) bool {
	sig, ok := s.(syscall.Signal)
	asks := sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT || sig == syscall.SIGHUP
	return ok && asks && !proc.IgnoredAtStart(proc.Signal(sig))
}

// passOn hands a signal to the command. One that ends programs goes to its whole
// group, as Ctrl-C on a terminal does; the others go to the command alone,
// because whatever it has started may not expect them.
func passOn(p *proc.Process, s os.Signal) error {
	sig, ok := s.(syscall.Signal)
	switch {
	case !ok || sig == syscall.SIGPIPE: // SIGPIPE was meant for procops' own writing
		return nil
	case sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT:
		return p.SignalGroup(proc.Signal(sig))
	default:
		return p.Signal(proc.Signal(sig))
	}
}
