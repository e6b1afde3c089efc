package supervise

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"procops/internal/fault"
)

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// moves returns the starts and ends of processes, in order.
func (r *rig) moves() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, e := range r.seen {
		switch e.Type {
		case "supervise.process.running":
			b.WriteString("+" + e.Subject + " ")
		case "supervise.process.stopped":
			b.WriteString("-" + e.Subject + " ")
		}
	}
	return b.String()
}

func TestRollingRestart(t *testing.T) {
	cfg := scalable(3, func(p *ProcessConfig) { p.Command[2] = "echo up; " + p.Command[2]; p.Ready.Log = "up" })
	cfg.Process["spare"] = with(forever(), keep, func(p *ProcessConfig) { p.Autostart = false })
	cfg.Process["job"] = sh("true")
	cfg.Process["user"] = with(forever(), keep, func(p *ProcessConfig) { p.DependsOn = []DependencyConfig{{Name: "web", Condition: ConditionReady}} })
	r := newRig(t, cfg)
	r.ready()
	r.await("supervise.process.completed", "job", 1)
	r.do(Request{Action: ActionStop, Names: []string{"other"}})
	r.await("supervise.process.stopped", "other", 1)
	before, seen := r.pids(), len(r.moves())
	got := told(r.do(Request{Action: ActionRestart, All: true, Rolling: true}))
	want := "job completed true left as it is;other stopped true left as it is;spare stopped true left as it is;" +
		"user running true ;web-1 running true ;web-2 running true ;web-3 running true ;"
	if got != want {
		t.Errorf("got %s", got)
	}
	r.await("supervise.process.running", "web-3", 2)
	if got, want := r.moves()[seen:], "-user +user -web-1 +web-1 -web-2 +web-2 -web-3 +web-3 "; got != want {
		t.Errorf("got %s", got)
	}
	for name, pid := range before {
		if after := r.pids()[name]; after == 0 || after == pid {
			t.Errorf("%s was not restarted: pid %d", name, after)
		}
	}
	// What depends on web goes on; what is named itself is started.
	before = r.pids()
	if got := told(r.do(Request{Action: ActionRestart, Names: []string{"web", "spare"}, Rolling: true})); !strings.HasPrefix(got, "spare running true ;web-1 ") {
		t.Errorf("got %s", got)
	}
	r.untouched(before, "user")
	if _, err := r.s.Do(t.Context(), Request{Action: ActionRestart, All: true, Rolling: true, NoWait: true}); !fault.Is(err, fault.Usage) {
		t.Errorf("without waiting: %v", err)
	}
}

func TestRollingRestartEndsWithTheFirstThatDoesNotGetReady(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	cfg := scalable(3)
	cfg.Process["web"] = with(sh(`test {{instance}} = 2 && test -e `+bad+` && exit 1; echo up; exec sleep 1000`), keep, instances(3),
		func(p *ProcessConfig) { p.Ready.Log = "up" })
	r := newRig(t, cfg)
	r.ready()
	before := r.pids()
	create(t, bad)
	got := r.do(Request{Action: ActionRestart, Names: []string{"web"}, Rolling: true})
	if len(got) != 3 || !got[0].OK || got[1].OK || got[2].OK || got[2].Note != `not restarted: "web-2" has not become ready` || got[2].PID != before["web-3"] {
		t.Errorf("got %+v", got)
	}
	if r.pids()["web-1"] == before["web-1"] {
		t.Error("web-1 was not restarted")
	}
	r.untouched(before, "web-3", "other")
}

// TestRollingRestartLooksBack: what was restarted and has failed since ends it.
func TestRollingRestartLooksBack(t *testing.T) {
	dir := t.TempDir()
	again, die, release := filepath.Join(dir, "again"), filepath.Join(dir, "die"), filepath.Join(dir, "release")
	cfg := scalable(3)
	cfg.Process["web"] = with(sh(`
		await() { while ! test -e $1; do sleep 0.01; done; }
		if test -e `+again+`; then
			test {{instance}} = 1 && { echo up; await `+die+`; exit 1; }
			test {{instance}} = 2 && await `+release+`
		fi
		echo up; exec sleep 1000`), instances(3), func(p *ProcessConfig) {
		p.Ready.Log = "up"
		p.OnFail = []LinkConfig{{Settle: true}}
	})
	r := newRig(t, cfg)
	r.ready()
	before := r.pids()
	create(t, again)
	answer := make(chan []Result, 1)
	go func() {
		results, _ := r.s.Do(t.Context(), Request{Action: ActionRestart, Names: []string{"web"}, Rolling: true})
		answer <- results
	}()
	r.await("supervise.process.starting", "web-2", 2)
	create(t, die)
	r.await("supervise.process.fatal", "web-1", 1)
	create(t, release)
	got := <-answer
	if len(got) != 3 || !got[1].OK || got[2].OK || got[2].Note != `not restarted: "web-1", which was restarted before it, is fatal` {
		t.Errorf("got %+v", got)
	}
	r.untouched(before, "web-3")
}

func TestRollingRestartEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	hold, release := filepath.Join(dir, "hold"), filepath.Join(dir, "release")
	cfg := scalable(2)
	cfg.Process["web"] = with(sh(`test -e `+hold+` && while ! test -e `+release+`; do sleep 0.01; done; echo up; exec sleep 1000`), keep, instances(2),
		func(p *ProcessConfig) { p.Ready.Log = "up" })
	r := newRig(t, cfg)
	r.ready()
	before := r.pids()
	create(t, hold)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := r.s.Do(ctx, Request{Action: ActionRestart, Names: []string{"web"}, Rolling: true})
		ended <- err
	}()
	r.await("supervise.process.starting", "web-1", 2)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	create(t, release)
	r.await("supervise.process.running", "web-1", 2) // the present one is seen through
	r.untouched(before, "web-2", "other")
}
