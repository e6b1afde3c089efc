package supervise

import (
	"testing"

	"procops/internal/fault"
)

// twoInARow is a process that depends on another one.
func twoInARow() Config {
	return processes(map[string]ProcessConfig{
		"keeps-the-tree": forever(), "db": forever(),
		"web": with(forever(), func(p *ProcessConfig) { p.DependsOn = needs("db") }),
	})
}

// TestRestartBringsUpWhatIsStopped: a process does not wait for ever for one that
// an operator has stopped.
func TestRestartBringsUpWhatIsStopped(t *testing.T) {
	r := newRig(t, twoInARow())
	r.await("supervise.process.running", "web", 1)
	r.do(Request{Action: ActionStop, Names: []string{"db"}})
	res := r.do(Request{Action: ActionRestart, Names: []string{"web"}})
	if len(res) != 2 || res[0].Name != "db" || !res[0].OK || res[1].Name != "web" || !res[1].OK {
		t.Errorf("restart: %+v", res)
	}
	r.await("supervise.process.running", "web", 2)
	if !r.process("db").Wanted {
		t.Error("what was started is not wanted")
	}
}

// TestRestartLeavesAloneWhatRuns: what the process depends on is not touched.
func TestRestartLeavesAloneWhatRuns(t *testing.T) {
	r := newRig(t, twoInARow())
	r.await("supervise.process.running", "web", 1)
	before := r.process("db").PID
	if res := r.do(Request{Action: ActionRestart, Names: []string{"web"}}); len(res) != 1 {
		t.Errorf("restart: %+v", res)
	}
	if after := r.process("db").PID; after != before {
		t.Errorf("pid %d, before %d", after, before)
	}
}

// TestWaitForWhatIsStopped: a process that is to stay down will not be ready.
func TestWaitForWhatIsStopped(t *testing.T) {
	r := newRig(t, twoInARow())
	r.await("supervise.process.running", "web", 1)
	r.do(Request{Action: ActionStop, Names: []string{"web"}})
	if err := r.s.WaitReady(t.Context(), []string{"web"}); !fault.Is(err, fault.Failure) {
		t.Errorf("wait: %v, want a failure", err)
	}
	if err := r.s.WaitReady(t.Context(), nil); err != nil {
		t.Errorf("wait for all that are wanted: %v", err)
	}
}

// TestRestartOfWhatEndsAtOnce: what becomes of an order does not depend on how
// soon after it the process is looked at.
func TestRestartOfWhatEndsAtOnce(t *testing.T) {
	once := sh("exit 0")
	once.Output.File = noFile
	r := newRig(t, processes(map[string]ProcessConfig{"anchor": forever(), "once": once}))
	r.await("supervise.process.completed", "once", 1)
	for range 100 {
		res := r.do(Request{Action: ActionRestart, Names: []string{"once"}})
		if !res[0].OK {
			t.Fatalf("restart: %+v", res[0])
		}
	}
}

// TestWaitForAStoppedGroup: a group of which nothing is to run will not become
// ready, but one of which some is to run does.
func TestWaitForAStoppedGroup(t *testing.T) {
	r := newRig(t, Config{
		Children: []string{"anchor", "g"},
		Process:  map[string]ProcessConfig{"anchor": forever(), "a": forever(), "b": forever()},
		Group:    map[string]GroupConfig{"g": {Children: []string{"a", "b"}}},
	})
	r.do(Request{Action: ActionStop, Names: []string{"a"}})
	if err := r.s.WaitReady(t.Context(), []string{"g"}); err != nil {
		t.Errorf("one of two is stopped: %v", err)
	}
	r.do(Request{Action: ActionStop, Names: []string{"g"}})
	if err := r.s.WaitReady(t.Context(), []string{"g"}); err == nil || err.Error() != `"g" is not ready: it is stopped` {
		t.Errorf("all is stopped: %v", err)
	}
}
