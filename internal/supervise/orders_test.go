package supervise

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/unit"
)

// reluctant is a process that ends after SIGTERM only when the file exists. It
// is ready when it is prepared for that.
func reluctant(release string) ProcessConfig {
	return with(sh(`trap 'while ! test -e `+release+`; do sleep 0.01; done; exit 0' TERM; echo up; while :; do sleep 0.01; done`), func(p *ProcessConfig) {
		p.Ready.Log = "^up$"
	})
}

func create(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGroupRestartBesideAnOperatorsStart: a process that an operator starts
// while its group is on its way down does not keep the others from coming back.
func TestGroupRestartBesideAnOperatorsStart(t *testing.T) {
	dir := t.TempDir()
	mended, release := filepath.Join(dir, "mended"), filepath.Join(dir, "release")
	slow := reluctant(release)
	slow.Output.File = noFile
	r := newRig(t, Config{
		Children: []string{"g"},
		Process: map[string]ProcessConfig{
			"bad":  with(sh("test -e "+mended+" && exec sleep 1000; exit 1"), func(p *ProcessConfig) { p.DependsOn = needs("other", "slow") }),
			"slow": slow, "other": forever(),
		},
		Group: map[string]GroupConfig{"g": {
			Children: []string{"slow", "other", "bad"}, Backoff: fastBackoff(), OnFail: []LinkConfig{{Retry: 1}},
		}},
	})
	r.await("supervise.process.stopping", "slow", 1)
	r.await("supervise.process.stopped", "other", 1)
	create(t, mended)
	r.do(Request{Action: ActionStart, Names: []string{"other"}})
	create(t, release)
	r.await("supervise.process.running", "slow", 2)
	r.await("supervise.process.running", "bad", 2)
	if n := r.process("other").Restarts; n != 1 {
		t.Errorf("what the operator had started was restarted %d times, want 1", n)
	}
}

func needs(names ...string) (list []DependencyConfig) {
	for _, n := range names {
		list = append(list, DependencyConfig{Name: n, Condition: ConditionReady})
	}
	return list
}

// TestDependentWaitsForARestartOfTheGroup: what depends on a failed process is
// not given up while a group above that may start it again.
func TestDependentWaitsForARestartOfTheGroup(t *testing.T) {
	for name, chain := range map[string][]LinkConfig{
		"at once":         {{Retry: 1}},
		"after a command": {{Exec: proc.Command{"true"}}, {Retry: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			mended := filepath.Join(t.TempDir(), "mended")
			r := newRig(t, dependentOutside(sh("test -e "+mended+" && exit 0; touch "+mended+"; exit 1"), chain))
			if rep := r.report(); rep.ExitCode() != 0 {
				t.Errorf("report %+v", rep)
			}
			r.await("supervise.process.completed", "dependent", 1)
		})
	}
}

// TestDependentIsGivenUpOnceTheGroupHasSettled: and not before.
func TestDependentIsGivenUpOnceTheGroupHasSettled(t *testing.T) {
	r := newRig(t, dependentOutside(sh("exit 1"), []LinkConfig{{Exec: proc.Command{"true"}}, {Settle: true}}))
	if rep := r.report(); len(rep.Failures) != 2 {
		t.Errorf("report %+v", rep)
	}
	r.await("supervise.process.fatal", "dependent", 1)
}

func dependentOutside(inner ProcessConfig, chain []LinkConfig) Config {
	return Config{
		Children: []string{"g", "dependent"},
		Process: map[string]ProcessConfig{
			"inner": inner,
			"dependent": with(sh("exit 0"), func(p *ProcessConfig) {
				p.DependsOn = []DependencyConfig{{Name: "inner", Condition: ConditionCompleted}}
			}),
		},
		Group: map[string]GroupConfig{"g": {Children: []string{"inner"}, Backoff: fastBackoff(), OnFail: chain}},
	}
}

// TestRestartOfWhatCannotStart: the order ends although nothing was started.
func TestRestartOfWhatCannotStart(t *testing.T) {
	bad := sh("exit 1")
	bad.OnFail = []LinkConfig{{Settle: true}}
	r := newRig(t, processes(map[string]ProcessConfig{
		"bad": bad, "keeps-the-tree": forever(),
		"dependent": with(forever(), func(p *ProcessConfig) {
			p.DependsOn = []DependencyConfig{{Name: "bad", Condition: ConditionCompleted}}
		}),
	}))
	r.await("supervise.process.fatal", "dependent", 1)
	if res := r.do(Request{Action: ActionRestart, Names: []string{"dependent"}}); res[0].OK || res[0].State != StateFatal {
		t.Errorf("restart: %+v", res)
	}
}

// TestOrdersThatAreCountermanded: who waits for an order is told when another
// operator has ordered otherwise.
func TestOrdersThatAreCountermanded(t *testing.T) {
	for _, c := range []struct {
		first, second Action
		state         State
	}{
		{ActionStop, ActionStart, ""},
		{ActionRestart, ActionStop, StateStopped},
	} {
		t.Run(string(c.first)+" then "+string(c.second), func(t *testing.T) {
			release := filepath.Join(t.TempDir(), "release")
			r := newRig(t, processes(map[string]ProcessConfig{"a": reluctant(release), "b": forever()}))
			r.await("supervise.process.running", "a", 1)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			first := make(chan []Result, 1)
			go func() {
				results, _ := r.s.Do(ctx, Request{Action: c.first, Names: []string{"a"}})
				first <- results
			}()
			r.await("supervise.process.stopping", "a", 1)
			r.do(Request{Action: c.second, Names: []string{"a"}, NoWait: true})
			create(t, release)
			if res := <-first; len(res) != 1 || res[0].OK || c.state != "" && res[0].State != c.state {
				t.Errorf("%s: %+v", c.first, res)
			}
		})
	}
}

// TestWhoHasGoneIsWaitedForNoMore: an operator who gives up leaves nothing behind.
func TestWhoHasGoneIsWaitedForNoMore(t *testing.T) {
	never := forever()
	never.Ready.Log, never.Ready.Timeout = "never", unit.Duration(time.Hour)
	r := newRig(t, processes(map[string]ProcessConfig{"a": never}))
	r.await("supervise.process.starting", "a", 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	for range 3 {
		if err := r.s.wait(ctx, func() bool { return false }); !errors.Is(err, gone) && err != nil {
			t.Errorf("wait: %v", err)
		}
	}
	left := -1
	for range 2 { // the first question lets the loop look
		if err := r.s.ask(t.Context(), func() { left = len(r.s.waiters) }); err != nil {
			t.Fatal(err)
		}
	}
	if left != 0 {
		t.Errorf("%d waiters are left", left)
	}
}

// TestOrderBesideAShutdown: an order that was accepted just before the shutdown
// starts nothing after it.
func TestOrderBesideAShutdown(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	r := newRig(t, processes(map[string]ProcessConfig{
		"a": reluctant(release), "b": with(forever(), func(p *ProcessConfig) { p.Autostart = false }),
	}))
	r.await("supervise.process.running", "a", 1)
	targets, err := r.s.find(t.Context(), []string{"b"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = r.s.order(t.Context(), Request{Action: ActionStart, NoWait: true}, targets, true, r.s.bringUp)
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("start during a shutdown: %v, want a conflict", err)
	}
	create(t, release)
	r.report()
	if got := r.order("supervise.process.starting"); len(got) != 1 {
		t.Errorf("started %v", got)
	}
}

// TestFailureDuringAShutdown: a process that fails while it waits for its turn to
// be stopped is restarted neither by its group's chain nor by its strategy.
func TestFailureDuringAShutdown(t *testing.T) {
	for name, c := range map[string]struct {
		group  GroupConfig
		policy Restart
	}{
		"chain":    {GroupConfig{OnFail: []LinkConfig{{Retry: 1000}}}, RestartNever},
		"strategy": {GroupConfig{Strategy: OneForAll}, RestartAlways},
	} {
		t.Run(name, func(t *testing.T) {
			release := filepath.Join(t.TempDir(), "release")
			c.group.Children = []string{"low", "high"}
			c.group.Backoff = fastBackoff()
			r := newRig(t, Config{
				Process: map[string]ProcessConfig{
					"low":  with(forever(), func(p *ProcessConfig) { p.Restart = c.policy }),
					"high": with(reluctant(release), func(p *ProcessConfig) { p.DependsOn = needs("low") }),
				},
				Group: map[string]GroupConfig{"g": c.group},
			})
			r.await("supervise.process.running", "high", 1)
			if err := r.s.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.do(Request{Action: ActionSignal, Signal: "KILL", Names: []string{"low"}})
			r.await("supervise.process.exited", "low", 1)
			create(t, release)
			r.report()
		})
	}
}

// TestAnswersToThoseWhoHaveGone: the loop answers a question that was given up
// without touching what the one who asked reads. The race detector is the judge.
func TestAnswersToThoseWhoHaveGone(t *testing.T) {
	r := newRig(t, processes(map[string]ProcessConfig{"a": forever()}))
	r.await("supervise.process.running", "a", 1)
	for name, question := range map[string]func(context.Context){
		"start": func(ctx context.Context) { _, _ = r.s.Do(ctx, Request{Action: ActionStart, All: true, NoWait: true}) },
		"signal": func(ctx context.Context) {
			_, _ = r.s.Do(ctx, Request{Action: ActionSignal, Signal: "CONT", All: true})
		},
		"status": func(ctx context.Context) { _, _ = r.s.Status(ctx) },
		"results": func(ctx context.Context) {
			_, _ = r.s.results(ctx, Request{Action: ActionStart}, r.s.tree.processes, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			for range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				question(ctx)
				cancel()
			}
		})
	}
}

// TestFullDiskKeepsTheExitCode: what cannot be logged or recorded changes nothing
// about how the tree has ended.
func TestFullDiskKeepsTheExitCode(t *testing.T) {
	loud := sh("echo hello; exit 33")
	loud.Output.File = "/dev/full"
	r := newRig(t, processes(map[string]ProcessConfig{"a": loud}))
	if rep := r.report(); rep.ExitCode() != 33 {
		t.Errorf("report %+v", rep)
	}
}

// TestReloadWhileStopping: the stop ladder goes on as it began. The race detector
// is the judge.
func TestReloadWhileStopping(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	cfg := processes(map[string]ProcessConfig{"a": reluctant(release), "b": forever()})
	r := newRig(t, cfg)
	r.await("supervise.process.running", "a", 1)
	r.do(Request{Action: ActionStop, Names: []string{"a"}, NoWait: true})
	next := processes(map[string]ProcessConfig{
		"a": with(reluctant(release), func(p *ProcessConfig) { p.Stop.Grace++ }), "b": forever(),
	})
	if plan := r.reload(next); len(plan.Updated) != 1 {
		t.Errorf("plan %+v", plan)
	}
	create(t, release)
	r.await("supervise.process.stopped", "a", 1)
}

// TestFailuresOfAGroupOneAfterTheOther: a handler is not cut short because another
// process of the group fails while it runs.
func TestFailuresOfAGroupOneAfterTheOther(t *testing.T) {
	dir := t.TempDir()
	began, notes, release := filepath.Join(dir, "began"), filepath.Join(dir, "notes"), filepath.Join(dir, "release")
	handler := "cat >/dev/null; touch " + began + "; while ! test -e " + release + "; do sleep 0.01; done; echo $PROCOPS_PROCESS >>" + notes
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{
			"first":  sh("exit 1"),
			"second": sh("while ! test -e " + began + "; do sleep 0.01; done; exit 2"),
		},
		Group: map[string]GroupConfig{"g": {
			Children: []string{"first", "second"},
			OnFail:   []LinkConfig{{Exec: proc.Command{"/bin/sh", "-c", handler}}, {Settle: true}},
		}},
	})
	r.await("supervise.process.fatal", "second", 1)
	create(t, release)
	if rep := r.report(); len(rep.Failures) != 2 {
		t.Errorf("report %+v", rep)
	}
	if n := count(t, notes); n != 2 {
		t.Errorf("%d handlers came to their end, want 2", n)
	}
}
