package supervise

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"procops/internal/proc"
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
