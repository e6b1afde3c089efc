package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/store"
)

// TestOrderBesideAReload: an order to a process that a reload takes out of the
// tree starts nothing: nobody would see it, and nobody stop it.
func TestOrderBesideAReload(t *testing.T) {
	idle := with(forever(), func(p *ProcessConfig) { p.Autostart = false })
	r := newRig(t, processes(map[string]ProcessConfig{"anchor": forever(), "leaves": idle}))
	r.await("supervise.process.running", "anchor", 1)
	targets, err := r.s.find(t.Context(), []string{"leaves"}, false)
	if err != nil {
		t.Fatal(err)
	}
	r.reload(processes(map[string]ProcessConfig{"anchor": forever()}))
	_, err = r.s.order(t.Context(), Request{Action: ActionStart, NoWait: true}, targets, true, r.s.bringUp)
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("start of what has left: %v, want that it is not found", err)
	}
	r.cancel()
	r.report()
	if got := r.order("supervise.process.starting"); len(got) != 1 {
		t.Errorf("started %v", got)
	}
}

// TestDelayOfALaterGroupRestart: when the delay of a restart is over at the moment
// at which another one takes its place, the delay of that one counts.
func TestDelayOfALaterGroupRestart(t *testing.T) {
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{"a": forever()},
		Group:   map[string]GroupConfig{"g": {Children: []string{"a"}}},
	})
	r.await("supervise.process.running", "a", 1)
	g, ok := r.s.tree.byName["g"].(*group)
	if !ok {
		t.Fatal("there is no group")
	}
	err := r.s.ask(t.Context(), func() {
		before := len(r.s.inbox)
		r.s.restart(g, nil, Failure{}, 0)
		for deadline := time.Now().Add(patience); len(r.s.inbox) == before && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		r.s.restart(g, nil, Failure{}, time.Hour)
	})
	if err != nil {
		t.Fatal(err)
	}
	waits := false
	if err := r.s.ask(t.Context(), func() { waits = g.timer != nil; g.reset() }); err != nil {
		t.Fatal(err)
	}
	if !waits {
		t.Error("the end of the first delay has ended the second")
	}
}

// TestRefusedSupervisorLeavesNoFileOpen: neither when a log file cannot be opened
// nor when what ran before cannot be read.
func TestRefusedSupervisorLeavesNoFileOpen(t *testing.T) {
	dir := t.TempDir()
	st, err := store.Open(t.Context(), dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	deps := Deps{
		Host: host, Store: st, Bus: event.NewBus("test"), Log: zerolog.New(zerolog.NewTestWriter(t)),
		StateDir: dir, RunToken: testToken(), LogDir: filepath.Join(dir, "logs"),
	}
	good, bad := forever(), forever()
	bad.Output.File = dir // no file
	if _, err := New(t.Context(), processes(map[string]ProcessConfig{"a": good, "b": bad}), deps); err == nil {
		t.Fatal("a directory was taken for a log file")
	}
	if open := openBelow(t, deps.LogDir); len(open) > 0 {
		t.Errorf("open after New: %v", open)
	}
	s, err := New(t.Context(), processes(map[string]ProcessConfig{"a": good}), deps)
	if err != nil {
		t.Fatal(err)
	}
	if open := openBelow(t, deps.LogDir); len(open) != 1 {
		t.Errorf("open before Run: %v, want one", open)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("Run: %v", err)
	}
	if open := openBelow(t, deps.LogDir); len(open) > 0 {
		t.Errorf("open after Run: %v", open)
	}
}

// openBelow returns which files in a directory this program has open.
func openBelow(t *testing.T, dir string) (open []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if path, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil && strings.HasPrefix(path, dir+"/") {
			open = append(open, path)
		}
	}
	return open
}

// TestWaitReadySaysHowItIs: in a state that is read where nothing else changes it.
// The race detector is the judge of that.
func TestWaitReadySaysHowItIs(t *testing.T) {
	bad := with(sh("exit 1"), func(p *ProcessConfig) {
		p.Ready.Log = "never"
		p.OnFail = []LinkConfig{{Settle: true}}
	})
	r := newRig(t, processes(map[string]ProcessConfig{"anchor": forever(), "bad": bad}))
	r.await("supervise.process.fatal", "bad", 1)
	for range 50 {
		done := make(chan error, 1)
		go func() {
			_, err := r.s.Do(t.Context(), Request{Action: ActionRestart, Names: []string{"bad"}, NoWait: true})
			done <- err
		}()
		if err := r.s.WaitReady(t.Context(), []string{"bad"}); err == nil || err.Error() != `"bad" is not ready: it is fatal: 1 General error` {
			t.Errorf("wait: %v", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
