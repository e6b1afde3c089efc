package proc

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func ladder(wait time.Duration, signals ...syscall.Signal) Ladder {
	var l Ladder
	for _, s := range signals {
		l.Steps = append(l.Steps, Step{Signal(s), wait})
	}
	return l
}

func TestLadderIsClimbedInOrder(t *testing.T) {
	h := newTestHost(t, HostOptions{Subreaper: true})
	out := newOutput()
	s := shSpec(`trap "echo int" INT; trap "echo hup" HUP; trap "echo term" TERM; echo ready; while :; do sleep 0.01; done`)
	s.Output = out.add
	p := mustStart(t, h, s)
	out.await(t, "ready")
	if err := p.Stop(t.Context(), ladder(200*time.Millisecond, syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if got := out.get(Stdout); got != "ready\nhup\nint\nterm\n" {
		t.Errorf("signals came as %q", got)
	}
	if exit := p.Exit(); exit.Signal != syscall.SIGKILL {
		t.Errorf("exit %+v", exit)
	}
}

func TestStopEndsAtTheFirstStepThatWorks(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	p := mustStart(t, h, Spec{Argv: []string{"sleep", "1000"}})
	begin := time.Now()
	if err := p.Stop(t.Context(), ladder(time.Hour, syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > time.Second || p.Exit().Signal != syscall.SIGTERM {
		t.Errorf("took %v, exit %+v", took, p.Exit())
	}
}

func TestStopReachesAStoppedGroup(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	p := mustStart(t, h, Spec{Argv: []string{"sleep", "1000"}})
	if err := p.SignalGroup(Signal(syscall.SIGSTOP)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "stopped", func() bool {
		s, err := readStat(p.PID())
		return err == nil && s.state == 'T'
	})
	if err := p.Stop(t.Context(), ladder(time.Hour, syscall.SIGTERM)); err != nil {
		t.Fatal(err)
	}
}

func TestCancelMeansHurry(t *testing.T) {
	h := newTestHost(t, HostOptions{Subreaper: true})
	out := newOutput()
	s := shSpec(`trap "echo asked" TERM; echo ready; while :; do sleep 0.01; done`)
	s.Output = out.add
	p := mustStart(t, h, s)
	out.await(t, "ready")
	ctx, hurry := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- p.Stop(ctx, ladder(time.Hour, syscall.SIGTERM)) }()
	out.await(t, "asked")
	hurry()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}

func TestStopAfterTheLeaderHasEnded(t *testing.T) {
	for _, subreaper := range []bool{false, true} {
		h := newTestHost(t, HostOptions{Subreaper: subreaper})
		out := newOutput()
		s := shSpec(`(trap "" TERM; echo ready; while :; do sleep 0.01; done) & exit 7`)
		s.Output = out.add
		p := mustStart(t, h, s)
		out.await(t, "ready")
		await(t, "end of the leader", p.Exited())
		if exit := p.Exit(); exit.Code != 7 {
			t.Errorf("exit %+v", exit)
		}
		select {
		case <-p.Gone():
			t.Error("gone although a grandchild runs")
		default:
		}
		if err := p.Stop(t.Context(), ladder(50*time.Millisecond, syscall.SIGTERM)); err != nil {
			t.Error(err)
		}
		if n := groupMembers(p.PID()); n > 0 {
			t.Errorf("%d processes are left", n)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestGoneWithoutStop(t *testing.T) {
	// The last of the group is a child of one that has left the group, so procops
	// hears nothing of its end.
	h := newTestHost(t, HostOptions{Subreaper: true})
	out := newOutput()
	s := Spec{Argv: []string{"perl", "-e", `
		use POSIX; $| = 1;
		if (fork) { exit 0 }                        # the leader ends
		if (!($pid = fork)) { sleep 1000 }          # stays in the group
		setsid; print "member $pid\n"; wait; print "reaped\n"; sleep 1000`}, Output: out.add}
	p := mustStart(t, h, s)
	member, err := strconv.Atoi(out.await(t, "member "))
	if err != nil {
		t.Fatal(err)
	}
	await(t, "end of the leader", p.Exited())
	if err := syscall.Kill(member, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	out.await(t, "reaped")
	await(t, "gone", p.Gone())
	// What has left the group is not ours to end without a marker.
	strays := make([]int, 0, 1)
	for _, pid := range pids() {
		if s, err := os.ReadFile(procFile(pid, "cmdline")); err == nil && strings.Contains(string(s), "setsid; print") {
			strays = append(strays, pid)
		}
	}
	for _, pid := range strays {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

func TestStopIsNotHeldUpByAZombie(t *testing.T) {
	// The member's parent has left the group and never waits for it.
	h := newTestHost(t, HostOptions{Subreaper: true, Guard: true})
	out := newOutput()
	s := Spec{Argv: []string{"perl", "-e", `
		use POSIX; $| = 1;
		if (fork) { exit 0 }
		if (!($pid = fork)) { sleep 1000 }
		setsid; print "member $pid\n"; sleep 1000`}, Output: out.add}
	p := mustStart(t, h, s)
	out.await(t, "member ")
	begin := time.Now()
	if err := p.Stop(t.Context(), Ladder{}); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestAStepIsNotHeldUpByAZombie(t *testing.T) {
	h := newTestHost(t, HostOptions{Subreaper: true, Guard: true})
	out := newOutput()
	s := Spec{Argv: []string{"perl", "-e", `
		use POSIX; $| = 1;
		if (fork) { exit 0 }
		if (!($pid = fork)) { sleep 1000 }
		setsid; print "member $pid\n"; sleep 1000`}, Output: out.add}
	p := mustStart(t, h, s)
	out.await(t, "member ")
	begin := time.Now()
	if err := p.Stop(t.Context(), ladder(time.Hour, syscall.SIGTERM)); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestStopTwiceAtOnce(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	p := mustStart(t, h, Spec{Argv: []string{"sleep", "1000"}})
	var stops sync.WaitGroup
	for range 4 {
		stops.Go(func() {
			if err := p.Stop(t.Context(), ladder(time.Hour, syscall.SIGTERM)); err != nil {
				t.Error(err)
			}
		})
	}
	stops.Wait()
	if err := p.Stop(t.Context(), ladder(time.Hour, syscall.SIGTERM)); err != nil {
		t.Errorf("stop after the end: %v", err)
	}
}

func TestStraysAreReaped(t *testing.T) {
	strays := make(chan Exit, 10)
	h := newTestHost(t, HostOptions{Subreaper: true, OnStray: func(_ int, e Exit) { strays <- e }})
	// A double fork into a session of its own, as daemons do it.
	run(t, h, shSpec(`setsid sh -c 'exec >/dev/null 2>&1; sleep 0.05; exit 42' & exit 0`))
	select {
	case exit := <-strays:
		if exit.Code != 42 {
			t.Errorf("exit %+v", exit)
		}
	case <-time.After(patience):
		t.Error("the stray was not reaped")
	}
}

// A leader that ends before its start is registered leaves a group behind that
// has to be looked after all the same.
func TestLeftoversOfALeaderThatEndsDuringItsStart(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "sleep 1000 & exit 3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	group := cmd.Process.Pid
	r := newReaper(nil)
	r.begin()
	r.starting.early[group] = ending{exit: Exit{Code: 3}, start: 1}
	p := &Process{reaper: r, exited: make(chan struct{}), gone: make(chan struct{})}
	r.register(p, group)
	if p.Exit().Code != 3 || p.PID() != group || p.Identity().Start != 1 {
		t.Errorf("exit %+v of %+v", p.Exit(), p.Identity())
	}
	select {
	case <-r.kick:
	default:
		t.Error("nobody looks after the group")
	}
	if r.lookAround() == 0 {
		t.Error("the group counts as empty")
	}
	if err := p.SignalGroup(Signal(syscall.SIGKILL)); err != nil {
		t.Error(err)
	}
	eventually(t, "gone", func() bool {
		r.lookAround()
		select {
		case <-p.Gone():
			return true
		default:
			return false
		}
	})
}

// TestStepLastsUntil: a process that has asked for time gets it, on each step.
func TestStepLastsUntil(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	out := newOutput()
	s := shSpec(`trap 'sleep 0.5; exit 3' TERM; echo ready; while :; do sleep 0.01; done`)
	s.Output = out.add
	p := mustStart(t, h, s)
	out.await(t, "ready")
	l := ladder(50*time.Millisecond, syscall.SIGTERM)
	until := time.Now().Add(time.Minute)
	l.Until = func() time.Time { return until }
	if err := p.Stop(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if exit := p.Exit(); exit.Code != 3 || exit.Signal != 0 {
		t.Errorf("exit %+v", exit)
	}
}

func TestStepEndsWhenUntilIsOver(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	out := newOutput()
	s := shSpec(`trap '' TERM; echo ready; while :; do sleep 0.01; done`)
	s.Output = out.add
	p := mustStart(t, h, s)
	out.await(t, "ready")
	begin := time.Now()
	l := ladder(time.Millisecond, syscall.SIGTERM)
	l.Until = func() time.Time { return begin.Add(300 * time.Millisecond) }
	if err := p.Stop(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 300*time.Millisecond || p.Exit().Signal != syscall.SIGKILL {
		t.Errorf("took %s, exit %+v", took, p.Exit())
	}
}
