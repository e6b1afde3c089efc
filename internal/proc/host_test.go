package proc

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what should come at once.
const patience = 20 * time.Second

func newTestHost(tb testing.TB, o HostOptions) *Host {
	tb.Helper()
	h, err := NewHost(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return h
}

func closeLater(tb testing.TB, c io.Closer) {
	tb.Helper()
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
}

func mustStart(tb testing.TB, h *Host, s Spec) *Process {
	tb.Helper()
	p, err := h.Start(s)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func await(tb testing.TB, what string, c <-chan struct{}) {
	tb.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		tb.Fatalf("%s: not after %v", what, patience)
	}
}

// shSpec is a shell script.
func shSpec(script string) Spec { return Spec{Argv: []string{"/bin/sh", "-c", script}} }

// output collects what a process writes and lets a test wait for a line.
type output struct {
	mu    sync.Mutex
	text  map[Stream]*bytes.Buffer
	lines chan string
}

func newOutput() *output {
	return &output{text: map[Stream]*bytes.Buffer{Stdout: {}, Stderr: {}, Progress: {}}, lines: make(chan string, 10000)}
}

func (o *output) add(l Line) {
	o.mu.Lock()
	defer o.mu.Unlock()
	buf := o.text[l.Stream]
	buf.Write(l.Text)
	if !l.Partial {
		buf.WriteByte('\n')
	}
	select {
	case o.lines <- string(l.Text):
	default:
	}
}

// addAll is add for many lines.
func (o *output) addAll(lines []Line) {
	for _, l := range lines {
		o.add(l)
	}
}

func (o *output) get(s Stream) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text[s].String()
}

func (o *output) await(tb testing.TB, prefix string) string {
	tb.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line := <-o.lines:
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return rest
			}
		case <-deadline:
			tb.Fatalf("no line that begins with %q", prefix)
		}
	}
}

// run runs a program to its end and returns what it wrote.
func run(tb testing.TB, h *Host, s Spec) (stdout, stderr string, exit Exit) {
	tb.Helper()
	out := newOutput()
	s.Output = out.add
	p := mustStart(tb, h, s)
	await(tb, "end of "+s.Argv[0], p.Gone())
	return out.get(Stdout), out.get(Stderr), p.Exit()
}

func TestStartCapturesBothStreams(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	stdout, stderr, exit := run(t, h, shSpec("echo one; echo two >&2; printf three; exit 3"))
	if stdout != "one\nthree" || stderr != "two\n" || exit.Code != 3 {
		t.Errorf("got %q, %q, exit %+v", stdout, stderr, exit)
	}
}

func TestExitCodes(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	for code := range 256 {
		_, _, exit := run(t, h, shSpec(fmt.Sprintf("exit %d", code)))
		if exit.Code != code || exit.Signal != 0 || exit.ShellCode() != code {
			t.Errorf("exit %d: got %+v", code, exit)
		}
	}
}

func TestStopEndsGrandchildrenThatIgnoreTerm(t *testing.T) {
	h := newTestHost(t, HostOptions{Subreaper: true, Guard: true})
	out := newOutput()
	s := shSpec(`(trap "" TERM; echo ready; while :; do sleep 1; done) & wait`)
	s.Output = out.add
	p := mustStart(t, h, s)
	out.await(t, "ready")
	begin := time.Now()
	err := p.Stop(context.Background(), Ladder{Steps: []Step{{Signal(syscall.SIGTERM), 100 * time.Millisecond}}})
	if err != nil {
		t.Fatal(err)
	}
	if n := groupMembers(p.PID()); n != 0 {
		t.Errorf("%d processes of the group are left", n)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}
