package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	stdio "io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"procops/internal/app"
	"procops/internal/fault"
	"procops/internal/proc"
)

// background is a procops that was started in a session of its own, so that the end of
// this one's terminal does not reach it.
type background struct {
	what    string // "the supervisor"
	process *os.Process
	exited  chan int // gets its exit code
	log     string
	before  int64 // size of the log when it was started
}

// flagBackground is how procops tells the one that it has started that that is in the
// background.
const flagBackground = "background"

// startUp starts procops in the background with a command line that has flagBackground,
// and waits until it says that it is up. If it does not, it is printed why.
func startUp(ctx context.Context, io IO, a *app.App, what, log string, line []string) (*background, error) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", what, err)
	}
	defer func() { _ = ours.Close() }()
	b, err := startBackground(a, what, log, line, theirs)
	_ = theirs.Close()
	if err != nil {
		return nil, err
	}
	said, err := b.awaitUp(ctx, ours)
	if err != nil {
		return nil, err
	}
	before, up := bytes.CutSuffix(said, []byte(upMark))
	if _, err := io.Stderr.Write(before); err != nil {
		return nil, err
	}
	if !up {
		return nil, exit(max(1, <-b.exited))
	}
	return b, nil
}

// startBackground starts procops with a command line; what it prints goes to the end of
// the log file. With a pipe, that is its standard error, and the log its descriptor 3.
func startBackground(a *app.App, what, log string, line []string, pipe *os.File) (*background, error) {
	b := &background{what: what, log: log, exited: make(chan int, 1)}
	if err := b.start(a, line, pipe); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", what, err)
	}
	go b.wait()
	return b, nil
}

func (b *background) start(a *app.App, line []string, pipe *os.File) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if err := a.MakeStateDir(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(b.log), 0o750); err != nil {
		return err
	}
	log, err := os.OpenFile(b.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the other has its own
	if info, err := log.Stat(); err == nil {
		b.before = info.Size()
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	files := []*os.File{null, log, log}
	if pipe != nil {
		files = []*os.File{null, log, pipe, log}
	}
	b.process, err = os.StartProcess(program, line, &os.ProcAttr{
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	return err
}

// baseLine is the beginning of the command line of a procops in the background, with the
// config and the state directory that this process has found.
func baseLine(a *app.App) []string {
	line := []string{procopsName, "--" + flagStateDir, a.StateDir}
	if path := a.Config.Path(); path != "" {
		if absolute, err := filepath.Abs(path); err == nil {
			path = absolute // for who looks at the list of processes
		}
		line = append(line, "--"+flagConfig, path)
	}
	return line
}

func (b *background) wait() {
	code := int(fault.Failure)
	if state, err := b.process.Wait(); err == nil {
		code = state.ExitCode()
	}
	b.exited <- code
}

// failed prints what it has written and returns its exit code.
func (b *background) failed(code int, stderr stdio.Writer) error {
	written, err := b.written()
	if err != nil || len(bytes.TrimSpace(written)) == 0 {
		return fault.New(fault.Failure, "%s has ended with exit code %d", b.what, code).WithHint("see %q", b.log)
	}
	if _, err := stderr.Write(written); err != nil {
		return err
	}
	return exit(code)
}

func (b *background) written() ([]byte, error) {
	f, err := os.Open(b.log)
	if err != nil {
		return nil, err
	}
	const most = 64 << 10
	text, err := stdio.ReadAll(stdio.NewSectionReader(f, b.before, most))
	return text, errors.Join(err, f.Close())
}

// awaitUp returns what it has said until it was up, or has ended.
func (b *background) awaitUp(ctx context.Context, pipe *os.File) ([]byte, error) {
	type answer struct {
		said []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		said, err := stdio.ReadAll(pipe)
		answers <- answer{said, err}
	}()
	select {
	case a := <-answers:
		return a.said, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx) // it goes on by itself
	}
}

// backgroundUmask is that of daemons, by old custom.
const backgroundUmask = 0o027

// settleInBackground is what one that was started by startUp does first.
func settleInBackground() {
	syscall.Umask(backgroundUmask)
	syscall.CloseOnExec(logFD)
}

// logFD is the descriptor of the log of one in the background. Until it is up its
// standard error is a pipe to whoever has started it.
const logFD = 3

// upMark is what it writes there last of all, when it is up.
const upMark = "\x00"

// tellStarter returns what tells whoever has started this that it is up. If it is
// not, its end tells, and the error that is printed then.
func tellStarter(io IO) func(error) {
	return func(err error) {
		if err != nil {
			return
		}
		_, _ = io.Stderr.WriteString(upMark) // if nobody waits any more, it is up all the same
		_ = syscall.Dup3(logFD, int(io.Stderr.Fd()), 0)
		_ = syscall.Close(logFD)
	}
}

// stopLook is the time between two looks whether somebody has ended.
const stopLook = 10 * time.Millisecond

// awaitEnd waits until a process has ended.
func awaitEnd(ctx context.Context, id proc.Identity) error {
	look := time.NewTicker(stopLook)
	defer look.Stop()
	for id.Alive() {
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
