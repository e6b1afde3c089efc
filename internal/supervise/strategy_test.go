package supervise

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"procops/internal/launch"
	"procops/internal/unit"
)

// otpKinds are the kinds of children of OTP's supervisors and what stands for
// them here. A temporary child's failure is nobody's business.
func otpKinds() map[string]func(*ProcessConfig) {
	return map[string]func(*ProcessConfig){
		"permanent": func(p *ProcessConfig) { p.Restart = RestartAlways },
		"transient": func(p *ProcessConfig) { p.Restart = RestartOnFailure },
		"temporary": func(p *ProcessConfig) { p.OnFail = []LinkConfig{{Settle: true}} },
	}
}

// once ends with a code the first time and stays the second time.
func once(dir string, code int) ProcessConfig {
	mark := filepath.Join(dir, "mark")
	p := sh(fmt.Sprintf("test -e %s && exec sleep 1000; touch %s; exit %d", mark, mark, code))
	p.SuccessCodes = []int{0, 100}
	return p
}

// TestRestForOneKeepsOrder: the later ones go down first, last to first, and
// come up first to last.
func TestRestForOneKeepsOrder(t *testing.T) {
	b := with(once(t.TempDir(), 1), otpKinds()["permanent"])
	after := func(name string) ProcessConfig {
		return with(forever(), func(p *ProcessConfig) {
			p.Restart = RestartAlways
			p.DependsOn = []DependencyConfig{{Name: name, Condition: ConditionReady}}
		})
	}
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{"b": b, "c": after("b"), "d": after("c")},
		Group:   map[string]GroupConfig{"g": {Children: []string{"b", "c", "d"}, Strategy: RestForOne}},
	})
	r.await("supervise.process.running", "d", 2)
	if got := r.order("supervise.process.stopped"); !slices.Equal(got, []string{"d", "c"}) {
		t.Errorf("went down in order %v", got)
	}
	if got := r.order("supervise.process.running"); !slices.Equal(got[len(got)-3:], []string{"b", "c", "d"}) {
		t.Errorf("came up in order %v", got)
	}
}

// TestIntensityEscalates: more restarts than the group allows are a failure of
// the group, and at the top they end supervision.
func TestIntensityEscalates(t *testing.T) {
	for _, strategy := range []Strategy{OneForOne, OneForAll, RestForOne} {
		t.Run(string(strategy), func(t *testing.T) {
			r := newRig(t, Config{
				Process: map[string]ProcessConfig{
					"bad":  with(sh("exit 5"), otpKinds()["permanent"]),
					"good": with(forever(), otpKinds()["permanent"]),
				},
				Group: map[string]GroupConfig{"g": {
					Children: []string{"bad", "good"}, Strategy: strategy, MaxRestarts: 3, Within: unit.Duration(time.Minute),
				}},
			})
			rep := r.report()
			if rep.ExitCode() != 5 {
				t.Errorf("report %+v", rep)
			}
			if n := occurrences(r.order("supervise.process.starting"), "bad"); n != 4 {
				t.Errorf("bad ran %d times, want 1 and 3 restarts", n)
			}
		})
	}
}

// TestIntensityForgetsOldRestarts: only those within the window count.
func TestIntensityForgetsOldRestarts(t *testing.T) {
	g := &group{cfg: GroupConfig{MaxRestarts: 2, Within: unit.Duration(10 * time.Second)}}
	start := time.Now()
	for _, restart := range []struct {
		after   time.Duration
		tooMany bool
	}{
		{0, false},
		{5 * time.Second, false},
		{11 * time.Second, false},
		{16 * time.Second, false},
		{17 * time.Second, true},
	} {
		if got := g.tooOften(start.Add(restart.after)); got != restart.tooMany {
			t.Errorf("restart after %s: too often is %v, want %v", restart.after, got, restart.tooMany)
		}
	}
}

// TestEscalationRestartsTheGroup: a group that is overwhelmed is restarted by
// the group above, by that one's strategy, until that is overwhelmed as well.
func TestEscalationRestartsTheGroup(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	permanent := otpKinds()["permanent"]
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{
			"bad":    with(sh("echo run >>"+runs+"; exit 5"), permanent),
			"inside": with(forever(), permanent),
			"before": with(forever(), permanent),
			"after":  with(forever(), permanent),
		},
		Group: map[string]GroupConfig{
			"inner": {Children: []string{"bad", "inside"}, Restart: RestartAlways, MaxRestarts: 1, Within: unit.Duration(time.Minute), Backoff: fastBackoff()},
			"outer": {Children: []string{"before", "inner", "after"}, Strategy: RestForOne, MaxRestarts: 2, Within: unit.Duration(time.Minute), Backoff: fastBackoff()},
		},
	})
	rep := r.report()
	if rep.ExitCode() != 5 || !strings.Contains(rep.Failures[len(rep.Failures)-1].Text, "5 ") {
		t.Errorf("report %+v", rep)
	}
	// Each life of inner has 2 runs of bad; outer restarts it twice.
	if n := count(t, runs); n != 6 {
		t.Errorf("bad ran %d times, want 6:\n%s", n, r.history())
	}
	ups := r.order("supervise.process.starting")
	for name, want := range map[string]int{"before": 1, "inside": 3, "after": 3} {
		if n := occurrences(ups, name); n != want {
			t.Errorf("%s was started %d times, want %d", name, n, want)
		}
	}
}

// TestOverwhelmedGroupMayBeSettled: the chain of the group above has a say, and
// what is left of the group is down.
func TestOverwhelmedGroupMayBeSettled(t *testing.T) {
	permanent := otpKinds()["permanent"]
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{
			"bad": with(sh("exit 5"), permanent), "inside": with(forever(), permanent), "outside": with(forever(), permanent),
		},
		Group: map[string]GroupConfig{
			"inner": {Children: []string{"bad", "inside"}, MaxRestarts: 1, Within: unit.Duration(time.Minute)},
			"outer": {Children: []string{"inner", "outside"}, OnFail: []LinkConfig{{Log: "inner is gone", Settle: true}}},
		},
	})
	r.await("supervise.process.log", "bad", 1)
	r.await("supervise.process.stopped", "inside", 1)
	if got := r.process("outside"); got.State != StateRunning {
		t.Errorf("outside is %+v", got)
	}
	if got := r.process("bad"); got.State != StateFatal {
		t.Errorf("bad is %+v", got)
	}
}

// TestOperatorStopsOneThatIsRestartedTogether: it stays down, the others go on.
func TestOperatorStopsOneThatIsRestartedTogether(t *testing.T) {
	b := with(once(t.TempDir(), 1), func(p *ProcessConfig) {
		p.Restart = RestartAlways
		p.Backoff = launch.Backoff{Initial: unit.Duration(300 * time.Millisecond), Factor: 1, Max: unit.Duration(time.Second)}
	})
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{"a": with(forever(), otpKinds()["permanent"]), "b": b},
		Group:   map[string]GroupConfig{"g": {Children: []string{"a", "b"}, Strategy: OneForAll}},
	})
	r.await("supervise.process.stopped", "a", 1)
	r.do(Request{Action: ActionStop, Names: []string{"a"}})
	r.await("supervise.process.running", "b", 2)
	if got := r.process("a"); got.State != StateStopped || got.Wanted {
		t.Errorf("a is %+v", got)
	}
	if res := r.do(Request{Action: ActionStart, Names: []string{"a"}}); !res[0].OK {
		t.Errorf("start: %+v", res)
	}
}

// TestLateTimerOfOneThatIsRestartedTogether: the end of its own backoff, on its way
// when its group made the delay its own, does not start it before the others are
// down: the group would wait for it for ever.
func TestLateTimerOfOneThatIsRestartedTogether(t *testing.T) {
	dir := t.TempDir()
	release := filepath.Join(dir, "release")
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{
			"a": with(reluctant(release), otpKinds()["permanent"]),
			"b": with(once(dir, 1), func(p *ProcessConfig) { p.Restart, p.DependsOn = RestartAlways, needs("a") }),
		},
		Group: map[string]GroupConfig{"g": {Children: []string{"a", "b"}, Strategy: OneForAll}},
	})
	r.await("supervise.process.stopping", "a", 1)
	if err := r.s.ask(t.Context(), func() {
		b, ok := r.s.tree.byName["b"].(*process)
		if !ok || b.state != StateBackoff {
			t.Errorf("b is %+v", b)
			return
		}
		r.s.due(b)
		if b.state != StateBackoff {
			t.Errorf("b is %s", b.state)
		}
	}); err != nil {
		t.Fatal(err)
	}
	create(t, release)
	r.await("supervise.process.running", "b", 2)
}
