package supervise

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"procops/internal/unit"
)

func (r *rig) reload(cfg Config) Plan {
	r.t.Helper()
	plan, err := r.s.Reload(r.t.Context(), cfg, false)
	if err != nil {
		r.t.Fatal(err)
	}
	return plan
}

func keep(p *ProcessConfig) { p.Restart = RestartAlways }

func TestReloadTouchesOnlyWhatDiffers(t *testing.T) {
	cfg := processes(map[string]ProcessConfig{
		"same": with(forever(), keep), "gone": with(forever(), keep), "other": with(forever(), keep), "rules": with(forever(), keep),
	})
	r := newRig(t, cfg)
	for name := range cfg.Process {
		r.await("supervise.process.running", name, 1)
	}
	before := map[string]int{"same": r.process("same").PID, "rules": r.process("rules").PID, "other": r.process("other").PID}
	next := processes(map[string]ProcessConfig{
		"same":  with(forever(), keep),
		"other": with(sh("exec sleep 2000"), keep),
		"rules": with(forever(), func(p *ProcessConfig) { p.Restart, p.MaxRestarts = RestartOnFailure, 7 }),
		"new":   with(forever(), keep),
	})
	dry, err := r.s.Reload(t.Context(), next, true)
	if err != nil {
		t.Fatal(err)
	}
	if r.process("gone").State != StateRunning {
		t.Error("a dry run has stopped something")
	}
	plan := r.reload(next)
	want := Plan{Added: []string{"new"}, Removed: []string{"gone"}, Restarted: []string{"other"}, Updated: []string{"rules"}, Unchanged: 1}
	for _, got := range []Plan{dry, plan} {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("plan %+v, want %+v", got, want)
		}
	}
	r.await("supervise.process.running", "new", 1)
	r.await("supervise.process.running", "other", 2)
	r.await("supervise.process.stopped", "gone", 1)
	if got := r.process("other"); got.PID == before["other"] || got.Command != "exec sleep 2000" {
		t.Errorf("other is %+v", got)
	}
	for _, name := range []string{"same", "rules"} {
		if got := r.process(name); got.PID != before[name] || got.Restarts != 0 {
			t.Errorf("%s was touched: %+v", name, got)
		}
	}
	if again := r.reload(next); !again.Empty() || again.Unchanged != 4 {
		t.Errorf("the same config again: %+v", again)
	}
	st, err := r.s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(st.Processes, func(p ProcessStatus) bool { return p.Name == "gone" }) {
		t.Error("what has gone is still shown")
	}
}

func TestReloadLeavesAloneWhatWasStoppedByHand(t *testing.T) {
	r := newRig(t, processes(map[string]ProcessConfig{"a": with(forever(), keep), "b": with(forever(), keep)}))
	r.await("supervise.process.running", "a", 1)
	r.do(Request{Action: ActionStop, Names: []string{"a"}})
	r.reload(processes(map[string]ProcessConfig{"a": with(sh("exec sleep 2000"), keep), "b": with(forever(), keep), "c": with(forever(), keep)}))
	r.await("supervise.process.running", "c", 1)
	if got := r.process("a"); got.State != StateStopped || got.Command != "exec sleep 2000" {
		t.Errorf("a is %+v", got)
	}
	if res := r.do(Request{Action: ActionStart, Names: []string{"a"}}); !res[0].OK {
		t.Errorf("start: %+v", res)
	}
}

func TestReloadMendsWhatWasGivenUp(t *testing.T) {
	bad := with(sh("exit 3"), func(p *ProcessConfig) { p.OnFail = []LinkConfig{{Settle: true}} })
	r := newRig(t, processes(map[string]ProcessConfig{"p": bad, "q": with(forever(), keep)}))
	r.await("supervise.process.fatal", "p", 1)
	r.reload(processes(map[string]ProcessConfig{"p": with(forever(), keep), "q": with(forever(), keep)}))
	r.await("supervise.process.running", "p", 2)
	r.cancel()
	if rep := r.report(); rep.ExitCode() != 0 {
		t.Errorf("report %+v", rep)
	}
}

// TestReloadWhileSomethingLeaves: a process that comes back before it has gone
// is the same process: at no time are there two of it.
func TestReloadWhileSomethingLeaves(t *testing.T) {
	dir := t.TempDir()
	release, lock, trouble := filepath.Join(dir, "release"), filepath.Join(dir, "lock"), filepath.Join(dir, "trouble")
	script := "exec 9>" + lock + "; flock -n 9 || echo two >>" + trouble + "; trap 'while ! test -e " + release + "; do sleep 0.01; done; exit 0' TERM; echo up; while :; do sleep 0.01; done"
	slow := with(sh(script), func(p *ProcessConfig) { p.Restart = RestartAlways; p.Ready.Log = "up" })
	other := with(forever(), keep)
	both := processes(map[string]ProcessConfig{"slow": slow, "other": other})
	r := newRig(t, both)
	r.await("supervise.process.running", "slow", 1)
	r.reload(processes(map[string]ProcessConfig{"other": other}))
	r.await("supervise.process.stopping", "slow", 1)
	if plan := r.reload(both); !slices.Equal(plan.Restarted, []string{"slow"}) {
		t.Errorf("plan %+v", plan)
	}
	create(t, release)
	r.await("supervise.process.running", "slow", 2)
	if n := count(t, trouble); n != 0 {
		t.Error("there were two of it")
	}
}

func TestReloadMovesBetweenGroups(t *testing.T) {
	p := map[string]ProcessConfig{"a": with(forever(), keep), "b": with(forever(), keep)}
	r := newRig(t, Config{Process: p, Group: map[string]GroupConfig{"g": {Children: []string{"a", "b"}}}})
	r.await("supervise.process.running", "b", 1)
	plan := r.reload(Config{Process: p, Group: map[string]GroupConfig{"g": {Children: []string{"a"}}, "h": {Children: []string{"b"}}}})
	if !slices.Equal(plan.Updated, []string{"g", "h"}) || plan.Unchanged != 2 {
		t.Errorf("plan %+v", plan)
	}
	if got := r.process("b"); got.Group != "h" || got.Restarts != 0 {
		t.Errorf("b is %+v", got)
	}
}

// TestReloadUnderLoad reloads to and fro while processes come and go, and then
// finds exactly what the last config says.
func TestReloadUnderLoad(t *testing.T) {
	config := func(n int) Config {
		all := map[string]ProcessConfig{"anchor": with(forever(), keep)}
		for i := range n {
			all[fmt.Sprintf("p%d", i)] = with(sh(fmt.Sprintf("sleep 0.0%d", i)), func(p *ProcessConfig) {
				p.Restart = RestartAlways
				p.Backoff.Max = unit.Duration(time.Millisecond)
				p.Env = map[string]string{"GENERATION": fmt.Sprint(n)}
			})
		}
		return processes(all)
	}
	r := newRig(t, config(3))
	for _, n := range []int{8, 1, 5, 0, 9, 2, 7, 4, 6, 3} {
		r.reload(config(n))
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := r.s.wait(ctx, func() bool { return len(r.s.everything()) == 4 })
	if err != nil {
		t.Fatalf("%v: what has left does not go", err)
	}
	if got := r.process("anchor"); got.Restarts != 0 || got.State != StateRunning {
		t.Errorf("the anchor was touched: %+v", got)
	}
}
