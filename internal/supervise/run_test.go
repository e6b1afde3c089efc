package supervise

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/unit"
)

func processes(list map[string]ProcessConfig) Config { return Config{Process: list} }

func with(p ProcessConfig, changes ...func(*ProcessConfig)) ProcessConfig {
	for _, change := range changes {
		change(&p)
	}
	return p
}

func TestTreeEndsWhenAllIsDone(t *testing.T) {
	r := newRig(t, processes(map[string]ProcessConfig{"a": sh("exit 0"), "b": sh("echo hello")}))
	if rep := r.report(); rep.ExitCode() != 0 || len(rep.Failures) != 0 {
		t.Errorf("report %+v", rep)
	}
}

func TestFailureWithoutHandlersEndsSupervision(t *testing.T) {
	r := newRig(t, processes(map[string]ProcessConfig{
		"bad":   sh("echo out; echo err >&2; exit 3"),
		"other": forever(),
	}))
	rep := r.report()
	if rep.ExitCode() != 3 || len(rep.Failures) != 1 {
		t.Fatalf("report %+v", rep)
	}
	var b strings.Builder
	if _, err := rep.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"bad" failed`, "echo out; echo err >&2; exit 3", "exit code: 3", "stderr:\n    err\n", "stdout:\n    out\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, b.String())
		}
	}
	r.await("supervise.process.stopped", "other", 1)
}

func TestDeathBySignalIsAFailure(t *testing.T) {
	r := newRig(t, processes(map[string]ProcessConfig{"bad": sh("kill -TERM $$")}))
	rep := r.report()
	if rep.ExitCode() != 143 || !strings.Contains(rep.Failures[0].Text, "143 Termination (request to terminate)") {
		t.Errorf("report %+v", rep)
	}
}

func TestMissingProgramFailsLikeAShell(t *testing.T) {
	p := forever()
	p.Command = proc.Command{"/no/such/program"}
	r := newRig(t, processes(map[string]ProcessConfig{"bad": p}))
	if rep := r.report(); rep.ExitCode() != 127 {
		t.Errorf("report %+v", rep)
	}
}

// TestChainInGroupInGroup: retry, exec, raise of a process in a group in a
// group, whose own retries are used up as well, end supervision.
func TestChainInGroupInGroup(t *testing.T) {
	dir := t.TempDir()
	runs, notes := filepath.Join(dir, "runs"), filepath.Join(dir, "notes")
	bad := seedProcess(runs, notes)
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{"bad": bad, "sibling": forever(), "cousin": forever()},
		Group: map[string]GroupConfig{
			"inner": {Children: []string{"bad", "sibling"}, OnFail: []LinkConfig{{Retry: 1}}, Backoff: fastBackoff()},
			"outer": {Children: []string{"inner", "cousin"}, OnFail: []LinkConfig{{Retry: 1}}, Backoff: fastBackoff()},
		},
	})
	rep := r.report()
	checkSeedReport(t, rep, notes)
	// The process: 1 + 2 retries. It raises; inner restarts it once, outer once
	// more; the process's own retries are used up by then.
	if n := count(t, runs); n != 5 {
		t.Errorf("%d runs, want 5:\n%s", n, r.history())
	}
	if n := count(t, notes); n != 3 {
		t.Errorf("%d runs of the exec link, want 3", n)
	}
	if got := r.order("supervise.group.restarting"); !slices.Equal(got, []string{"inner", "outer"}) {
		t.Errorf("groups restarted: %v", got)
	}
	// The sibling went down and up with both groups, the cousin with outer only.
	up := r.order("supervise.process.running")
	if n := occurrences(up, "sibling"); n != 3 {
		t.Errorf("sibling was up %d times, want 3", n)
	}
	if n := occurrences(up, "cousin"); n != 2 {
		t.Errorf("cousin was up %d times, want 2", n)
	}
}

// seedProcess is a process that fails and says so on both streams, with the chain
// of the seed: retry twice, run a handler, raise.
func seedProcess(runs, notes string) ProcessConfig {
	bad := sh("echo run >>" + runs + "; echo to stdout; echo to stderr >&2; exit 7")
	bad.OnFail = []LinkConfig{
		{Retry: 2},
		{Exec: proc.Command{"/bin/sh", "-c", "(tr -d '\\n'; echo \" $PROCOPS_PROCESS $PROCOPS_EXIT_CODE $PROCOPS_EXIT_TEXT\") >>" + notes}},
		{Raise: true},
	}
	return bad
}

// checkSeedReport checks the report for people and what the handler was given.
func checkSeedReport(t *testing.T, rep Report, notes string) {
	t.Helper()
	var text strings.Builder
	if _, err := rep.WriteTo(&text); err != nil || rep.ExitCode() != 7 {
		t.Errorf("report %+v, %v", rep, err)
	}
	for _, want := range []string{`The process "bad" failed.`, "  command:   echo run >>", "  exit code: 7", "  stderr:\n    to stderr\n", "  stdout:\n    to stdout\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, text.String())
		}
	}
	raw, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"stdout":"to stdout"`, `"stderr":"to stderr"`, `"code":7`, " bad 7 7 "} {
		if !strings.Contains(strings.ReplaceAll(string(raw), `\n"`, `"`), want) {
			t.Errorf("the handler was not given %q but %s", want, raw)
		}
	}
}

// TestSeedTrees: the other trees of the seed's tests. All runs of a process of a tree
// are 1 and 2 retries, and 1 more each time that a group starts it again.
func TestSeedTrees(t *testing.T) {
	once := []LinkConfig{{Retry: 1}}
	for name, c := range map[string]struct {
		groups      map[string]GroupConfig
		runs        int
		sibling     int // how often it was up
		restarting  []string
		stillRaised bool
	}{
		"process alone":      {nil, 3, 1, nil, true},
		"group":              {map[string]GroupConfig{"g": {Children: []string{"bad", "sibling"}}}, 3, 1, nil, true},
		"group that retries": {map[string]GroupConfig{"g": {Children: []string{"bad", "sibling"}, OnFail: once}}, 4, 2, []string{"g"}, true},
		"mixed, below a process": {map[string]GroupConfig{
			"inner": {Children: []string{"bad"}, OnFail: once}, "outer": {Children: []string{"sibling", "inner"}},
		}, 4, 1, []string{"inner"}, true},
		"mixed, beside a group": {map[string]GroupConfig{
			"inner": {Children: []string{"sibling"}, OnFail: once}, "outer": {Children: []string{"inner", "bad"}, OnFail: once},
		}, 4, 2, []string{"outer"}, true},
		"raised past a group": {map[string]GroupConfig{
			"inner": {Children: []string{"bad"}, OnFail: []LinkConfig{{Raise: true}, {Retry: 9}}}, "outer": {Children: []string{"inner", "sibling"}, OnFail: once},
		}, 4, 2, []string{"outer"}, true},
		"settled half way up": {map[string]GroupConfig{
			"inner": {Children: []string{"bad"}, OnFail: once}, "outer": {Children: []string{"inner", "sibling"}, OnFail: []LinkConfig{{Settle: true}}},
		}, 4, 1, []string{"inner"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			runs, notes := filepath.Join(dir, "runs"), filepath.Join(dir, "notes")
			for name, g := range c.groups {
				g.Backoff = fastBackoff()
				c.groups[name] = g
			}
			bad := seedProcess(runs, notes)
			bad.DependsOn = needs("sibling")
			r := newRigWith(t, dir, Config{Process: map[string]ProcessConfig{"bad": bad, "sibling": forever()}, Group: c.groups}, alone)
			if !c.stillRaised {
				r.await("supervise.process.fatal", "bad", 2)
				r.cancel()
			}
			checkSeedReport(t, r.report(), notes)
			if n := count(t, runs); n != c.runs {
				t.Errorf("%d runs, want %d", n, c.runs)
			}
			if n := occurrences(r.order("supervise.process.running"), "sibling"); n != c.sibling {
				t.Errorf("the sibling was up %d times, want %d", n, c.sibling)
			}
			if got := r.order("supervise.group.restarting"); !slices.Equal(got, c.restarting) {
				t.Errorf("groups restarted: %v, want %v", got, c.restarting)
			}
			if n := len(r.order("supervise.failed")); (n == 1) != c.stillRaised {
				t.Errorf("%d failures have ended supervision", n)
			}
		})
	}
}

func occurrences(list []string, name string) int {
	n := 0
	for _, x := range list {
		if x == name {
			n++
		}
	}
	return n
}

func TestSettledFailureLeavesTheOthersAlone(t *testing.T) {
	bad := with(sh("exit 4"), func(p *ProcessConfig) {
		p.Restart, p.MaxRestarts = RestartOnFailure, 2
		p.OnFail = []LinkConfig{{Log: "{{name}} gave up with {{exit_code}}", Settle: true}}
	})
	r := newRig(t, processes(map[string]ProcessConfig{"bad": bad, "good": forever()}))
	r.await("supervise.process.fatal", "bad", 1)
	e := r.await("supervise.process.log", "bad", 1)
	if data, _ := e.DataJSON(); !strings.Contains(string(data), "bad gave up with 4") {
		t.Errorf("log link said %s", data)
	}
	if got := r.process("bad"); got.Restarts != 2 || got.State != StateFatal || got.AsWanted() {
		t.Errorf("bad is %+v", got)
	}
	if got := r.process("good"); got.State != StateRunning {
		t.Errorf("good is %+v", got)
	}
	r.cancel()
	if rep := r.report(); rep.ExitCode() != 4 {
		t.Errorf("report %+v", rep)
	}
}

func TestRestartAlwaysAndHealthyReset(t *testing.T) {
	p := with(sh("sleep 0.05"), func(p *ProcessConfig) {
		p.Restart, p.MaxRestarts = RestartAlways, 1
		p.HealthyAfter = unit.Duration(time.Millisecond)
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 5)
}

func TestOnPassChainRuns(t *testing.T) {
	note := filepath.Join(t.TempDir(), "note")
	p := sh("exit 0")
	p.OnPass = []LinkConfig{{Retry: 2}, {Exec: proc.Command{"/bin/sh", "-c", "echo done >>" + note}}}
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{"p": p},
		Group:   map[string]GroupConfig{"g": {Children: []string{"p"}, OnPass: []LinkConfig{{Log: "all done"}}}},
	})
	if rep := r.report(); rep.ExitCode() != 0 {
		t.Errorf("report %+v", rep)
	}
	if n := count(t, note); n != 1 {
		t.Errorf("the exec link ran %d times, want 1", n)
	}
	if n := len(r.order("supervise.process.running")); n != 3 {
		t.Errorf("%d runs, want 3", n)
	}
	r.await("supervise.process.log", "g", 1)
}

func TestRaisedGoodEndTakesAllDown(t *testing.T) {
	p := sh("exit 3")
	p.SuccessCodes = []int{0, 3}
	p.OnPass = []LinkConfig{{Raise: true}}
	for name, c := range map[string]struct {
		group GroupConfig
		code  int
	}{
		"at the top": {GroupConfig{Children: []string{"p"}}, 3},
		"settled":    {GroupConfig{Children: []string{"p"}, OnFail: []LinkConfig{{Settle: true}}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Config{
				Process: map[string]ProcessConfig{"p": p, "other": forever()},
				Group:   map[string]GroupConfig{"g": c.group},
			})
			r.await("supervise.process.completed", "p", 1)
			if c.code == 0 {
				r.cancel()
			}
			rep := r.report()
			if rep.ExitCode() != c.code {
				t.Errorf("exit code %d, want %d: %+v", rep.ExitCode(), c.code, rep)
			}
			var text strings.Builder
			if _, err := rep.WriteTo(&text); err != nil || text.Len() > 0 {
				t.Errorf("a good end is reported as a failure: %s, %v", text.String(), err)
			}
			if n := len(r.order("supervise.failed")); n != 0 {
				t.Errorf("%d events of failure", n)
			}
			r.await("supervise.process.stopped", "other", 1)
		})
	}
}

func TestDependenciesOrderStartAndStop(t *testing.T) {
	db := with(sh("sleep 0.1; echo up; exec sleep 1000"), func(p *ProcessConfig) { p.Ready.Log = "^up$" })
	app := with(forever(), func(p *ProcessConfig) { p.DependsOn = []DependencyConfig{{Name: "db", Condition: ConditionReady}} })
	web := with(forever(), func(p *ProcessConfig) { p.DependsOn = []DependencyConfig{{Name: "app", Condition: ConditionStarted}} })
	r := newRig(t, processes(map[string]ProcessConfig{"app": app, "db": db, "web": web}))
	r.await("supervise.process.running", "web", 1)
	if got := r.order("supervise.process.running"); !slices.Equal(got, []string{"db", "app", "web"}) {
		t.Errorf("came up in order %v", got)
	}
	r.cancel()
	if rep := r.report(); rep.ExitCode() != 0 {
		t.Errorf("report %+v", rep)
	}
	if got := r.order("supervise.process.stopped"); !slices.Equal(got, []string{"web", "app", "db"}) {
		t.Errorf("stopped in order %v", got)
	}
}

func TestNotReadyInTimeIsAFailure(t *testing.T) {
	p := with(forever(), func(p *ProcessConfig) {
		p.Ready.TCP, p.Ready.Timeout = "127.0.0.1:1", unit.Duration(50*time.Millisecond)
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	rep := r.report()
	if rep.ExitCode() == 0 || !strings.Contains(rep.Failures[0].Text, "not ready after 50ms") {
		t.Errorf("report %+v", rep)
	}
}

func TestOperatorStopsStartsAndRestarts(t *testing.T) {
	r := newRig(t, processes(map[string]ProcessConfig{"a": forever(), "b": forever()}))
	r.await("supervise.process.running", "a", 1)
	if res := r.do(Request{Action: ActionStop, Names: []string{"a"}}); !res[0].OK || res[0].State != StateStopped {
		t.Errorf("stop: %+v", res)
	}
	if p := r.process("a"); p.PID != 0 || !p.AsWanted() {
		t.Errorf("stopped process %+v", p)
	}
	if res := r.do(Request{Action: ActionStart, Names: []string{"a"}}); !res[0].OK || res[0].PID == 0 {
		t.Errorf("start: %+v", res)
	}
	before := r.process("b").PID
	if res := r.do(Request{Action: ActionRestart, Names: []string{"b"}}); !res[0].OK || res[0].PID == before {
		t.Errorf("restart: %+v, was pid %d", res, before)
	}
	_, err := r.s.Do(t.Context(), Request{Action: ActionStop, Names: []string{"aa"}})
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("unknown name: %v", err)
	}
}

// TestWantedStateOutlivesTheSupervisor: what was stopped by hand stays stopped.
func TestWantedStateOutlivesTheSupervisor(t *testing.T) {
	dir := t.TempDir()
	cfg := processes(map[string]ProcessConfig{"a": forever(), "b": forever()})
	t.Run("first", func(t *testing.T) {
		r := newRigIn(t, dir, cfg)
		r.await("supervise.process.running", "a", 1)
		r.do(Request{Action: ActionStop, Names: []string{"a"}})
	})
	t.Run("second", func(t *testing.T) {
		r := newRigIn(t, dir, cfg)
		r.await("supervise.process.running", "b", 1)
		if p := r.process("a"); p.State != StateStopped || p.Wanted {
			t.Errorf("a is %+v", p)
		}
		r.do(Request{Action: ActionStart, Names: []string{"a"}})
	})
	t.Run("third", func(t *testing.T) {
		r := newRigIn(t, dir, cfg)
		r.await("supervise.process.running", "a", 1)
	})
}

// TestStopTakesGrandchildrenAlong: the whole group is ended, by SIGKILL in the end.
func TestStopTakesGrandchildrenAlong(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	child := "trap '' TERM; echo $$ >" + pid + "; echo up; while :; do sleep 1000; done"
	p := with(sh("trap '' TERM; sh -c \"$CHILD\" & wait"), func(p *ProcessConfig) {
		p.Env = map[string]string{"CHILD": child}
		p.Ready.Log = "up"
		p.Stop.Grace = unit.Duration(200 * time.Millisecond)
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
	r.cancel()
	r.report()
	if alive(t, pid) {
		t.Error("a grandchild that ignores SIGTERM is still there")
	}
}

// TestGrandchildrenOfAnEndedLeaderAreEnded: nothing is left behind before the
// successor starts.
func TestGrandchildrenOfAnEndedLeaderAreEnded(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	p := sh("sleep 1000 >/dev/null 2>&1 & echo $! >" + pid + "; exit 0")
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.report()
	if alive(t, pid) {
		t.Error("the grandchild of a process that ended is still there")
	}
}

func TestHurryCutsTheLadderShort(t *testing.T) {
	p := with(sh("trap '' TERM; echo up; while :; do sleep 1000; done"), func(p *ProcessConfig) {
		p.Ready.Log = "up"
		p.Stop.Grace = unit.Duration(time.Hour)
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
	r.cancel()
	r.await("supervise.process.stopping", "p", 1)
	r.s.Hurry()
	r.report()
}

func TestStopCommandReplacesTheSignal(t *testing.T) {
	note := filepath.Join(t.TempDir(), "note")
	p := with(sh("trap 'echo usr1 >"+note+"; exit 0' USR1; trap 'echo term >"+note+"' TERM; echo up; while :; do sleep 0.01; done"), func(p *ProcessConfig) {
		p.Ready.Log = "up"
		p.Stop.Command = proc.Command{"/bin/kill", "-USR1", "{{pid}}"}
	})
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
	r.do(Request{Action: ActionStop, Names: []string{"p"}})
	if n := count(t, note); n != 1 {
		t.Errorf("the process heard of its end %d times, want once by USR1", n)
	}
}

func TestSignalReachesTheLeader(t *testing.T) {
	p := with(sh("trap 'exit 9' USR2; echo up; while :; do sleep 0.01; done"), func(p *ProcessConfig) { p.Ready.Log = "up" })
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
	if res := r.do(Request{Action: ActionSignal, Names: []string{"p"}, Signal: "USR2"}); !res[0].OK {
		t.Errorf("signal: %+v", res)
	}
	if rep := r.report(); rep.ExitCode() != 9 {
		t.Errorf("report %+v", rep)
	}
}

func TestLogsOfThePastAndFollowed(t *testing.T) {
	script := "trap 'echo signalled' USR1; echo one; echo two >&2; echo up; while :; do sleep 0.01; done"
	p := with(sh(script), func(p *ProcessConfig) { p.Ready.Log = "up" })
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	r.await("supervise.process.running", "p", 1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []string
	signalled := false
	err := r.s.Logs(ctx, LogRequest{Lines: 10, Follow: true}, func(l LogLine) error {
		got = append(got, l.Stream+":"+l.Text)
		if !signalled {
			signalled = true
			r.do(Request{Action: ActionSignal, Names: []string{"p"}, Signal: "USR1"})
		}
		if l.Text == "signalled" {
			cancel()
		}
		return nil
	})
	if err != nil || ctx.Err() != context.Canceled {
		t.Fatalf("Logs: %v, %v; got %v", err, ctx.Err(), got)
	}
	if !slices.Contains(got, "stderr:two") || !slices.Contains(got, "stdout:one") {
		t.Errorf("got %v", got)
	}
}

func TestSuccessorStartsOnceAfterKill(t *testing.T) {
	p := with(forever(), func(p *ProcessConfig) { p.Restart = RestartAlways })
	r := newRig(t, processes(map[string]ProcessConfig{"p": p}))
	for i := 1; i <= 20; i++ {
		r.await("supervise.process.running", "p", i)
		if err := syscall.Kill(r.process("p").PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	r.await("supervise.process.running", "p", 21)
	if got := r.process("p"); got.Restarts != 20 {
		t.Errorf("%d restarts, want 20", got.Restarts)
	}
}
