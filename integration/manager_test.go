package integration

import (
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"procops/integration/harness"
	"procops/internal/sdnotify"
)

// manager stands for the service manager above procops: it hears what procops says to it.
type manager struct {
	socket *sdnotify.Socket
	ended  chan struct{}

	mu    sync.Mutex
	heard []string
}

func newManager(t *testing.T, s *harness.Sandbox) *manager {
	t.Helper()
	socket, err := sdnotify.Open()
	check(t, err)
	m := &manager{socket: socket, ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		socket.Listen(func(int) bool { return true }, m.hear, func(int) {})
	}()
	t.Cleanup(func() { socket.Finish(); <-m.ended })
	s.Setenv("NOTIFY_SOCKET", socket.Name)
	return m
}

func (m *manager) hear(said sdnotify.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for text, is := range map[string]bool{"ready": said.Ready, "alive": said.Alive, "stopping": said.Stopping} {
		if is {
			m.heard = append(m.heard, text)
		}
	}
}

func (m *manager) await(t *testing.T, what string, times int) {
	t.Helper()
	harness.Eventually(t, what+" is heard", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		n := 0
		for _, text := range m.heard {
			if text == what {
				n++
			}
		}
		return n >= times
	})
}

// TestServiceManagerIsTold: under systemd procops says itself when it is up, that it lives
// and that it goes; an upgrade and its own children change nothing of that.
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	for name, line := range map[string][]string{
		"supervise": {"supervise", "run"},
		"daemon":    {"daemon", "run", "report"},
	} {
		s := harness.NewShipped(t)
		m := newManager(t, s)
		s.Setenv("WATCHDOG_USEC", "100000")
		s.Config(`
[supervise.process.web]
command = "echo socket=$NOTIFY_SOCKET usec=$WATCHDOG_USEC; exec sleep 1000"
[daemon.report]
command = "echo socket=$NOTIFY_SOCKET usec=$WATCHDOG_USEC"
sleep = "100s"
`)
		p := s.Start(line...)
		m.await(t, "ready", 1)
		m.await(t, "alive", 3)
		p.WaitLine(`socket= usec=$`)
		if name == "supervise" {
			s.Want(0, "supervise", "upgrade")
			m.await(t, "ready", 2)
		}
		p.Signal(syscall.SIGTERM)
		p.WantExit(0)
		if name == "supervise" {
			m.await(t, "stopping", 1)
		}
		if slices.Contains(strings.Fields(p.Output()), "error:") {
			t.Errorf("%s: %s", name, p.Output())
		}
	}
}

// TestServiceManagerIsNotForOthers: a watchdog that is meant for another process is not
// fed.
func TestServiceManagerIsNotForOthers(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	m := newManager(t, s)
	s.Setenv("WATCHDOG_USEC", "100000")
	s.Setenv("WATCHDOG_PID", "1")
	s.Config("[supervise.process.web]\ncommand = 'exec sleep 1000'\n")
	p := s.Start("supervise", "run")
	m.await(t, "ready", 1)
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	m.await(t, "stopping", 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(m.heard, "alive") {
		t.Errorf("heard %q", m.heard)
	}
}
