package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/internal/proc"
	"procops/internal/store"
	"procops/internal/unit"
)

var errNoSuchProgram = errors.New("no such program")

// TestFailedUpgradeUndoesItself: what was paused is heard again, and nothing is lost.
func TestFailedUpgradeUndoesItself(t *testing.T) {
	dir := t.TempDir()
	go1, go2 := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	p := sh(fmt.Sprintf("printf half; until [ -e %s ]; do sleep 0.01; done; echo ' line'; until [ -e %s ]; do sleep 0.01; done; echo up; exec sleep 1000", go1, go2))
	p.Ready.Log = "^up$"
	p.Restart = RestartAlways
	r := newRig(t, Config{Process: map[string]ProcessConfig{"a": p, "b": forever()}})
	r.await("supervise.process.starting", "a", 1)
	r.await("supervise.process.running", "b", 1)
	for range 3 {
		err := r.s.Upgrade(t.Context(), func(h Handover) error {
			if len(h.Processes) != 2 || len(h.Host.Processes) != 2 || len(h.FDs()) < 4 {
				t.Errorf("handed over: %+v", h)
			}
			return errNoSuchProgram
		})
		if !errors.Is(err, errNoSuchProgram) {
			t.Fatalf("the upgrade ended with %v", err)
		}
	}
	touch(t, go1)
	touch(t, go2)
	r.await("supervise.process.running", "a", 1)
	if lines, err := lastLines("a", filepath.Join(r.dir, "logs", "a.log"), 10); err != nil || len(lines) == 0 || lines[0].Text != "half line" {
		t.Errorf("its lines are %+v, %v", lines, err)
	}
	if err := syscall.Kill(r.process("b").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.await("supervise.process.fatal", "b", 1)
	if code := r.report().ExitCode(); code != 137 {
		t.Errorf("exit code %d", code)
	}
}

// TestUpgradeWaitsForQuiet: it does not begin while a process is being stopped, and
// meanwhile supervision goes on.
func TestUpgradeWaitsForQuiet(t *testing.T) {
	dir := t.TempDir()
	trapped, release := filepath.Join(dir, "trapped"), filepath.Join(dir, "release")
	slow := sh(fmt.Sprintf("trap 'echo > %s; until [ -e %s ]; do sleep 0.01; done; exit 0' TERM; echo up; while :; do sleep 0.01; done", trapped, release))
	slow.Ready.Log = "^up$"
	slow.Stop.Grace = unit.Duration(time.Minute)
	r := newRig(t, Config{Process: map[string]ProcessConfig{"slow": slow, "b": forever()}})
	r.await("supervise.process.running", "slow", 1)
	r.do(Request{Action: ActionStop, Names: []string{"slow"}, NoWait: true})

	r.await("supervise.process.stopping", "slow", 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	tooLate := errors.New("too late")
	ended := make(chan error, 1)
	go func() {
		ended <- r.s.Upgrade(ctx, func(Handover) error { t.Error("not all was quiet"); return errNoSuchProgram })
	}()
	r.do(Request{Action: ActionRestart, Names: []string{"b"}})
	cancel(tooLate)
	if err := <-ended; !errors.Is(err, tooLate) {
		t.Errorf("given up with %v", err)
	}

	go func() { ended <- r.s.Upgrade(t.Context(), func(Handover) error { return errNoSuchProgram }) }()
	touch(t, release)
	if err := <-ended; !errors.Is(err, errNoSuchProgram) {
		t.Errorf("ended with %v", err)
	}
	r.await("supervise.process.stopped", "slow", 1)
}

// TestUpgradeRefused: one at a time, and none on the way down.
func TestUpgradeRefused(t *testing.T) {
	hangs := sh("trap '' TERM; echo up; while :; do sleep 0.01; done")
	hangs.Ready.Log = "^up$"
	r := newRig(t, Config{Process: map[string]ProcessConfig{"hangs": hangs}})
	r.await("supervise.process.running", "hangs", 1)
	r.do(Request{Action: ActionStop, Names: []string{"hangs"}, NoWait: true})
	r.await("supervise.process.stopping", "hangs", 1)
	none := func(Handover) error { t.Error("nothing was quiet"); return errNoSuchProgram }
	ended := make(chan error, 2)
	for range 2 {
		go func() { ended <- r.s.Upgrade(t.Context(), none) }()
	}
	if err := <-ended; err == nil || err.Error() != "another upgrade is under way" {
		t.Errorf("the second ended with %v", err)
	}
	if err := r.s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || err.Error() != "cannot upgrade: the supervisor is on its way down" {
		t.Errorf("the first ended with %v", err)
	}
	r.s.Hurry()
	r.report()
	if err := r.s.Upgrade(t.Context(), none); !errors.Is(err, errEnded) {
		t.Errorf("after the end: %v", err)
	}
}

// TestHoldSeesAnEnd: a child that has ended cannot be handed over.
func TestHoldSeesAnEnd(t *testing.T) {
	child, err := host.Start(proc.Spec{Argv: []string{"/bin/true"}})
	if err != nil {
		t.Fatal(err)
	}
	<-child.Exited()
	if _, _, err := host.Hold([]*proc.Process{child}); !errors.Is(err, proc.ErrEnded) {
		t.Errorf("held: %v", err)
	}
}

// TestUpgradeWaitsForOrders: what is recorded is done before, so that the next
// supervisor finds the tree as the record has it.
func TestUpgradeWaitsForOrders(t *testing.T) {
	r := newRig(t, scalable(2))
	r.ready()
	for name, order := range map[string]func() error{
		"scale": func() error {
			_, err := r.s.Scale(t.Context(), ScaleRequest{Instances: map[string]int{"web": 1}})
			return err
		},
		"stop": func() error {
			_, err := r.s.Do(t.Context(), Request{Action: ActionStop, Names: []string{"other"}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			// The writer of the state is held, and with it the order, which is recorded first.
			held, release, written := make(chan struct{}), make(chan struct{}), make(chan error, 1)
			go func() {
				written <- r.store.Update(t.Context(), func(*store.Tx) error { close(held); <-release; return nil })
			}()
			<-held
			ordered := make(chan error, 1)
			go func() { ordered <- order() }()
			await(t, r.s, "an order", func() bool { return r.s.orders > 0 })
			var before map[string]int
			upgraded := make(chan error, 1)
			go func() {
				upgraded <- r.s.Upgrade(t.Context(), func(h Handover) error {
					before = map[string]int{}
					for _, p := range h.Processes {
						if p.Run != nil {
							before[p.Name] = p.Run.PID
						}
					}
					return errNoSuchProgram
				})
			}()
			await(t, r.s, "an upgrade", func() bool { return r.s.upgrade != nil })
			close(release)
			if err := errors.Join(<-written, <-ordered); err != nil {
				t.Fatal(err)
			}
			if err := <-upgraded; !errors.Is(err, errNoSuchProgram) {
				t.Fatalf("the upgrade ended with %v", err)
			}
			if now := r.pids(); !maps.Equal(before, now) {
				t.Errorf("handed over: %v, and after the order there are %v", before, now)
			}
		})
	}
}

// await waits until something is so in the loop's eyes.
func await(t *testing.T, s *Supervisor, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		is, err := learn(t.Context(), s, func() (bool, error) { return so(), nil })
		if err != nil {
			t.Fatal(err)
		}
		if is {
			return
		}
	}
	t.Fatalf("there is no %s under way", strings.TrimPrefix(what, "an "))
}

// TestUpgradeWaitsForRollingRestart: nobody would go on with what is left of it.
func TestUpgradeWaitsForRollingRestart(t *testing.T) {
	dir := t.TempDir()
	script := fmt.Sprintf("[ -e %[1]s/again ] && until [ -e %[1]s/go ]; do sleep 0.01; done; echo up; exec sleep 1000", dir)
	slow := with(sh(script), keep)
	slow.Ready.Log = "^up$"
	r := newRig(t, processes(map[string]ProcessConfig{"a": slow, "b": with(forever(), keep)}))
	r.ready()
	first := r.pids()
	touch(t, filepath.Join(dir, "again"))
	rolled := make(chan error, 1)
	go func() {
		_, err := r.s.Do(t.Context(), Request{Action: ActionRestart, Rolling: true, All: true})
		rolled <- err
	}()
	r.await("supervise.process.starting", "a", 2)
	upgraded := make(chan error, 1)
	go func() {
		upgraded <- r.s.Upgrade(t.Context(), func(h Handover) error {
			for _, p := range h.Processes {
				if p.Run == nil || p.Run.PID == first[p.Name] {
					t.Errorf("%q has not been restarted", p.Name)
				}
			}
			return errNoSuchProgram
		})
	}()
	await(t, r.s, "an upgrade", func() bool { return r.s.upgrade != nil })
	touch(t, filepath.Join(dir, "go"))
	if err := <-rolled; err != nil {
		t.Error(err)
	}
	if err := <-upgraded; !errors.Is(err, errNoSuchProgram) {
		t.Errorf("the upgrade ended with %v", err)
	}
}

// TestUpgradeKnowsUnrecordedScale: a number that a full disk did not take goes over all
// the same, or the next supervisor would not know the processes that run.
func TestUpgradeKnowsUnrecordedScale(t *testing.T) {
	r := newRig(t, scalable(2))
	r.ready()
	r.scale(map[string]int{"web": 4})
	if err := r.store.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("DELETE FROM supervise_scale")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var handed Handover
	err := r.s.Upgrade(t.Context(), func(h Handover) error {
		handed = h
		return errNoSuchProgram
	})
	if !errors.Is(err, errNoSuchProgram) {
		t.Fatal(err)
	}
	deps := r.s.deps
	raw, err := json.Marshal(handed)
	if err != nil {
		t.Fatal(err)
	}
	deps.Handover = &Handover{}
	if err := json.Unmarshal(raw, deps.Handover); err != nil {
		t.Fatal(err)
	}
	next, err := New(t.Context(), scalable(2), deps)
	if err != nil {
		t.Fatal(err)
	}
	defer next.hurry()
	for i := range handed.Processes {
		if name := handed.Processes[i].Name; next.tree.byName[name] == nil {
			t.Errorf("the next supervisor does not know %q", name)
		}
	}
	next.close()
}
