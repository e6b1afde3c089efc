package supervise

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"procops/internal/event"
	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/store"
	"procops/internal/unit"
)

// patience is how long a test waits for something that should come at once.
const patience = 20 * time.Second

// testToken marks this program's processes only: tests may run side by side.
func testToken() string { return "supervise-test-" + strconv.Itoa(os.Getpid()) }

// host starts the processes of all tests.
var host *proc.Host //nolint:gochecknoglobals // there can be one reaper in a program, and TestMain is where it begins

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		host, err = proc.NewHost(proc.HostOptions{Subreaper: true, RunToken: testToken()})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		code := m.Run()
		if err := host.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := goleak.Find(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}())
}

// rig is a supervisor under test, with real processes and a real store.
type rig struct {
	t      *testing.T
	dir    string
	store  *store.Store
	bus    *event.Bus
	s      *Supervisor
	cancel context.CancelFunc
	ended  chan outcome

	mu    sync.Mutex
	seen  []event.Event
	fresh *sync.Cond
}

type outcome struct {
	report Report
	err    error
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	return newRigIn(t, t.TempDir(), cfg)
}

func newRigIn(t *testing.T, dir string, cfg Config) *rig {
	t.Helper()
	return newRigWith(t, dir, cfg)
}

// alone is a change for newRigWith in a parallel subtest: the supervisor takes the
// processes of its siblings for nobody's of its own.
func alone(d *Deps) { d.RunToken += "-" + rand.Text()[:12] }

// newRigWith is newRigIn with something else in what the supervisor needs.
func newRigWith(t *testing.T, dir string, cfg Config, changes ...func(*Deps)) *rig {
	t.Helper()
	r := &rig{t: t, dir: dir, bus: event.NewBus("test"), ended: make(chan outcome, 1)}
	r.fresh = sync.NewCond(&r.mu)
	r.bus.Subscribe("*", func(e event.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.seen = append(r.seen, e)
		r.fresh.Broadcast()
	})
	var err error
	r.store, err = store.Open(t.Context(), dir, store.Options{Bus: r.bus})
	if err != nil {
		t.Fatal(err)
	}
	deps := Deps{
		Host: host, Store: r.store, Bus: r.bus, Log: zerolog.New(zerolog.NewTestWriter(t)),
		StateDir: dir, RunToken: testToken(), LogDir: filepath.Join(dir, "logs"),
	}
	for _, change := range changes {
		change(&deps)
	}
	r.s, err = New(t.Context(), cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	t.Cleanup(func() {
		cancel()
		r.s.Hurry()
		r.report()
		if err := r.store.Close(); err != nil {
			t.Error(err)
		}
	})
	go func() {
		report, err := r.s.Run(ctx)
		r.ended <- outcome{report, err}
	}()
	return r
}

// report waits for the end of the tree.
func (r *rig) report() Report {
	r.t.Helper()
	select {
	case o := <-r.ended:
		r.ended <- o
		if o.err != nil {
			r.t.Errorf("Run: %v", o.err)
		}
		return o.report
	case <-time.After(patience):
		r.t.Fatalf("the tree did not end; events:\n%s", r.history())
		return Report{}
	}
}

// await waits until n events of a type about a subject were published.
func (r *rig) await(typ, subject string, n int) event.Event {
	r.t.Helper()
	timer := time.AfterFunc(patience, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fresh.Broadcast()
	})
	defer timer.Stop()
	deadline := time.Now().Add(patience)
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		count := 0
		for _, e := range r.seen {
			if e.Type == typ && e.Subject == subject {
				if count++; count == n {
					return e
				}
			}
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("no %d. event %s of %s; events:\n%s", n, typ, subject, historyOf(r.seen))
		}
		r.fresh.Wait()
	}
}

// order returns the subjects of the events of a type, in order.
func (r *rig) order(typ string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var subjects []string
	for _, e := range r.seen {
		if e.Type == typ {
			subjects = append(subjects, e.Subject)
		}
	}
	return subjects
}

func (r *rig) history() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return historyOf(r.seen)
}

func historyOf(events []event.Event) string {
	var b strings.Builder
	for _, e := range events {
		data, _ := e.DataJSON()
		fmt.Fprintf(&b, "  %s %s %s\n", e.Type, e.Subject, data)
	}
	return b.String()
}

func (r *rig) do(req Request) []Result {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	results, err := r.s.Do(ctx, req)
	if err != nil {
		r.t.Fatalf("%s %v: %v", req.Action, req.Names, err)
	}
	return results
}

func (r *rig) process(name string) ProcessStatus {
	r.t.Helper()
	st, err := r.s.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, p := range st.Processes {
		if p.Name == name {
			return p
		}
	}
	r.t.Fatalf("no process %q in the status", name)
	return ProcessStatus{}
}

// sh is a process with the defaults of the config, that runs a shell script.
func sh(script string) ProcessConfig {
	return ProcessConfig{
		Command:      proc.Command{"/bin/sh", "-c", script},
		Autostart:    true,
		Restart:      RestartNever,
		SuccessCodes: []int{0},
		Backoff:      fastBackoff(),
		HealthyAfter: unit.Duration(time.Hour),
		Ready:        ReadyConfig{Interval: unit.Duration(5 * time.Millisecond), TryTimeout: unit.Duration(5 * time.Second), Timeout: unit.Duration(time.Minute)},
		Stop:         StopConfig{Signal: proc.Signal(syscall.SIGTERM), Grace: unit.Duration(10 * time.Second)},
		Output:       OutputConfig{Format: formatText},
	}
}

func fastBackoff() launch.Backoff {
	return launch.Backoff{Initial: unit.Duration(time.Millisecond), Factor: 1, Max: unit.Duration(time.Millisecond)}
}

// forever is a process that runs until it is stopped.
func forever() ProcessConfig { return sh("exec sleep 1000") }

// count returns how many lines a file has; scripts append to it to leave a trace.
func count(t *testing.T, path string) int {
	t.Helper()
	raw, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(raw), "\n")
}

func alive(t *testing.T, pidFile string) bool {
	t.Helper()
	raw, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	return syscall.Kill(pid, 0) == nil
}

// touch makes a file for which a script waits.
func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
