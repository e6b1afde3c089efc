package harness

import (
	"bufio"
	"io"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is a program that goes on running while the test does other things.
type Process struct {
	tb      testing.TB
	cmd     *exec.Cmd
	name    string
	exited  chan struct{} // closed once it has been waited for
	heard   chan struct{} // closed once its output has been read to the end
	mu      sync.Mutex
	lines   []line
	changed chan struct{} // closed and replaced when a line comes
}

type line struct {
	stream string
	text   string
}

// Start starts procops and goes on. It is killed, should it still run when the
// test ends.
func (s *Sandbox) Start(args ...string) *Process {
	s.tb.Helper()
	return s.StartProgram(s.binary, args...)
}

// StartProgram starts any program and goes on.
func (s *Sandbox) StartProgram(program string, args ...string) *Process {
	s.tb.Helper()
	//nolint:noctx // ended by the clean-up below, which runs before the test's context ends
	cmd := exec.Command(program, args...)
	s.prepare(cmd)
	p := &Process{
		tb: s.tb, cmd: cmd, name: commandLine(program, args),
		exited: make(chan struct{}), heard: make(chan struct{}), changed: make(chan struct{}),
	}
	var (
		readers sync.WaitGroup
		pipes   []io.Closer
	)
	for stream, pipe := range map[string]func() (io.ReadCloser, error){"stdout": cmd.StdoutPipe, "stderr": cmd.StderrPipe} {
		out, err := pipe()
		if err != nil {
			s.tb.Fatal(err)
		}
		pipes = append(pipes, out)
		readers.Go(func() { p.read(stream, out) })
	}
	if err := cmd.Start(); err != nil {
		s.tb.Fatalf("cannot start %s: %v", p.name, err)
	}
	go func() {
		readers.Wait()
		close(p.heard)
	}()
	go func() {
		defer close(p.exited)
		state, _ := cmd.Process.Wait()
		cmd.ProcessState = state
	}()
	s.tb.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
		// Somebody who escaped may hold the other end open.
		for _, pipe := range pipes {
			_ = pipe.Close()
		}
		<-p.heard
	})
	return p
}

// read collects the lines of a stream until its end.
func (p *Process) read(stream string, from io.Reader) {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, line{stream, scanner.Text()})
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
}

// PID returns the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// WaitLine waits until a line of either stream matches the pattern, lines that
// have come already included, and returns it.
func (p *Process) WaitLine(pattern string) string {
	p.tb.Helper()
	return p.WaitLines(pattern, 1)[0]
}

// WaitLines waits until at least n lines match the pattern and returns all
// that do.
func (p *Process) WaitLines(pattern string, n int) []string {
	p.tb.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	for {
		found, changed := p.matching(re)
		if len(found) >= n {
			return found
		}
		select {
		case <-changed:
		case <-p.exited:
			// The last lines may still be on their way through the pipe.
			if !waitUntil(time.Second, func() bool { found, _ = p.matching(re); return len(found) >= n }) {
				p.tb.Fatalf("%s ended before %d lines matched %q; it said:\n%s", p.name, n, pattern, p.Output())
			}
		case <-deadline.C:
			p.tb.Fatalf("%s: %d lines matched %q within %s, want %d; it said:\n%s", p.name, len(found), pattern, Patience, n, p.Output())
		}
	}
}

func (p *Process) matching(re *regexp.Regexp) (found []string, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if re.MatchString(l.text) {
			found = append(found, l.text)
		}
	}
	return found, p.changed
}

// Output returns all lines that have come so far, in the order they came.
func (p *Process) Output() string { return p.text("stdout", "stderr") }

// Stdout returns the lines on standard output so far.
func (p *Process) Stdout() string { return p.text("stdout") }

// Stderr returns the lines on standard error so far.
func (p *Process) Stderr() string { return p.text("stderr") }

func (p *Process) text(streams ...string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, l := range p.lines {
		for _, s := range streams {
			if l.stream == s {
				b.WriteString(l.text + "\n")
			}
		}
	}
	return b.String()
}

// Signal sends a signal to the process alone.
func (p *Process) Signal(sig syscall.Signal) {
	p.tb.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.tb.Fatalf("cannot send %s to %s: %v", sig, p.name, err)
	}
}

// SignalGroup sends a signal to the process and those of its group, as the
// terminal does on Ctrl-C.
func (p *Process) SignalGroup(sig syscall.Signal) {
	p.tb.Helper()
	if err := syscall.Kill(-p.PID(), sig); err != nil {
		p.tb.Fatalf("cannot send %s to the group of %s: %v", sig, p.name, err)
	}
}

// Exited reports whether the process has ended.
func (p *Process) Exited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// lastWords is how long Wait waits, after the end of a process, for output that
// is still in the pipe. Somebody it has left behind may hold the pipe open.
const lastWords = time.Second

// Wait waits for the end of the process and of its output, and returns its
// code, 128 + n after signal n.
func (p *Process) Wait() int {
	p.tb.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	select {
	case <-p.exited:
		select {
		case <-p.heard:
		case <-time.After(lastWords):
		}
		return exitCode(p.cmd.ProcessState)
	case <-deadline.C:
		p.tb.Fatalf("%s did not end within %s; it said:\n%s", p.name, Patience, p.Output())
		return -1
	}
}

// WantExit waits for the end of the process and fails the test unless it ends
// with code.
func (p *Process) WantExit(code int) {
	p.tb.Helper()
	if got := p.Wait(); got != code {
		p.tb.Fatalf("%s ended with code %d, want %d; it said:\n%s", p.name, got, code, p.Output())
	}
}
