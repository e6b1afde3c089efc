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
	if w.NoOverlap {
		release, code, err := w.lock(ctx)
		if err != nil || code != 0 {
			return code, err
		}
		defer release()
	}
	x := &execution{Wrap: w, recorder: newRecorder(ctx, w.Open, p)}
	return x.run(ctx, host)
}

// lock waits for the end of other runs. A signal meanwhile ends the waiting as
// it would have ended the command.
func (w Wrap) lock(ctx context.Context) (release func(), code int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type outcome struct {
		release func()
		err     error
	}
	locked := make(chan outcome, 1)
	go func() {
		release, err := lockRun(ctx, w.LockDir, w.Name, w.Wait)
		locked <- outcome{release, err}
	}()
	var ended syscall.Signal
	for {
		select {
		case o := <-locked:
			if ended == 0 {
				return o.release, 0, o.err
			}
			if o.err == nil {
				o.release()
			}
			return nil, 128 + int(ended), nil
		case s := <-w.Signals:
			if sig, ok := s.(syscall.Signal); ok && sig != syscall.SIGPIPE {
				ended = sig
				cancel()
			}
		}
	}
}

// execution is one run of a command under way.
type execution struct {
	Wrap
	recorder *recorder
	record   Run
	client   Client
}

func (x *execution) run(ctx context.Context, host *proc.Host) (int, error) {
	x.record = Run{Name: x.Name, Program: x.Argv[0], State: RunRunning, Started: time.Now()}
	if err := x.recorder.start(ctx, x.record); err != nil {
		x.warn("start", err)
	}
	cause := x.execute(host)
	x.record.Ended = time.Now()
	x.record.Duration = x.record.Ended.Sub(x.record.Started)
	x.client.Uptime = x.record.Duration
	if err := x.recorder.end(ctx, x.record, x.client); err != nil {
		x.warn("end", err)
	}
	return x.record.Code, cause
}

func (x *execution) warn(what string, err error) {
	x.Warn(fault.Wrap(fault.Failure, err, "cannot record the %s of this run of %q", what, x.Name))
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
	})
	t.started()
	if err != nil {
		t.finish(0)
		return x.notStarted(err)
	}
	x.client.PID = p.PID()
	tooLong := x.attend(p)
	x.record.Output = t.finish(drainPatience)
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
			passOn(p, s)
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
		stopped <- p.Stop(ctx, proc.Ladder{Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: x.recorder.patience.kill}}})
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

func endsProgram(s os.Signal) bool {
	return s == syscall.SIGTERM || s == syscall.SIGINT || s == syscall.SIGQUIT || s == syscall.SIGHUP
}

// passOn hands a signal to the command. One that ends programs goes to its whole
// group, as Ctrl-C on a terminal does; the others go to the command alone,
// because whatever it has started may not expect them.
func passOn(p *proc.Process, s os.Signal) {
	sig, ok := s.(syscall.Signal)
	switch {
	case !ok || sig == syscall.SIGPIPE: // SIGPIPE was meant for procops' own writing
	case sig == syscall.SIGTERM || sig == syscall.SIGINT || sig == syscall.SIGQUIT:
		_ = p.SignalGroup(proc.Signal(sig))
	default:
		_ = p.Signal(proc.Signal(sig))
	}
}
