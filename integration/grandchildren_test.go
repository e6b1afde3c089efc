package integration

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// families are commands whose descendants do what they can to survive. Each
// process writes its pid to the file "up" when it is as it shall be.
func families() map[string]string {
	return map[string]string{
		// The leader obeys, its child does not.
		"obedient": `sh stubborn obedient-child & echo obedient $$ >> up; while :; do sleep 0.1; done`,
		// Neither obeys.
		"deaf": `trap '' TERM INT HUP; sh stubborn deaf-child & echo deaf $$ >> up; while :; do sleep 0.1; done`,
		// A session of its own: the signals to the process group do not reach it.
		"escaped": `setsid sh stubborn escaped-child & echo escaped $$ >> up; while :; do sleep 0.1; done`,
		// A daemon of the old school: two forks and a session of its own; its parent is
		// gone.
		"daemon": `(setsid sh -c 'sh stubborn daemon-child & exit' &) ; echo daemon $$ >> up; while :; do sleep 0.1; done`,
	}
}

// stubbornScript ignores what asks it to end.
const stubbornScript = `trap '' TERM INT HUP QUIT; echo $1 $$ >> up; while :; do sleep 0.1; done`

// raiseFamilies starts a supervisor of all families and returns when they are
// complete.
func raiseFamilies(t *testing.T, grace string) (*harness.Sandbox, *harness.Process) {
	t.Helper()
	s := harness.New(t)
	s.WriteFile("stubborn", stubbornScript)
	var config strings.Builder
	for name, command := range families() {
		fmt.Fprintf(&config, "[supervise.process.%s]\ncommand = '''%s'''\nstop.grace = %q\n", name, command, grace)
	}
	s.Config(config.String())
	p := s.Start("supervise", "run")
	harness.Eventually(t, "all families are up", func() bool {
		return strings.Count(s.ReadFile("up"), "\n") == 2*len(families())
	})
	if n := len(s.Left()); n < 2*len(families()) {
		t.Fatalf("%d processes run, want at least %d", n, 2*len(families()))
	}
	return s, p
}

func TestNobodySurvivesAStopInOrder(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s, p := raiseFamilies(t, "200ms")
			p.SignalGroup(sig) // as the terminal does
			p.WantExit(0)
			wantNothing(t, s)
			for name := range families() {
				if !slices.Contains(stepsOf(p), name+" ended") {
					t.Errorf("procops does not tell of the end of %s: %s", name, p.Output())
				}
			}
		})
	}
}

func TestNobodySurvivesAHurry(t *testing.T) {
	t.Parallel()
	s, p := raiseFamilies(t, "1h")
	p.SignalGroup(syscall.SIGINT)
	p.WaitLine(`stopping all in order`)
	p.SignalGroup(syscall.SIGINT)
	p.WantExit(0)
	wantNothing(t, s)
}

// TestNobodySurvivesTheStopOfOne has the supervisor go on: all of the process
// group must be gone when stop says so.
func TestNobodySurvivesTheStopOfOne(t *testing.T) {
	t.Parallel()
	s, p := raiseFamilies(t, "200ms")
	for _, name := range []string{"obedient", "deaf"} {
		s.Want(0, "supervise", "stop", name)
		for _, who := range membersOf(t, s.ReadFile("up")) {
			if strings.HasPrefix(who.name, name) && !harness.Gone(who.pid) {
				t.Errorf("%s is stopped and %s (pid %d) still runs", name, who.name, who.pid)
			}
		}
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	wantNothing(t, s)
}

// member is a process that has reported itself in the file "up".
type member struct {
	name string
	pid  int
}

func membersOf(t *testing.T, up string) (members []member) {
	t.Helper()
	for line := range strings.Lines(up) {
		var m member
		if _, err := fmt.Sscan(line, &m.name, &m.pid); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		members = append(members, m)
	}
	return members
}

// TestNobodySurvivesTheLeader has the leaders end by themselves.
func TestNobodySurvivesTheLeader(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.WriteFile("stubborn", stubbornScript)
	var config strings.Builder
	for name, command := range families() {
		short := strings.ReplaceAll(command, "while :;", "until test -e end;")
		fmt.Fprintf(&config, "[supervise.process.%s]\ncommand = '''%s'''\nstop.grace = \"200ms\"\n", name, short)
	}
	s.Config(config.String())
	p := s.Start("supervise", "run")
	harness.Eventually(t, "all families are up", func() bool {
		return strings.Count(s.ReadFile("up"), "\n") == 2*len(families())
	})
	s.WriteFile("end", "")
	p.WantExit(0)
	wantNothing(t, s)
}

func TestNobodySurvivesTheKillOfProcops(t *testing.T) {
	for name, before := range map[string]func(*harness.Process){
		"at work": func(*harness.Process) {},
		"on its way down": func(p *harness.Process) {
			p.Signal(syscall.SIGTERM)
			p.WaitLine(`stopping all in order`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, p := raiseFamilies(t, "1h")
			before(p)
			p.Signal(syscall.SIGKILL)
			p.WantExit(137)
			harness.Eventually(t, "all have followed", func() bool { return len(s.Left()) == 0 })
		})
	}
}

// TestTheNextRunEndsWhatIsLeft kills procops and its guard in one go, so that
// nobody is there to end those who escaped. The next run must.
func TestTheNextRunEndsWhatIsLeft(t *testing.T) {
	t.Parallel()
	s, p := raiseFamilies(t, "1h")
	old := s.ReadFile("up")
	killGuard(t, p.PID())
	p.Signal(syscall.SIGKILL)
	p.WantExit(137)
	if len(s.Left()) == 0 {
		t.Fatal("nobody has escaped: the test shows nothing")
	}
	s.Config("[supervise.process.other]\ncommand = \"echo other is up; exec sleep 1000\"\n")
	next := s.Start("supervise", "run")
	next.WaitLine(`other is up`)
	for _, who := range membersOf(t, old) {
		if !harness.Gone(who.pid) {
			t.Errorf("%s (pid %d) still runs beside the next run", who.name, who.pid)
		}
	}
	next.Signal(syscall.SIGTERM)
	next.WantExit(0)
}

// killGuard kills the process that would end all descendants of this procops.
func killGuard(t *testing.T, procops int) {
	t.Helper()
	for _, r := range harness.Descendants(procops) {
		if r.Command == "procops-guard" {
			if err := syscall.Kill(r.PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("there is no guard among %v", harness.Descendants(procops))
}
