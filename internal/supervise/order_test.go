package supervise

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"procops/internal/launch"
	"procops/internal/unit"
)

// failsWith is a process that fails n times, leaving a line in runs each time, and
// then stays. What its chain does ends settled.
func failsWith(runs string, n int, links ...LinkConfig) ProcessConfig {
	p := sh(fmt.Sprintf("echo x >>%s; test $(wc -l <%s) -gt %d && exec sleep 1000; exit 1", runs, runs, n))
	p.OnFail = slices.Concat(links, []LinkConfig{{Settle: true}})
	return p
}

// TestChainsThatStartEachOther: two processes that fail at once and start or restart
// each other do not storm: each start in a row waits for the backoff, and
// max_restarts ends it.
func TestChainsThatStartEachOther(t *testing.T) {
	for name, c := range map[string]struct {
		a, b func(string) LinkConfig
	}{
		"restart": {restartLink, restartLink},
		"start":   {startLink, startLink},
		"both":    {startLink, restartLink},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			limit := func(p *ProcessConfig) { p.MaxRestarts = 3 }
			r := newRigWith(t, dir, processes(map[string]ProcessConfig{
				"a": with(failsWith(filepath.Join(dir, "a"), 1000, c.a("b")), limit),
				"b": with(failsWith(filepath.Join(dir, "b"), 1000, c.b("a")), limit),
			}), alone)
			rep := r.report() // it ends: all was given up
			if len(rep.Failures) != 2 {
				t.Errorf("report %+v", rep)
			}
			for _, p := range []string{"a", "b"} {
				if n := count(t, filepath.Join(dir, p)); n > 5 {
					t.Errorf("%s ran %d times, want 1 and 3 by chains, and one at the beginning", p, n)
				}
			}
			if len(r.order("supervise.process.backoff")) == 0 {
				t.Error("nobody waited for the backoff")
			}
			failed := append(r.order("supervise.link.failed"), "")[0]
			data, _ := r.await("supervise.link.failed", failed, 1).DataJSON()
			if !strings.Contains(string(data), "3 times in a row, which is its max_restarts") {
				t.Errorf("the last order was refused with %s", data)
			}
		})
	}
}

func restartLink(name string) LinkConfig { return LinkConfig{Restart: Names{name}} }
func startLink(name string) LinkConfig   { return LinkConfig{Start: Names{name}} }
func stopLink(name string) LinkConfig    { return LinkConfig{Stop: Names{name}} }

// TestStormIsSlow: without max_restarts the starts are as far apart as the backoff.
func TestStormIsSlow(t *testing.T) {
	dir := t.TempDir()
	slow := func(p *ProcessConfig) {
		p.Backoff = launch.Backoff{Initial: unit.Duration(time.Hour), Factor: 1, Max: unit.Duration(time.Hour)}
	}
	r := newRig(t, processes(map[string]ProcessConfig{
		"a": with(failsWith(filepath.Join(dir, "a"), 1000, restartLink("b")), slow),
		"b": with(failsWith(filepath.Join(dir, "b"), 1000, restartLink("a")), slow),
	}))
	// One of them waits for its backoff now, and nothing else will happen.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.s.wait(ctx, func() bool {
		return slices.ContainsFunc(r.s.tree.processes, func(p *process) bool { return p.state == StateBackoff })
	}); err != nil {
		t.Fatalf("%v; events:\n%s", err, r.history())
	}
	if n := count(t, filepath.Join(dir, "a")) + count(t, filepath.Join(dir, "b")); n > 4 {
		t.Errorf("%d runs", n)
	}
}

// TestHealthyForgetsOrders: a process that has run for healthy_after is started at
// once again.
func TestHealthyForgetsOrders(t *testing.T) {
	p := &process{name: "p", orders: 3, runs: 1, state: StateRunning, run: &run{}}
	(&Supervisor{}).healthy(p, 1)
	if p.orders != 0 {
		t.Errorf("%d orders are remembered", p.orders)
	}
}

// TestOrderSparesWhatAnOperatorHasStopped: and says so.
func TestOrderSparesWhatAnOperatorHasStopped(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	r := newRig(t, processes(map[string]ProcessConfig{
		"b": forever(), "c": forever(),
		"a": with(sh("while ! test -e "+release+"; do sleep 0.01; done; exit 1"), func(p *ProcessConfig) {
			p.OnFail = []LinkConfig{{Restart: Names{"b", "c"}}, {Log: "next", Settle: true}}
		}),
	}))
	r.await("supervise.process.running", "b", 1)
	r.await("supervise.process.running", "c", 1)
	r.do(Request{Action: ActionStop, Names: []string{"b"}})
	create(t, release)
	r.await("supervise.process.running", "c", 2)
	data, _ := r.await("supervise.link.failed", "a", 1).DataJSON()
	if want := `{"link":"restart","target":"b","error":"an operator has stopped \"b\""}`; string(data) != want {
		t.Errorf("got %s, want %s", data, want)
	}
	if p := r.process("b"); p.State != StateStopped || p.Wanted {
		t.Errorf("b is %+v", p)
	}
}

// TestOrdersAreForgottenWithProcops: a chain is no operator.
func TestOrdersAreForgottenWithProcops(t *testing.T) {
	dir := t.TempDir()
	mended := filepath.Join(dir, "mended")
	cfg := processes(map[string]ProcessConfig{
		"a": with(sh("test -e "+mended+" && exec sleep 1000; touch "+mended+"; exit 1"), func(p *ProcessConfig) {
			p.DependsOn = needs("web")
			p.OnFail = []LinkConfig{stopLink("web"), startLink("spare"), {Settle: true}}
		}),
		"web":   forever(),
		"spare": with(forever(), func(p *ProcessConfig) { p.Autostart = false }),
	})
	t.Run("first", func(t *testing.T) {
		r := newRigIn(t, dir, cfg)
		r.await("supervise.process.stopped", "web", 1)
		r.await("supervise.process.running", "spare", 1)
		for _, name := range []string{"web", "spare"} {
			if p := r.process(name); !p.AsWanted() {
				t.Errorf("%s is not as wanted: %+v", name, p)
			}
		}
		// A reload does not undo it.
		next := processes(map[string]ProcessConfig{"a": cfg.Process["a"], "web": with(cfg.Process["web"], renice), "spare": with(cfg.Process["spare"], renice)})
		if _, err := r.s.Reload(t.Context(), next, false); err != nil {
			t.Fatal(err)
		}
		r.await("supervise.process.running", "spare", 2)
		if p := r.process("web"); p.State != StateStopped || p.Wanted {
			t.Errorf("after the reload web is %+v", p)
		}
	})
	t.Run("second", func(t *testing.T) {
		r := newRigIn(t, dir, cfg)
		r.await("supervise.process.running", "a", 1)
		if p := r.process("spare"); p.State != StateStopped || p.Wanted {
			t.Errorf("spare is %+v", p)
		}
		data, _ := r.await("supervise.started", "", 1).DataJSON()
		if strings.Contains(string(data), "stopped_by_hand") {
			t.Errorf("said at the beginning: %s", data)
		}
	})
}

func renice(p *ProcessConfig) { p.Env = map[string]string{"NEW": "1"} }

// TestStoppedByAChainDoesNotKeepTheTree: a batch job that stops its helper ends the
// tree.
func TestStoppedByAChainDoesNotKeepTheTree(t *testing.T) {
	r := newRig(t, processes(map[string]ProcessConfig{
		"helper": forever(),
		"job":    with(sh("exit 0"), func(p *ProcessConfig) { p.DependsOn, p.OnPass = needs("helper"), []LinkConfig{stopLink("helper")} }),
	}))
	if rep := r.report(); rep.ExitCode() != 0 {
		t.Errorf("report %+v", rep)
	}
}

// TestOrderToGroups: the names of a link may be groups, and what they need is
// started as well.
func TestOrderToGroups(t *testing.T) {
	down := func(p *ProcessConfig) { p.Autostart = false }
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{
			"a": with(sh("exit 1"), func(p *ProcessConfig) { p.OnFail = []LinkConfig{startLink("spares"), {Settle: true}} }),
			"b": with(forever(), down), "need": with(forever(), down),
			"c": with(forever(), func(p *ProcessConfig) { p.Autostart, p.DependsOn = false, needs("need") }),
		},
		Group: map[string]GroupConfig{"spares": {Children: []string{"b", "c"}}},
	})
	for _, name := range []string{"b", "c", "need"} {
		r.await("supervise.process.running", name, 1)
	}
	data, _ := r.await("supervise.link.ordered", "a", 1).DataJSON()
	if want := `{"action":"start","members":["b","c"],"process":"a"}`; string(data) != want {
		t.Errorf("got %s, want %s", data, want)
	}
}

// TestOrderToOneWhoseChainIsAtWork: its handler comes to its end, and then it is
// started.
func TestOrderToOneWhoseChainIsAtWork(t *testing.T) {
	dir := t.TempDir()
	began, release, note := filepath.Join(dir, "began"), filepath.Join(dir, "release"), filepath.Join(dir, "note")
	handler := "cat >/dev/null; touch " + began + "; while ! test -e " + release + "; do sleep 0.01; done; echo x >>" + note
	r := newRig(t, processes(map[string]ProcessConfig{
		"b": failsWith(filepath.Join(dir, "b"), 1, LinkConfig{Exec: []string{"/bin/sh", "-c", handler}}),
		"a": with(sh("while ! test -e "+began+"; do sleep 0.01; done; exit 1"), func(p *ProcessConfig) {
			p.OnFail = []LinkConfig{restartLink("b"), {Log: "next", Settle: true}}
		}),
	}))
	r.await("supervise.link.ordered", "a", 1)
	r.await("supervise.process.fatal", "a", 1)
	create(t, release)
	r.await("supervise.process.running", "b", 2)
	if n := count(t, note); n != 1 {
		t.Errorf("the handler came to its end %d times, want 1", n)
	}
}

// TestOrderToOneThatIsStartedAnyway: a chain does not cut a backoff short.
func TestOrderToOneThatIsStartedAnyway(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, processes(map[string]ProcessConfig{
		"b": with(failsWith(filepath.Join(dir, "b"), 1), func(p *ProcessConfig) {
			p.Restart = RestartOnFailure
			p.Backoff = launch.Backoff{Initial: unit.Duration(time.Hour), Factor: 1, Max: unit.Duration(time.Hour)}
		}),
		"a": with(sh("exit 1"), func(p *ProcessConfig) {
			p.Autostart = false
			p.OnFail = []LinkConfig{startLink("b"), restartLink("b"), {Log: "next", Settle: true}}
		}),
	}))
	r.await("supervise.process.backoff", "b", 1)
	r.do(Request{Action: ActionStart, Names: []string{"a"}})
	r.await("supervise.link.ordered", "a", 2)
	if p := r.process("b"); p.State != StateBackoff {
		t.Errorf("b is %+v", p)
	}
}

// TestOrderAndRaise: what a chain ordered is not carried out while the tree goes
// down.
func TestOrderAndRaise(t *testing.T) {
	r := newRig(t, processes(map[string]ProcessConfig{
		"a": with(sh("exit 6"), func(p *ProcessConfig) {
			p.DependsOn = needs("b")
			p.OnFail = []LinkConfig{restartLink("b"), startLink("c"), {Raise: true}}
		}),
		"b": forever(), "c": with(forever(), func(p *ProcessConfig) { p.Autostart = false }),
	}))
	if rep := r.report(); rep.ExitCode() != 6 {
		t.Errorf("report %+v", rep)
	}
	if got := r.order("supervise.process.starting"); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("started %v", got)
	}
}
