package supervise

import (
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/internal/proc"
	"procops/internal/unit"
)

// puppet is a service that does what a test says.
type puppet struct {
	calls    ServiceCalls
	quit     chan error // ends Run
	stubborn bool       // it hears no signal, only Hurry

	mu      sync.Mutex
	signals []syscall.Signal
	hurried int
}

func (p *puppet) Run() error { return <-p.quit }

func (p *puppet) Signal(sig proc.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signals = append(p.signals, syscall.Signal(sig))
	if !p.stubborn || p.hurried > 0 {
		p.end(nil)
	}
}

func (p *puppet) Hurry() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hurried++
}

func (p *puppet) Status() string { return "dances" }

func (p *puppet) end(err error) {
	select {
	case p.quit <- err:
	default:
	}
}

// theatre makes puppets and remembers the newest of each name.
type theatre struct {
	mu      sync.Mutex
	newest  map[string]*puppet
	made    int
	dress   func(*puppet)
	refuses error
}

func (t *theatre) make(name string, calls ServiceCalls) (Service, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refuses != nil {
		return nil, t.refuses
	}
	p := &puppet{calls: calls, quit: make(chan error, 1)}
	if t.dress != nil {
		t.dress(p)
	}
	t.newest[name] = p
	t.made++
	return p, nil
}

func (t *theatre) of(name string) *puppet {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.newest[name]
}

// newTheatre runs a tree with the service daemon.a, and a process that needs it.
func newTheatre(t *testing.T, h Hosted, change func(*theatre)) (*rig, *theatre) {
	t.Helper()
	house := &theatre{newest: map[string]*puppet{}}
	if change != nil {
		change(house)
	}
	after := with(forever(), func(p *ProcessConfig) {
		p.DependsOn = []DependencyConfig{{Name: "daemon.a", Condition: ConditionReady}}
	})
	cfg := processes(map[string]ProcessConfig{"after": after})
	cfg.Children = []string{"daemon.a", "after"}
	cfg.Hosted = map[string]Hosted{"daemon.a": h}
	return newRigWith(t, t.TempDir(), cfg, func(d *Deps) { d.NewService = house.make }), house
}

func TestServiceLives(t *testing.T) {
	r, house := newTheatre(t, Hosted{Command: proc.Command{"dance"}, Grace: unit.Duration(time.Minute)}, nil)
	r.await("supervise.process.starting", "daemon.a", 1)
	if got := r.process("after"); got.State != StateWaiting {
		t.Errorf("after is %s before the service is ready", got.State)
	}
	a := house.of("daemon.a")
	a.calls.Output(proc.Stdout, []byte("one\ntw"))
	a.calls.Output(proc.Stdout, []byte("o\n"))
	a.calls.Ready()
	a.calls.Ready() // once is enough
	r.await("supervise.process.running", "after", 1)
	if got := r.process("daemon.a"); got.State != StateRunning || got.PID != 0 || got.StatusText != "dances" || got.Command != "dance" {
		t.Errorf("%+v", got)
	}
	r.do(Request{Action: ActionSignal, Signal: "USR1", Names: []string{"daemon.a"}})
	r.await("supervise.process.completed", "daemon.a", 1) // this puppet ends at any signal, in good order
	if house.made != 1 {
		t.Errorf("%d services were made: one that has ended well was started again", house.made)
	}
}

func TestServiceThatFailsComesBack(t *testing.T) {
	r, house := newTheatre(t, Hosted{Grace: unit.Duration(time.Minute)}, nil)
	r.await("supervise.process.starting", "daemon.a", 1)
	house.of("daemon.a").calls.Ready()
	house.of("daemon.a").end(errors.New("the stage burns"))
	r.await("supervise.process.backoff", "daemon.a", 1)
	if got := r.process("daemon.a"); !strings.Contains(got.Reason, "the stage burns") {
		t.Errorf("reason %q", got.Reason)
	}
	r.await("supervise.process.starting", "daemon.a", 2)
}

func TestServiceThatCannotBeMade(t *testing.T) {
	r, _ := newTheatre(t, Hosted{}, func(house *theatre) { house.refuses = os.ErrPermission })
	r.await("supervise.process.backoff", "daemon.a", 1)
	if got := r.process("daemon.a"); !strings.Contains(got.Reason, "permission denied") {
		t.Errorf("reason %q", got.Reason)
	}
}

// TestServiceIsStopped: by its signal, and when it does not hear that, by force.
func TestServiceIsStopped(t *testing.T) {
	r, house := newTheatre(t, Hosted{Grace: unit.Duration(10 * time.Millisecond)}, func(house *theatre) {
		house.dress = func(p *puppet) { p.stubborn = true }
	})
	r.await("supervise.process.starting", "daemon.a", 1)
	a := house.of("daemon.a")
	a.calls.Ready()
	r.await("supervise.process.running", "after", 1)
	r.do(Request{Action: ActionStop, Names: []string{"daemon.a"}})
	if a.hurried == 0 || a.signals[0] != syscall.SIGTERM {
		t.Errorf("signals %v, hurried %d times", a.signals, a.hurried)
	}
}

func TestServicesOfInstances(t *testing.T) {
	r, house := newTheatre(t, Hosted{Instances: 2, Grace: unit.Duration(time.Minute)}, nil)
	for _, name := range []string{"daemon.a-1", "daemon.a-2"} {
		r.await("supervise.process.starting", name, 1)
		house.of(name).calls.Ready()
	}
	r.await("supervise.process.running", "after", 1)
}
