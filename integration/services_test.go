package integration

import (
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestServices has examples/services supervise a real Redis and a real Gearman
// job server.
func TestServices(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	ports := harness.FreePorts(t, 2)
	s.Setenv("PROCOPS_CONFIG", filepath.Join(harness.ModuleRoot(), "examples", "services", "procops.toml"))
	s.Setenv("REDIS_PORT", strconv.Itoa(ports[0]))
	s.Setenv("GEARMAN_PORT", strconv.Itoa(ports[1]))
	answers := map[string]func() bool{
		"redis":    func() bool { return harness.RedisAnswers(ports[0]) },
		"gearmand": func() bool { return harness.GearmandAnswers(ports[1]) },
	}

	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready")
	p.WaitLine(`^gearmand +\* ready$`) // it is recorded before it is told
	wantSteps(t, p, "redis started", "redis ready", "gearmand started", "gearmand ready")
	for name, does := range answers {
		if !does() {
			t.Errorf("%s is ready and does not answer", name)
		}
	}

	for _, name := range []string{"redis", "gearmand"} {
		before := statusOf(t, s)
		if err := syscall.Kill(before[name].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.WaitLines(`^`+name+` +\* ready$`, 2)
		after := statusOf(t, s)
		for other := range answers {
			if again := after[other].PID != before[other].PID; again != (other == name) {
				t.Errorf("%s was killed; before: %+v, after: %+v", name, before[other], after[other])
			}
		}
		if now := after[name]; now.State != "running" || now.Restarts != 1 || !answers[name]() {
			t.Errorf("%s is %+v", name, now)
		}
	}

	p.Signal(syscall.SIGINT)
	p.WantExit(0)
	wantNothing(t, s)
	wantSteps(t, p, "redis started", "redis ready", "gearmand started", "gearmand ready",
		"redis failed", "redis is started again", "redis started", "redis ready",
		"gearmand failed", "gearmand is started again", "gearmand started", "gearmand ready",
		"gearmand stopping", "gearmand ended", "redis stopping", "redis ended")
	for name, does := range answers {
		if does() {
			t.Errorf("%s still answers", name)
		}
	}
}

// stepsOf returns what procops has said of its processes, in order, such as
// "web started".
func stepsOf(p *harness.Process) (steps []string) {
	step := regexp.MustCompile(`^(\S+) +\* (started|ready|failed|is started again|stopping|ended)\b`)
	for line := range strings.Lines(p.Stderr()) {
		if m := step.FindStringSubmatch(line); len(m) > 2 && m[1] != "procops" {
			steps = append(steps, m[1]+" "+m[2])
		}
	}
	return steps
}

func wantSteps(t *testing.T, p *harness.Process, want ...string) {
	t.Helper()
	if got := stepsOf(p); !slices.Equal(got, want) {
		t.Errorf("steps %q, want %q", got, want)
	}
}

// wantNothing fails the test if anything of the sandbox runs at this moment.
func wantNothing(t *testing.T, s *harness.Sandbox) {
	t.Helper()
	for _, left := range s.Left() {
		t.Errorf("left running: %s", left)
	}
}
