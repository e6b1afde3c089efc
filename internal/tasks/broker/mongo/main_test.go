package mongo

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"procops/integration/harness"
	"procops/internal/tasks/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a server under test.
type server struct {
	url  string
	port int
	dir  string
	cmd  *exec.Cmd
	out  io.Reader
}

// startServer starts a server and waits until it serves.
func startServer(tb testing.TB) *server {
	tb.Helper()
	s := &server{port: harness.FreePort(tb), dir: tb.TempDir()}
	s.url = "mongodb://" + harness.Loopback(s.port)
	s.start(tb)
	tb.Cleanup(s.stop)
	return s
}

func (s *server) start(tb testing.TB) {
	tb.Helper()
	command := harness.MongoServer(tb, s.port, s.dir)
	s.cmd = exec.CommandContext(context.WithoutCancel(tb.Context()), command[0], command[1:]...)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); !strings.HasPrefix(line, "serving ") {
		tb.Fatalf("the server says %q (%v)", line, err)
	}
	s.out = out
}

// stop kills the server.
func (s *server) stop() {
	_ = s.cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, s.out)
	_ = s.cmd.Wait()
}

func open(tb testing.TB, o Options) *Broker {
	tb.Helper()
	o.Timeout = time.Minute
	if !strings.Contains(o.URL, "?") {
		o.URL += "/?serverSelectionTimeoutMS=60000"
	}
	b, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}

// fakeClock is a clock that stands still until it is moved.
type fakeClock struct{ micros atomic.Int64 }

func newFakeClock() *fakeClock {
	c := &fakeClock{}
	c.micros.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *fakeClock) now() time.Time       { return time.UnixMicro(c.micros.Load()) }
func (c *fakeClock) pass(d time.Duration) { c.micros.Add(d.Microseconds()) }

// by makes a queue go by the clock.
func (c *fakeClock) by(b *Broker) *Broker {
	b.now = func(context.Context) (time.Time, error) { return c.now(), nil }
	return b
}

func messages(typ string, runAt time.Time, n int) (list []broker.Message) {
	for i := range n {
		list = append(list, broker.Message{ID: fmt.Sprintf("%s%03d", typ, i), Type: typ, RunAt: runAt, Body: []byte("{}")})
	}
	return list
}
