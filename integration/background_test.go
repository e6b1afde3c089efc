package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"procops/integration/harness"
)

// TestStartInASubshell starts the supervisor as scripts do. The shell waits
// until nobody has its pipe open any more, so that the supervisor must not.
func TestStartInASubshell(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(quick)
	begun := time.Now()
	r := s.Run("sh", "-c", `out=$(procops supervise start 2>&1) || exit 1; procops supervise wait || exit 2; echo "told: $out"`)
	if r.Code != 0 || !regexp.MustCompile(`^told: the supervisor runs in the background \(pid \d+\)`).MatchString(r.Stdout) {
		t.Fatal(r)
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
	pid := supervisorPID(t, s)
	for fd, want := range map[int]string{0: "/dev/null", 1: filepath.Join(s.State, "supervise.log"), 2: filepath.Join(s.State, "supervise.log")} {
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd)); err != nil || got != want {
			t.Errorf("descriptor %d is %q (%v), want %q", fd, got, err, want)
		}
	}

	r = s.Want(4, "supervise", "start")
	if want := fmt.Sprintf("procops: error: a supervisor already runs on state directory %q (pid %d)\n", s.State, pid); !strings.HasPrefix(r.Stderr, want) {
		t.Errorf("want %q: %s", want, r)
	}
	if again := supervisorPID(t, s); again != pid {
		t.Errorf("supervisor %d runs, was %d", again, pid)
	}

	s.Want(0, "supervise", "stop")
	if !harness.Gone(pid) {
		t.Error("stop has returned before the supervisor has ended")
	}
	wantNothing(t, s)
	s.Want(5, "supervise", "stop")
}

// supervisorPID returns the pid in the lock of the state directory.
func supervisorPID(t *testing.T, s *harness.Sandbox) (pid int) {
	t.Helper()
	if _, err := fmt.Sscan(s.ReadFile("state/supervise.lock"), &pid); err != nil || harness.Gone(pid) {
		t.Fatalf("supervisor %d does not run: %v", pid, err)
	}
	return pid
}

// TestStartTellsWhyNot wants the reason from the one who starts, not only in a
// log.
func TestStartTellsWhyNot(t *testing.T) {
	t.Parallel()
	for _, c := range append(badConfigs()[:3], badStates()[2], badStates()[4], badStates()[6]) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			s.Config(c.config)
			if c.config == "" {
				s.Config(good)
			}
			if c.spoil != nil {
				c.spoil(t, s)
			}
			r := s.Want(c.code, "supervise", "start")
			for _, want := range c.want {
				if want = strings.ReplaceAll(want, "%s", s.State); !strings.Contains(r.Stderr, want) {
					t.Errorf("no %q: %s", want, r)
				}
			}
			wantNothing(t, s)
		})
	}
}

// TestStopWaits has stop return only when a slow tree is down.
func TestStopWaits(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[supervise.process.slow]
command = "trap 'sleep 0.5; echo down > down; exit 0' TERM; echo up; while :; do sleep 0.05; done"
ready.log = "up"
`)
	s.Want(0, "supervise", "start")
	s.Want(0, "supervise", "wait")
	pid := supervisorPID(t, s)
	s.Want(0, "supervise", "stop")
	if s.ReadFile("down") != "down\n" || !harness.Gone(pid) {
		t.Errorf("stop has returned too early: down %q, supervisor gone %v", s.ReadFile("down"), harness.Gone(pid))
	}
	wantNothing(t, s)
}
