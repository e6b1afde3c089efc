package supervise

import (
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"procops/internal/proc"
)

// exitWithMain returns a config whose process main decides about the exit code.
func exitWithMain(processes map[string]ProcessConfig) Config {
	return Config{ExitWith: "main", Process: processes}
}

// failing is a process that fails when it is told to end.
func failing() ProcessConfig { return sh("trap 'exit 9' TERM; while :; do sleep 0.01; done") }

// TestExitWith has the process of exit_with end, or not, in all the ways that
// there are, beside one that fails when it goes down.
func TestExitWith(t *testing.T) {
	stop := filepath.Join(t.TempDir(), "stop")
	for name, test := range map[string]struct {
		main ProcessConfig
		want int
		runs int
	}{
		"a good end":                   {sh("exit 0"), 0, 1},
		"a failure":                    {sh("exit 7"), 7, 1},
		"a signal":                     {sh("kill -USR1 $$"), 138, 1},
		"a good end with another code": {with(sh("exit 3"), func(p *ProcessConfig) { p.SuccessCodes = []int{3} }), 3, 1},
		"a failure with 0":             {with(sh("exit 0"), func(p *ProcessConfig) { p.SuccessCodes = []int{3} }), 0, 1},
		"a settled failure":            {with(sh("exit 7"), func(p *ProcessConfig) { p.OnFail = []LinkConfig{{Settle: true}} }), 7, 1},
		"a chain that tries again":     {with(sh("exit 7"), func(p *ProcessConfig) { p.OnFail = []LinkConfig{{Retry: 2}} }), 7, 3},
		"restarts until it is given up": {with(sh("exit 7"), func(p *ProcessConfig) {
			p.Restart, p.MaxRestarts = RestartOnFailure, 2
		}), 7, 3},
		"a raised good end": {with(sh("exit 0"), func(p *ProcessConfig) { p.OnPass = []LinkConfig{{Raise: true}} }), 0, 1},
		"no such program":   {with(sh(""), func(p *ProcessConfig) { p.Command = proc.Command{"/no/such/program"} }), 127, 0},
		"never ready": {with(sh("while ! test -e "+stop+"; do sleep 0.01; done"), func(p *ProcessConfig) {
			p.Ready.Log, p.Ready.Timeout, p.Stop.Command = "no such line", 1, proc.Command{"touch", stop}
		}), 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, exitWithMain(map[string]ProcessConfig{"main": test.main, "side": failing()}))
			if code := r.report().ExitCode(); code != test.want {
				t.Errorf("code %d, want %d; events:\n%s", code, test.want, r.history())
			}
			runs := 0
			for _, subject := range r.order("supervise.process.starting") {
				if subject == "main" {
					runs++
				}
			}
			if runs != test.runs {
				t.Errorf("%d runs, want %d", runs, test.runs)
			}
			if slices.Contains(r.order("supervise.process.fatal"), "side") {
				t.Error("the other was given up, and not stopped")
			}
		})
	}
}

// TestExitWithInAGroup has the group start the process again before its end is
// for good.
func TestExitWithInAGroup(t *testing.T) {
	dir := t.TempDir()
	cfg := exitWithMain(map[string]ProcessConfig{
		"main": sh(fmt.Sprintf("echo >> %s/runs; exit $(wc -l < %[1]s/runs)", dir)),
		"side": failing(),
	})
	cfg.Process["main"] = with(cfg.Process["main"], func(p *ProcessConfig) { p.SuccessCodes = []int{9} })
	cfg.Group = map[string]GroupConfig{"g": {
		Children: []string{"side", "main"}, Strategy: OneForAll, Backoff: fastBackoff(),
		OnFail: []LinkConfig{{Exec: proc.Command{"true"}}, {Retry: 2}, {Settle: true}},
	}}
	r := newRig(t, cfg)
	if code := r.report().ExitCode(); code != 3 || count(t, dir+"/runs") != 3 {
		t.Errorf("code %d after %d runs; events:\n%s", code, count(t, dir+"/runs"), r.history())
	}
}

// TestExitWithAndAnOperator has an operator stop the process: it may be wanted
// again. When all goes down, its last end counts.
func TestExitWithAndAnOperator(t *testing.T) {
	r := newRig(t, exitWithMain(map[string]ProcessConfig{"main": forever(), "side": failing()}))
	r.await("supervise.process.running", "main", 1)
	r.do(Request{Action: ActionStop, Names: []string{"main"}})
	r.do(Request{Action: ActionStart, Names: []string{"main"}})
	r.do(Request{Action: ActionStop, Names: []string{"main"}})
	if state := r.process("side").State; state != StateRunning {
		t.Errorf("the other is %s", state)
	}
	r.cancel()
	if code := r.report().ExitCode(); code != 128+int(syscall.SIGTERM) {
		t.Errorf("code %d", code)
	}
}

// TestExitWithWhenToldToEnd has the tree stopped while the process runs, and
// before it has run.
func TestExitWithWhenToldToEnd(t *testing.T) {
	late := forever()
	late.DependsOn = []DependencyConfig{{Name: "side", Condition: ConditionCompleted}}
	for name, test := range map[string]struct {
		main ProcessConfig
		want int
	}{
		"it says how it ended":  {with(sh("trap 'exit 5' TERM; echo up; while :; do sleep 0.01; done"), func(p *ProcessConfig) { p.Ready.Log = "up" }), 5},
		"it ends by the signal": {forever(), 143},
		"it has not run":        {late, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, exitWithMain(map[string]ProcessConfig{"main": test.main, "side": forever()}))
			r.await("supervise.process.running", "side", 1)
			if test.want != 0 {
				r.await("supervise.process.running", "main", 1)
			}
			r.cancel()
			if code := r.report().ExitCode(); code != test.want {
				t.Errorf("code %d, want %d", code, test.want)
			}
		})
	}
}

// TestExitWithAndAnotherFailure has another failure end supervision, while the
// process of exit_with is well: then 0 would hide the failure.
func TestExitWithAndAnotherFailure(t *testing.T) {
	side := sh("exit 6")
	side.DependsOn = []DependencyConfig{{Name: "main", Condition: ConditionReady}}
	r := newRig(t, exitWithMain(map[string]ProcessConfig{"main": sh("trap 'exit 0' TERM; while :; do sleep 0.01; done"), "side": side}))
	if code := r.report().ExitCode(); code != 6 {
		t.Errorf("code %d", code)
	}
}

// TestReloadOfExitWith names another process while both run.
func TestReloadOfExitWith(t *testing.T) {
	r := newRig(t, exitWithMain(map[string]ProcessConfig{"main": forever(), "other": forever()}))
	r.await("supervise.process.running", "main", 1)
	r.await("supervise.process.running", "other", 1)
	cfg := exitWithMain(map[string]ProcessConfig{"main": forever(), "other": forever()})
	cfg.ExitWith = "other"
	plan, err := r.s.Reload(t.Context(), cfg, false)
	if err != nil || !slices.Equal(plan.Updated, []string{"supervise.exit_with"}) || plan.Unchanged != 2 {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	if err := r.s.PassOn(t.Context(), proc.Signal(syscall.SIGUSR2)); err != nil {
		t.Fatal(err)
	}
	if code := r.report().ExitCode(); code != 128+int(syscall.SIGUSR2) {
		t.Errorf("code %d", code)
	}
}

// TestPassOn sends what nobody, or nobody who runs, is there for.
func TestPassOn(t *testing.T) {
	main := forever()
	main.Autostart = false
	r := newRig(t, exitWithMain(map[string]ProcessConfig{"main": main, "side": forever()}))
	if err := r.s.PassOn(t.Context(), proc.Signal(syscall.SIGUSR1)); err == nil || err.Error() != `cannot send USR1 to "main": it does not run` {
		t.Errorf("got %v", err)
	}
	none := newRig(t, Config{Process: map[string]ProcessConfig{"side": forever()}})
	if err := none.s.PassOn(t.Context(), proc.Signal(syscall.SIGUSR1)); err != nil {
		t.Error(err)
	}
}
