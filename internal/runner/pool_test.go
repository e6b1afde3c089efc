package runner

import (
	"context"
	"errors"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/internal/proc"
)

// patience is how long anything in a test may take.
const patience = 30 * time.Second

// diary keeps what an observer is told.
type diary struct {
	mu      sync.Mutex
	notices []Notice
	defects []error
	news    chan struct{} // gets something with each notice, if there is room
}

func (d *diary) note(n Notice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notices = append(d.notices, n)
	select {
	case d.news <- struct{}{}:
	default:
	}
}

func (d *diary) defect(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.defects = append(d.defects, err)
}

// of returns the notices of a kind.
func (d *diary) of(kind NoticeKind) (list []Notice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.notices {
		if n.Kind == kind {
			list = append(list, n)
		}
	}
	return list
}

// await waits for the n-th notice of a kind, n from 1, and returns it.
func (d *diary) await(t *testing.T, kind NoticeKind, n int) Notice {
	t.Helper()
	deadline := time.After(patience)
	for {
		if list := d.of(kind); len(list) >= n {
			return list[n-1]
		}
		select {
		case <-d.news:
		case <-deadline:
			t.Fatalf("only %+v, want %s number %d", d.of(kind), kind, n)
		}
	}
}

// quickly is a ladder that does not wait long.
func quickly() proc.Ladder {
	return proc.Ladder{Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: 100 * time.Millisecond}}}
}

// newTestPool returns a pool that is closed in the end, when no process may be left.
func newTestPool(tb testing.TB, start func() (proc.Spec, error), set ...func(*Options)) (Runner, *diary) {
	tb.Helper()
	h, err := proc.NewHost(proc.HostOptions{Subreaper: true, Guard: true})
	if err != nil {
		tb.Fatal(err)
	}
	d := &diary{news: make(chan struct{}, 1)}
	o := Options{Host: h, Mode: ModeCoprocess, Start: start, Observe: d.note, OnError: d.defect, Ladder: proc.Ladder{
		Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: 10 * time.Second}},
	}}
	for _, f := range set {
		f(&o)
	}
	r := New(o)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(r.Close(ctx), h.Close()); err != nil {
			tb.Error(err)
		}
		if ctx.Err() != nil {
			tb.Error("it could not be closed in time")
		}
		if started, ended := len(d.of(NoticeStarted)), len(d.of(NoticeEnded)); ended < started {
			tb.Errorf("%d have started and %d have ended", started, ended)
		}
		for _, err := range d.defects {
			tb.Error(err)
		}
	})
	return r, d
}

// do runs a unit that says what the co-process does.
func do(t *testing.T, r Runner, what string, set ...func(*Work)) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w := Work{Meta: []Meta{{"do", what}}}
	for _, f := range set {
		f(&w)
	}
	result, err := r.Run(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%q hangs: %+v", what, result)
	}
	return result
}

func input(text string) func(*Work) { return func(w *Work) { w.Input = []byte(text) } }

func TestCoprocessEchoes(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"))
	for _, text := range []string{"", "one", "two\nlines", strings.Repeat("x", 1<<20), "three"} {
		result := do(t, r, "echo", input(text))
		if result.Outcome != Success || result.Reason != "" || string(result.Output) != text || result.Memory == 0 || result.Started.IsZero() {
			t.Errorf("%d bytes: %s (%s), %d bytes, %d memory", len(text), result.Outcome, result.Reason, len(result.Output), result.Memory)
		}
	}
	if started := d.of(NoticeStarted); len(started) != 1 || started[0].PID == 0 {
		t.Errorf("%+v", started)
	}
}
