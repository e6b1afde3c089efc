package supervise

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"procops/internal/proc"
	"procops/internal/unit"
)

// otpCase is a case of OTP's supervisor_SUITE: a child of a kind that ends in some
// way, in a supervisor with a strategy and, or not, with an intensity that it
// exceeds. It has three siblings, one for each way to be shut down: "before" the
// child is one that ends on SIGTERM (shutdown with a time-out), after it come one
// that ignores it (the time-out passes) and one that is killed at once
// (brutal_kill).
type otpCase struct {
	kind     string // permanent, transient, temporary
	exit     string
	strategy Strategy
	escalate bool
}

func otpExits() []string {
	return []string{"normal", "shutdown", "terminated", "abnormal", "signal", "killed", "no-start"}
}

func (c otpCase) String() string { return c.kind + "-" + c.exit }

// otpOutcome is what becomes of a case.
type otpOutcome struct {
	child     State
	restarted []string // the siblings that are restarted
	down      bool     // the supervisor has ended its children, and itself
}

// oracle says what OTP's documentation says (supervisor(3), "Restart Strategy,
// Intensity and Period" and "Child specification"; Design Principles, "Supervisor
// Behaviour"):
//
//   - A permanent child is always restarted, a temporary one never, a transient one
//     only if it ends abnormally, "that is, with an exit reason other than normal,
//     shutdown, or {shutdown,Term}".
//   - terminate_child/2 ends a child without a restart, whatever its kind.
//   - A restart that fails is tried again, as if the child had ended abnormally.
//   - one_for_one restarts that child only, one_for_all all of them, rest_for_one it
//     and "the child processes after the terminated process in start order".
//   - "If more than MaxR number of restarts occur in the last MaxT seconds, the
//     supervisor terminates all the child processes and then itself."
//
// That a child that stays down is completed, fatal or stopped are our words.
func (c otpCase) oracle() otpOutcome {
	abnormal := !slices.Contains([]string{"normal", "shutdown"}, c.exit)
	restart := c.exit != "terminated" && (c.kind == "permanent" || c.kind == "transient" && abnormal)
	switch {
	case restart:
		list := map[Strategy][]string{
			OneForOne:  nil,
			OneForAll:  {"before", "ignores", "brutal"},
			RestForOne: {"ignores", "brutal"},
		}[c.strategy]
		if c.escalate {
			return otpOutcome{StateFatal, list, true}
		}
		return otpOutcome{StateRunning, list, false}
	case c.exit == "terminated":
		return otpOutcome{child: StateStopped}
	case abnormal:
		return otpOutcome{child: StateFatal}
	default:
		return otpOutcome{child: StateCompleted}
	}
}

// TestOTP runs all cases: kind × exit × strategy × escalation × ways to be shut
// down. Those that differ in the exit are groups of one tree, so they also have to
// leave each other alone.
func TestOTP(t *testing.T) {
	for _, strategy := range []Strategy{OneForOne, OneForAll, RestForOne} {
		for _, escalate := range []bool{false, true} {
			for kind := range otpKinds() {
				t.Run(fmt.Sprintf("%s/%s/escalate=%v", kind, strategy, escalate), func(t *testing.T) {
					t.Parallel()
					testOTP(t, kind, strategy, escalate)
				})
			}
		}
	}
}

func testOTP(t *testing.T, kind string, strategy Strategy, escalate bool) {
	dir := t.TempDir()
	cfg := Config{Process: map[string]ProcessConfig{"keeps-the-tree": forever()}, Group: map[string]GroupConfig{}}
	var cases []otpCase
	for _, exit := range otpExits() {
		c := otpCase{kind, exit, strategy, escalate}
		c.build(cfg, dir)
		cases = append(cases, c)
	}
	r := newRigWith(t, dir, cfg, alone)
	for _, c := range cases {
		c.provoke(r, dir)
	}
	for _, c := range cases {
		c.check(t, r)
	}
}

// otpLimit is the intensity that is exceeded.
const otpLimit = 1

// build adds the group of the case.
func (c otpCase) build(cfg Config, dir string) {
	name := func(of string) string { return c.String() + "-" + of }
	quiet := func(p ProcessConfig) ProcessConfig {
		p.Output.File = noFile
		return p
	}
	permanent := otpKinds()["permanent"]
	sleeper := with(forever(), func(p *ProcessConfig) { permanent(p); p.Command = proc.Command{"sleep", "1000"} })
	cfg.Process[name("before")] = quiet(sleeper)
	cfg.Process[name("brutal")] = quiet(with(sleeper, func(p *ProcessConfig) {
		p.Stop.Signal, p.Stop.Grace = 9, unit.Duration(time.Hour)
	}))
	cfg.Process[name("ignores")] = quiet(with(sh("trap '' TERM; echo up; while :; do sleep 1000; done"), func(p *ProcessConfig) {
		permanent(p)
		p.Ready.Log, p.Stop.Grace = "^up$", unit.Duration(50*time.Millisecond)
	}))
	child := quiet(sh(c.script(filepath.Join(dir, c.String()))))
	otpKinds()[c.kind](&child)
	child.SuccessCodes = []int{0, 100}
	child.DependsOn = needs(name("before"), name("ignores"), name("brutal"))
	if c.exit == "no-start" {
		child.Command = proc.Command{filepath.Join(dir, c.String())}
		child.Backoff.Initial = unit.Duration(100 * time.Millisecond)
		child.Backoff.Max = child.Backoff.Initial
	}
	cfg.Process[name("child")] = child
	g := GroupConfig{Children: []string{name("before"), name("child"), name("ignores"), name("brutal")}, Strategy: c.strategy}
	if c.escalate {
		g.MaxRestarts, g.Within = otpLimit, unit.Duration(time.Hour)
	}
	cfg.Group[c.String()] = g
	cfg.Group[name("above")] = GroupConfig{Children: []string{c.String()}, OnFail: []LinkConfig{{Settle: true}}}
}

// script ends in the way of the case: every time when the intensity is to be
// exceeded, else only the first time.
func (c otpCase) script(mark string) string {
	end := map[string]string{
		"normal": "exit 0", "shutdown": "exit 100", "abnormal": "exit 1",
		"signal": "kill -TERM $$", "killed": "kill -KILL $$", "terminated": "exec sleep 1000",
	}[c.exit]
	if c.escalate {
		return end
	}
	return fmt.Sprintf("test -e %s && exec sleep 1000; touch %s; %s", mark, mark, end)
}

// provoke does what the case needs from outside.
func (c otpCase) provoke(r *rig, dir string) {
	child := c.String() + "-child"
	switch {
	case c.exit == "terminated":
		r.await("supervise.process.running", child, 1)
		r.do(Request{Action: ActionStop, Names: []string{child}})
	case c.exit == "no-start" && !c.escalate && c.kind != "temporary":
		r.await("supervise.process.backoff", child, 1)
		path := filepath.Join(dir, c.String())
		if err := os.WriteFile(path+".new", []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700); err != nil {
			r.t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			r.t.Fatal(err)
		}
	}
}

// check compares what becomes of the case with the oracle.
func (c otpCase) check(t *testing.T, r *rig) {
	name := func(of string) string { return c.String() + "-" + of }
	want := c.oracle()
	// Events in order: the last one that has to come is waited for.
	restarts := 1
	if c.escalate {
		restarts = otpLimit
	}
	for _, sibling := range want.restarted {
		r.await("supervise.process.running", name(sibling), 1+restarts)
	}
	for _, sibling := range []string{"before", "ignores", "brutal"} {
		if want.down {
			n := 1
			if slices.Contains(want.restarted, sibling) {
				n += restarts
			}
			r.await("supervise.process.stopped", name(sibling), n)
		}
	}
	r.await("supervise.process."+string(want.child), name("child"), 1)
	if want.child == StateRunning && c.exit != "no-start" {
		r.await("supervise.process.running", name("child"), 2)
	}
	if got := r.process(name("child")); got.State != want.child {
		t.Errorf("%s: the child is %s, want %s", c, got.State, want.child)
	}
	for _, sibling := range []string{"before", "ignores", "brutal"} {
		c.checkSibling(t, r.process(name(sibling)), sibling, want, restarts)
	}
}

func (c otpCase) checkSibling(t *testing.T, got ProcessStatus, sibling string, want otpOutcome, restarts int) {
	t.Helper()
	state := StateRunning
	if want.down {
		state = StateStopped
	}
	if got.State != state {
		t.Errorf("%s: %s is %s, want %s", c, sibling, got.State, state)
	}
	restarted := slices.Contains(want.restarted, sibling)
	switch {
	case !restarted && got.Restarts > 0:
		t.Errorf("%s: %s was restarted %d times", c, sibling, got.Restarts)
	case restarted && got.Restarts != restarts && (c.exit != "no-start" || got.Restarts < restarts):
		t.Errorf("%s: %s was restarted %d times, want %d", c, sibling, got.Restarts, restarts)
	}
	if !restarted && !want.down {
		return
	}
	signal := map[string]string{"before": "TERM", "ignores": "KILL", "brutal": "KILL"}[sibling]
	if got.LastExit == nil || got.LastExit.Signal != signal {
		t.Errorf("%s: %s was shut down with %+v, want %s", c, sibling, got.LastExit, signal)
	}
}
