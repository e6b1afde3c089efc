package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// fleet has instances that hold a lock as long as they live: whoever finds it
// taken is the second copy and says so.
const fleet = `
[supervise.process.web]
instances = 2
command = "exec 9>{{name}}.lock; flock -n 9 || { echo {{name}} >>doubles; exit 99; }; echo up; exec sleep 1000"
ready.log = "up"
restart = "always"
[supervise.process.other]
command = "exec sleep 1000"
restart = "always"
`

// running returns the names of the processes that run, sorted.
func running(t *testing.T, s *harness.Sandbox) string {
	t.Helper()
	var names []string
	for name, p := range statusOf(t, s) {
		if p.PID != 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// TestScaleSurvivesKill kills procops after it has said yes to a number of
// instances, and once more while it brings the tree to it.
func TestScaleSurvivesKill(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(fleet)
	run := func(want string) *harness.Process {
		t.Helper()
		p := s.Start("supervise", "run", "--quiet")
		s.Want(0, "supervise", "wait", "--timeout", "20s")
		if got := running(t, s); got != want {
			t.Errorf("running: %s, want %s", got, want)
		}
		return p
	}
	kill := func(p *harness.Process) {
		t.Helper()
		p.Signal(syscall.SIGKILL)
		p.WantExit(137)
	}
	p := run("other web-1 web-2")
	s.Want(0, "supervise", "scale", "web=4")
	kill(p)
	p = run("other web-1 web-2 web-3 web-4")
	s.Want(0, "supervise", "stop", "web-2")
	s.Want(0, "supervise", "scale", "--no-wait", "web=3")
	kill(p)
	p = run("other web-1 web-3")
	s.Want(0, "supervise", "scale", "--no-wait", "web=5")
	kill(p)
	p = run("other web-1 web-3 web-4 web-5")
	// The other number of the config is the newer word.
	kill(p)
	s.Config(strings.Replace(fleet, "instances = 2", "instances = 3", 1))
	p = run("other web-1 web-3")
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	if _, err := os.Stat(filepath.Join(s.Dir, "doubles")); err == nil {
		t.Errorf("there were two of %s", s.ReadFile("doubles"))
	}
}

// TestRollingRestartInterrupted: Ctrl-C of the operator ends it after the present
// process.
func TestRollingRestartInterrupted(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(strings.Replace(fleet, "echo up", "while test -e hold; do sleep 0.01; done; echo up", 1))
	p := s.Start("supervise", "run", "--quiet")
	s.Want(0, "supervise", "wait", "--timeout", "20s")
	before := statusOf(t, s)
	hold := s.WriteFile("hold", "")
	rolling := s.Start("supervise", "restart", "--rolling", "web")
	harness.Eventually(t, "web-1 is restarted", func() bool {
		now := statusOf(t, s)["web-1"]
		return now.State == "starting" && now.PID != before["web-1"].PID
	})
	rolling.Signal(syscall.SIGINT)
	rolling.WantExit(130)
	if err := os.Remove(hold); err != nil {
		t.Fatal(err)
	}
	s.Want(0, "supervise", "wait", "--timeout", "20s")
	// A restart of another process comes after whatever was still to come.
	s.Want(0, "supervise", "restart", "--rolling", "other")
	after := statusOf(t, s)
	if after["web-1"].Restarts != 1 || after["web-2"].PID != before["web-2"].PID {
		t.Errorf("web-1 %+v, web-2 %+v, before %+v", after["web-1"], after["web-2"], before["web-2"])
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
}
