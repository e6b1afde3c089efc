package supervise

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/proc"
)

func instances(n int) func(*ProcessConfig) { return func(p *ProcessConfig) { p.Instances = &n } }

// scalable is a tree with n instances of web, and one process beside them.
func scalable(n int, change ...func(*ProcessConfig)) Config {
	return processes(map[string]ProcessConfig{
		"web": with(forever(), append([]func(*ProcessConfig){keep, instances(n)}, change...)...), "other": with(forever(), keep),
	})
}

func (r *rig) scale(numbers map[string]int) []Result {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	results, err := r.s.Scale(ctx, ScaleRequest{Instances: numbers})
	if err != nil {
		r.t.Fatalf("scale %v: %v", numbers, err)
	}
	return results
}

// pids returns the pids of all processes by name, of those that run.
func (r *rig) pids() map[string]int {
	r.t.Helper()
	st, err := r.s.Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	pids := map[string]int{}
	for _, p := range st.Processes {
		if p.PID != 0 {
			pids[p.Name] = p.PID
		}
	}
	return pids
}

// ready waits until all that is wanted is ready.
func (r *rig) ready() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	if err := r.s.WaitReady(ctx, nil); err != nil {
		r.t.Fatalf("%v; events:\n%s", err, r.history())
	}
}

// rid waits until all that has left the tree is gone.
func (r *rig) rid() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	if err := r.s.wait(ctx, func() bool { return len(r.s.leaving) == 0 }); err != nil {
		r.t.Fatal(err)
	}
}

func dataAs[T any](t *testing.T, e event.Event) T {
	t.Helper()
	data, ok := e.Data.(T)
	if !ok {
		t.Fatalf("the data of %s is %T", e.Type, e.Data)
	}
	return data
}

// told writes results in short.
func told(results []Result) string {
	var b strings.Builder
	for _, one := range results {
		fmt.Fprintf(&b, "%s %s %t %s;", one.Name, one.State, one.OK, one.Note)
	}
	return b.String()
}

// untouched fails the test if a process of before runs under another pid.
func (r *rig) untouched(before map[string]int, names ...string) {
	r.t.Helper()
	after := r.pids()
	for _, n := range names {
		if before[n] == 0 || after[n] != before[n] {
			r.t.Errorf("%s was touched: pid %d, before %d", n, after[n], before[n])
		}
	}
}

func TestScaleUpAndDown(t *testing.T) {
	r := newRig(t, scalable(2))
	r.ready()
	before := r.pids()
	if got, want := told(r.scale(map[string]int{"web": 4})), "web-3 running true ;web-4 running true ;"; got != want {
		t.Errorf("up: got %s", got)
	}
	r.untouched(before, "web-1", "web-2", "other")
	if n := len(r.pids()); n != 5 {
		t.Errorf("%d processes run", n)
	}
	if data := dataAs[scaleData](t, r.await("supervise.scaled", "web", 1)); data.Instances != 4 || data.Before != 2 || !slices.Equal(data.Added, []string{"web-3", "web-4"}) {
		t.Errorf("event %+v", data)
	}
	if got, want := told(r.scale(map[string]int{"web": 1})), "web-2 stopped true removed;web-3 stopped true removed;web-4 stopped true removed;"; got != want {
		t.Errorf("down: got %s", got)
	}
	r.untouched(before, "web-1", "other")
	if got := r.pids(); len(got) != 2 {
		t.Errorf("running: %v", got)
	}
	if results := r.scale(map[string]int{"web": 1}); len(results) != 0 {
		t.Errorf("the same again: %+v", results)
	}
	r.scale(map[string]int{"web": 0})
	st, err := r.s.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if web := st.Tree[1]; web.Name != "web" || !web.Group || *web.Instances != 0 || web.State != StateStopped {
		t.Errorf("without instances: %+v", web)
	}
	if got := r.s.WaitReady(t.Context(), []string{"web"}); got != nil {
		t.Errorf("to wait for none: %v", got)
	}
	if got := told(r.scale(map[string]int{"web": 1})); got != "web-1 running true ;" {
		t.Errorf("from none: %s", got)
	}
}

func TestInstancesAreAGroup(t *testing.T) {
	dir := t.TempDir()
	cfg := scalable(3)
	cfg.Process["web"] = with(sh(`echo "$PROCOPS_PROCESS $PROCOPS_INSTANCE $PORT" >`+dir+`/{{name}}; echo up; exec sleep 1000`), keep, instances(3),
		func(p *ProcessConfig) { p.Env, p.Ready.Log = map[string]string{"PORT": "{{index+8000}}"}, "up" })
	cfg.Process["late"] = with(forever(), keep, func(p *ProcessConfig) { p.DependsOn = []DependencyConfig{{Name: "web", Condition: ConditionReady}} })
	r := newRig(t, cfg)
	r.await("supervise.process.running", "late", 1)
	started := r.order("supervise.process.running")
	if got := slices.Index(started, "late"); got < 3 {
		t.Errorf("what depends on web came first: %v", started)
	}
	for i := 1; i <= 3; i++ {
		raw, err := os.ReadFile(filepath.Join(dir, instanceName("web", i)))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("web-%d %d %d\n", i, i, 7999+i); string(raw) != want {
			t.Errorf("got %q, want %q", raw, want)
		}
	}
	if p := r.process("web-2"); p.Group != "web" || p.Instance != 2 {
		t.Errorf("web-2 is %+v", p)
	}
	if got := r.do(Request{Action: ActionStop, Names: []string{"web"}}); len(got) != 3 {
		t.Errorf("stopped: %+v", got)
	}
	if p := r.process("late"); p.State != StateRunning {
		t.Errorf("late is %s", p.State)
	}
}

func TestScaleRefusals(t *testing.T) {
	cfg := scalable(2)
	cfg.Process["web-4"] = with(forever(), keep)
	cfg.Process["pair"] = with(forever(), keep, instances(1), func(p *ProcessConfig) { p.DependsOn = []DependencyConfig{{Name: "web-{{instance}}"}} })
	cfg.Group = map[string]GroupConfig{"g": {Children: []string{"other"}}}
	r := newRig(t, cfg)
	r.ready()
	before := r.pids()
	for _, c := range []struct {
		numbers map[string]int
		kind    fault.Kind
		want    string
	}{
		{nil, fault.Usage, `no process is named`},
		{map[string]int{"wbe": 1}, fault.NotFound, `there is no process or group "wbe"`},
		{map[string]int{"web": 3, "other": 2}, fault.Usage, `cannot scale "other": it has no instances`},
		{map[string]int{"web-1": 2}, fault.Usage, `cannot scale "web-1": it is one instance of "web"`},
		{map[string]int{"g": 2}, fault.Usage, `cannot scale "g": it is a group`},
		{map[string]int{"web": -1}, fault.Usage, `cannot scale "web" to -1: want a number from 0 to 1000`},
		{map[string]int{"web": 1001}, fault.Usage, `cannot scale "web" to 1001: want a number from 0 to 1000`},
		{map[string]int{"web": 4}, fault.Conflict, `cannot scale: "web-4" in [supervise.process]: an instance of the process "web" has this name`},
		{map[string]int{"pair": 3}, fault.Conflict, `cannot scale: "0" in [supervise.process.pair.depends_on]: there is no process or group "web-3"; did you mean "web-1"?`},
	} {
		_, err := r.s.Scale(t.Context(), ScaleRequest{Instances: c.numbers})
		if !fault.Is(err, c.kind) || err.Error() != c.want {
			t.Errorf("%v: got %v, want %s", c.numbers, err, c.want)
		}
	}
	r.untouched(before, "web-1", "web-2", "web-4", "other", "pair-1")
	if records, err := loadScale(t.Context(), r.store); err != nil || len(records) != 0 {
		t.Errorf("recorded: %v, %v", records, err)
	}
}

// TestScaleIsRecorded: the number outlives the supervisor, as long as the config
// says the same as before.
func TestScaleIsRecorded(t *testing.T) {
	dir := t.TempDir()
	run := func(cfg Config, use func(*rig)) {
		t.Helper()
		r := newRigIn(t, dir, cfg)
		r.ready()
		use(r)
		r.cancel()
		r.report()
	}
	names := func(r *rig) string {
		var list []string
		for n := range r.pids() {
			list = append(list, n)
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	want := func(what string) func(*rig) {
		return func(r *rig) {
			t.Helper()
			if got := names(r); got != what {
				t.Errorf("running: %s, want %s", got, what)
			}
		}
	}
	run(scalable(1), func(r *rig) {
		r.scale(map[string]int{"web": 3})
		r.do(Request{Action: ActionStop, Names: []string{"web-2"}})
	})
	run(scalable(1), func(r *rig) {
		want("other web-1 web-3")(r)
		// It outlives a reload, too.
		r.reload(scalable(1, func(p *ProcessConfig) { p.MaxRestarts = 7 }))
		want("other web-1 web-3")(r)
	})
	run(scalable(2), want("other web-1")) // web-2 was stopped by hand, and 2 is another number than 1
	run(scalable(1), want("other web-1"))
	run(scalable(1), func(r *rig) {
		// What was removed is forgotten: also that it had been stopped.
		r.scale(map[string]int{"web": 3})
		want("other web-1 web-2 web-3")(r)
		// A number that the config has no room for any more.
		clash := scalable(1)
		clash.Process["web-3"] = with(sh("exec sleep 2000"), keep)
		r.reload(clash)
		r.rid()
		r.ready()
		want("other web-1 web-3")(r)
		if got := r.process("web-3"); got.Command != "exec sleep 2000" {
			t.Errorf("web-3 runs %q", got.Command)
		}
	})
	run(scalable(1), want("other web-1"))
}

func TestScaleStartsWhatHasNoAutostart(t *testing.T) {
	dir := t.TempDir()
	cfg := scalable(1, func(p *ProcessConfig) { p.Autostart = false })
	r := newRigIn(t, dir, cfg)
	r.ready()
	if got := told(r.scale(map[string]int{"web": 2})); got != "web-2 running true ;" {
		t.Error(got)
	}
	r.cancel()
	r.report()
	r = newRigIn(t, dir, cfg)
	r.ready()
	if got := r.pids(); len(got) != 2 || got["web-2"] == 0 {
		t.Errorf("running: %v", got)
	}
}

func TestScaleTellsWhatDoesNotGetReady(t *testing.T) {
	cfg := scalable(1)
	cfg.Process["web"] = with(sh(`test {{instance}} = 1 || exit 3; echo up; exec sleep 1000`), instances(1), func(p *ProcessConfig) {
		p.Ready.Log = "up"
		p.OnFail = []LinkConfig{{Settle: true}}
	})
	cfg.Process["held"] = with(forever(), keep, instances(0), func(p *ProcessConfig) {
		p.DependsOn = []DependencyConfig{{Name: "other", Condition: ConditionReady}}
	})
	r := newRig(t, cfg)
	r.ready()
	r.do(Request{Action: ActionStop, Names: []string{"other"}})
	got := told(r.scale(map[string]int{"web": 2, "held": 1}))
	want := `held-1 waiting false waits for other to be ready, which is stopped;web-2 fatal false 3 `
	if !strings.HasPrefix(got, want) {
		t.Errorf("got %s", got)
	}
	r.do(Request{Action: ActionStart, Names: []string{"other"}})
	r.await("supervise.process.running", "held-1", 1)
}

// TestScaleTakesBackWhatCannotBe: a number that cannot come true is not what the
// next supervisor fails with.
func TestScaleTakesBackWhatCannotBe(t *testing.T) {
	r := newRig(t, scalable(1, func(p *ProcessConfig) { p.Output.File = "{{name}}/log" }))
	r.ready()
	if err := os.MkdirAll(filepath.Join(r.dir, "logs", "web-3", "log"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.scale(map[string]int{"web": 2})
	if _, err := r.s.Scale(t.Context(), ScaleRequest{Instances: map[string]int{"web": 3}}); err == nil {
		t.Error("there is no log file for web-3")
	}
	if err := r.s.ask(t.Context(), func() {}); err != nil { // what was posted before is done
		t.Fatal(err)
	}
	if err := r.s.journal.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	records, err := loadScale(t.Context(), r.store)
	if want := []scaling{{"web", 1, 2}}; err != nil || !slices.Equal(records, want) {
		t.Errorf("recorded %v, %v", records, err)
	}
	if len(r.pids()) != 3 {
		t.Errorf("running: %v", r.pids())
	}
}

// TestScaleToAndFro: what comes back before it has gone is the same process, and
// in the end there is what was asked for last.
func TestScaleToAndFro(t *testing.T) {
	r := newRig(t, scalable(3))
	r.ready()
	before := r.pids()
	for _, n := range []int{1, 5, 2, 3, 0, 4, 1, 6, 3} {
		if _, err := r.s.Scale(t.Context(), ScaleRequest{Instances: map[string]int{"web": n}, NoWait: true}); err != nil {
			t.Fatal(err)
		}
	}
	r.untouched(before, "other")
	r.rid()
	r.ready()
	if got := r.pids(); len(got) != 4 || got["web-3"] == 0 {
		t.Errorf("running: %v", got)
	}
}

func TestReloadOfInstances(t *testing.T) {
	r := newRig(t, scalable(2))
	r.ready()
	before := r.pids()
	plan := r.reload(scalable(3))
	if want := (Plan{Added: []string{"web-3"}, Updated: []string{"web"}, Unchanged: 3}); fmt.Sprint(plan) != fmt.Sprint(want) {
		t.Errorf("more: %+v", plan)
	}
	r.ready()
	r.untouched(before, "web-1", "web-2", "other")
	plan = r.reload(scalable(1))
	if want := (Plan{Removed: []string{"web-2", "web-3"}, Updated: []string{"web"}, Unchanged: 2}); fmt.Sprint(plan) != fmt.Sprint(want) {
		t.Errorf("fewer: %+v", plan)
	}
	// An operator's number yields to a new one of the config, and only to that.
	r.scale(map[string]int{"web": 2})
	plan = r.reload(scalable(1, func(p *ProcessConfig) { p.Command = proc.Command{"sleep", "2000"} }))
	if !slices.Equal(plan.Restarted, []string{"web-1", "web-2"}) || plan.Unchanged != 1 {
		t.Errorf("another command: %+v", plan)
	}
	r.untouched(before, "other")
	r.ready()
	if plan := r.reload(scalable(2, func(p *ProcessConfig) { p.Command = proc.Command{"sleep", "2000"} })); !plan.Empty() {
		t.Errorf("the config comes to what the operator has said: %+v", plan)
	}
	if len(r.s.scale) != 0 {
		t.Errorf("it is the config's number now, not the operator's: %v", r.s.scale)
	}
	// From several to one process of that name, and back.
	one := scalable(0)
	one.Process["web"] = with(forever(), keep)
	r.reload(one)
	r.await("supervise.process.running", "web", 1)
	r.reload(scalable(2))
	r.await("supervise.process.stopped", "web", 1)
	r.rid()
	r.ready()
	if got := r.pids(); len(got) != 3 || got["web"] != 0 {
		t.Errorf("running: %v", got)
	}
}

// TestScaleDownOfAGroupThatWaits: a group that is brought to rest to be started
// again does not wait for what has left it.
func TestScaleDownOfAGroupThatWaits(t *testing.T) {
	release := filepath.Join(t.TempDir(), "release")
	stubborn := with(sh(`test {{instance}} = 2 && trap 'while ! test -e `+release+`; do sleep 0.01; done; exit 0' TERM; echo up; while :; do sleep 0.01; done`),
		keep, instances(2), func(p *ProcessConfig) { p.Ready.Log = "up" })
	r := newRig(t, Config{
		Process: map[string]ProcessConfig{"web": stubborn, "z": with(forever(), keep)},
		Group:   map[string]GroupConfig{"g": {Children: []string{"web", "z"}, Strategy: OneForAll}},
	})
	r.ready()
	kill(t, r.process("web-1").PID)
	r.await("supervise.process.stopped", "z", 1)
	r.await("supervise.process.stopping", "web-2", 1)
	if _, err := r.s.Scale(t.Context(), ScaleRequest{Instances: map[string]int{"web": 1}, NoWait: true}); err != nil {
		t.Fatal(err)
	}
	r.await("supervise.process.running", "z", 2)
	r.await("supervise.process.running", "web-1", 2)
	create(t, release)
	r.rid()
}

// TestInstancesAreChildrenOfTheGroupAbove: how many there are of a process
// changes no rules of restart.
func TestInstancesAreChildrenOfTheGroupAbove(t *testing.T) {
	dir := t.TempDir()
	fails := with(sh(`test {{instance}} = 2 && test ! -e `+dir+`/once && touch `+dir+`/once && exit 1; exec sleep 1000`), instances(2),
		func(p *ProcessConfig) { p.Restart = RestartOnFailure })
	cfg := Config{
		Process: map[string]ProcessConfig{"a": with(forever(), keep), "web": fails, "z": with(forever(), keep)},
		Group:   map[string]GroupConfig{"g": {Children: []string{"a", "web", "z"}, Strategy: RestForOne, MaxRestarts: 1, Within: 1 << 40}},
	}
	r := newRig(t, cfg)
	e := r.await("supervise.group.restarting", "g", 1)
	if got := dataAs[groupData](t, e).Members; !slices.Equal(got, []string{"web-2", "z"}) {
		t.Errorf("restarted together: %v", got)
	}
	r.await("supervise.process.running", "web-2", 2)
	// The second restart is one too many for g, whichever child it is of.
	pid := r.process("web-1").PID
	kill(t, pid)
	e = r.await("supervise.failed", "web-1", 1)
	if text := dataAs[failedData](t, e).Text; !strings.Contains(text, `more than 1 restarts of the group "g"`) {
		t.Errorf("it failed with %q", text)
	}
}
