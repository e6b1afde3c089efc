package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"procops/integration/harness"
)

// daemonSeen is what `daemon status --json` says of one.
type daemonSeen struct {
	State    string
	PID      int
	Turns    int
	Failures int
	Next     time.Time
	Last     turnSeen
	Reason   string
	Killed   bool
}

// turnSeen is a turn as `daemon history --json` has it.
type turnSeen struct {
	Turn    int
	Started time.Time
	Seconds float64
	Outcome string
	Code    int
	Memory  int64
	Message string
}

// lookAtDaemon returns the status of a daemon with a single instance.
func lookAtDaemon(t *testing.T, s *harness.Sandbox, name string) daemonSeen {
	t.Helper()
	r := s.Procops("daemon", "status", name, "--json")
	var list []daemonSeen
	if err := json.Unmarshal([]byte(r.Stdout), &list); err != nil || len(list) != 1 {
		t.Fatalf("%v: %s", err, r)
	}
	return list[0]
}

// historyOf returns the history of a daemon, oldest first.
func historyOf(t *testing.T, s *harness.Sandbox, name string, more ...string) (turns []turnSeen) {
	t.Helper()
	r := s.Want(0, append([]string{"daemon", "history", name, "--json", "-n", "10000"}, more...)...)
	if err := json.Unmarshal([]byte(r.Stdout), &turns); err != nil {
		t.Fatalf("%v: %s", err, r)
	}
	return turns
}

// outcomesOf returns the outcomes of the turns of a daemon.
func outcomesOf(t *testing.T, s *harness.Sandbox, name string) string {
	t.Helper()
	var all []string
	for _, turn := range historyOf(t, s, name) {
		all = append(all, turn.Outcome)
	}
	return strings.Join(all, " ")
}

// onlyEvent returns the data of the newest event of a type.
func onlyEvent(t *testing.T, s *harness.Sandbox, kind string) map[string]any {
	t.Helper()
	r := s.Want(0, "events", "--json", "-n", "1", "--type", kind)
	var e struct{ Data map[string]any }
	if err := json.Unmarshal([]byte(r.Stdout), &e); err != nil {
		t.Fatalf("%v: no %s: %s", err, kind, r)
	}
	return e.Data
}

// pidfileOf returns the path of the pidfile of a daemon, such as "report-production".
func pidfileOf(s *harness.Sandbox, id string) string { return filepath.Join(s.State, "run", id+".pid") }

// wantNoPidfile fails the test if there is any pidfile.
func wantNoPidfile(t *testing.T, s *harness.Sandbox) {
	t.Helper()
	left, err := filepath.Glob(pidfileOf(s, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("pidfiles %q are left, %v", left, err)
	}
}

// waitPID waits until a file below the sandbox's directory has a pid and returns it.
func waitPID(t *testing.T, s *harness.Sandbox, name string) int {
	t.Helper()
	var pid int
	harness.Eventually(t, "a pid in "+name, func() bool {
		text, whole := strings.CutSuffix(s.ReadFile(name), "\n")
		n, err := strconv.Atoi(strings.TrimSpace(text))
		pid = n
		return whole && err == nil
	})
	return pid
}

// asRoot reports whether this may become somebody else.
func asRoot() bool { return os.Geteuid() == 0 }
