package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"procops/internal/event"
	"procops/internal/proc"
	"procops/internal/store"
	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/sqlite"
	"procops/internal/unit"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// deadline bounds every wait of these tests.
const deadline = 20 * time.Second

// world is a queue in a new state directory, and a host for handlers.
type world struct {
	*Queue
	t      testing.TB
	dir    string // working directory of the handlers
	broker *faulty
	host   *proc.Host
	bus    *event.Bus
}

// newWorld makes a world whose handlers work in a directory of their own.
func newWorld(t *testing.T, cfg Config) *world {
	t.Helper()
	st, err := store.Open(t.Context(), t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	host, err := proc.NewHost(proc.HostOptions{Subreaper: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, dir: t.TempDir(), broker: &faulty{Broker: sqlite.New(st)}, host: host, bus: event.NewBus("test")}
	w.Queue = New(st, w.broker, w.defaults(cfg))
	return w
}

// defaults fills in what the configuration would, but with short times.
func (w *world) defaults(cfg Config) Config {
	short := func(d *unit.Duration, value time.Duration) {
		if *d == 0 {
			*d = unit.Duration(value)
		}
	}
	short(&cfg.Lease, time.Minute)
	short(&cfg.Retry.Initial, time.Millisecond)
	short(&cfg.Retry.Max, time.Millisecond)
	short(&cfg.StopGrace, deadline)
	cfg.Workers, cfg.MaxAttempts, cfg.MaxCrashes = max(cfg.Workers, 1), max(cfg.MaxAttempts, 1), max(cfg.MaxCrashes, 1)
	for name, typ := range cfg.Types {
		typ.Dir = w.dir
		cfg.Types[name] = typ
	}
	return cfg
}

// script is a type of task that a shell script runs.
func script(text string) Type { return Type{Command: proc.Command{"/bin/sh", "-c", text}} }

// only is a configuration with one type of task, "t".
func only(text string) Config { return Config{Types: map[string]Type{"t": script(text)}} }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// push queues a task of type "t".
func (w *world) push(params string) string {
	w.t.Helper()
	id, err := w.Push(w.t.Context(), Task{Type: "t", Params: json.RawMessage(params)})
	w.must(err)
	return id
}

// work works until nothing is left and returns how it went.
func (w *world) work() Report {
	w.t.Helper()
	report, err := w.start(context.Background(), WorkOptions{UntilEmpty: true}).wait()
	w.must(err)
	return report
}

// working is a call of Work in the background.
type working struct {
	w    *world
	done chan struct{}
	got  Report
	err  error
}

func (w *world) start(ctx context.Context, opt WorkOptions) *working {
	k := &working{w: w, done: make(chan struct{})}
	go func() {
		defer close(k.done)
		k.got, k.err = w.Work(ctx, Deps{Host: w.host, Bus: w.bus, Log: zerolog.Nop()}, opt)
	}()
	return k
}

func (k *working) wait() (Report, error) {
	k.w.t.Helper()
	select {
	case <-k.done:
		return k.got, k.err
	case <-time.After(deadline):
		k.w.t.Fatal("the worker does not end")
		return Report{}, nil
	}
}

// until waits until a condition holds; what says what is waited for.
func (w *world) until(what string, condition func() bool) {
	w.t.Helper()
	limit := time.After(deadline)
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-limit:
			w.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// file returns the content of a file that a handler has written, "" without one.
func (w *world) file(name string) string {
	w.t.Helper()
	content, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	return string(content)
}

func (w *world) get(id string) Record {
	w.t.Helper()
	r, err := w.Get(w.t.Context(), id)
	w.must(err)
	return r
}

// want checks the outline of a task: "state result attempts/crashes".
func (w *world) want(id, want string) Record {
	w.t.Helper()
	r := w.get(id)
	if got := fmt.Sprintf("%s %s %d/%d", r.State, r.Run.Result, r.Attempts, r.Crashes); got != want {
		w.t.Errorf("the task is %q (%s), want %q", got, r.Run.Message, want)
	}
	return r
}

// queued returns what the broker has of type "t".
func (w *world) queued() broker.Counts {
	w.t.Helper()
	n, err := w.broker.Count(w.t.Context(), []string{"t"})
	w.must(err)
	return n
}

// events returns the kinds of the recorded events about a task.
func (w *world) events(id string) string {
	w.t.Helper()
	var all []string
	w.must(w.store.View(w.t.Context(), func(tx *store.Tx) error {
		return store.EachEvent(tx, store.EventFilter{Subject: id}, func(e event.Event) error {
			all = append(all, strings.TrimPrefix(e.Type, "tasks.task."))
			return nil
		})
	}))
	return strings.Join(all, " ")
}

// faulty is a broker some of whose calls fail.
type faulty struct {
	*sqlite.Broker

	acks   int // how many calls of Ack fail
	buries int // how many calls of Bury
	extend error
}

var errFaulty = errors.New("the broker is away")

func (f *faulty) Ack(ctx context.Context, leases []broker.Lease) ([]broker.Lease, error) {
	if f.acks > 0 {
		f.acks--
		return nil, errFaulty
	}
	return f.Broker.Ack(ctx, leases)
}

func (f *faulty) Bury(ctx context.Context, l broker.Lease) error {
	if f.buries > 0 {
		f.buries--
		return errFaulty
	}
	return f.Broker.Bury(ctx, l)
}

func (f *faulty) Extend(ctx context.Context, leases []broker.Lease, by time.Duration) ([]broker.Lease, error) {
	if f.extend != nil {
		return nil, f.extend
	}
	return f.Broker.Extend(ctx, leases, by)
}

// letGo makes the file that handlers wait for.
func (w *world) letGo() {
	w.t.Helper()
	w.make("go")
}

// make makes a file where the handlers run.
func (w *world) make(name string) {
	w.t.Helper()
	w.must(os.WriteFile(filepath.Join(w.dir, name), nil, 0o600))
}

// clear removes what the handlers have written.
func (w *world) clear() {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	w.must(err)
	for _, f := range files {
		w.must(os.Remove(f))
	}
}
