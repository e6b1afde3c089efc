package integration

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"procops/integration/harness"
)

// serving is a tree and what else the commands that print something need.
func serving(t *testing.T) (s *harness.Sandbox, stop func()) {
	t.Helper()
	s, stop = started(t, `
[supervise.process.web]
command = "echo web is up; exec sleep 1000"
ready.log = "is up"
[heartbeat.x]
`)
	s.Want(0, "heartbeat", "beat", "x")
	s.Want(0, "heartbeat", "knock", "x")
	s.Want(0, "heartbeat", "run", "x", "--", "true")
	s.Want(0, "events", "emit", "test.done")
	return s, stop
}

// printing are the commands that print something, with what is there in serving.
func printing() []string {
	return []string{
		"--help", "version", "--version", "help", "supervise --help", "supervise run --help",
		"supervise status", "supervise status --json", "supervise tree", "supervise tree --json", "supervise logs",
		"supervise logs --json", "supervise pid web", "supervise start web", "supervise start web --json",
		"supervise signal CONT web", "supervise signal CONT web --json",
		"heartbeat list", "heartbeat list --json", "heartbeat history x", "heartbeat history x --json",
		"heartbeat runs x", "heartbeat runs x --json", "heartbeat knock x", "heartbeat knock x --json",
		"heartbeat beat x --json", "heartbeat attach other", "heartbeat detach other",
		"events", "events --json", "events list", "events types", "events types --json", "events emit test.done --json",
		"config check", "config check --json", "config show", "config show --json", "config path", "config schema", "config init -",
	}
}

// TestFullDisk has standard output on a full disk: whoever believes in exit
// codes must not take a cut result for a whole one.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s, stop := serving(t)
	defer stop()
	for _, command := range printing() {
		code := 1
		if strings.HasPrefix(command, "heartbeat knock ") {
			code = 3 // to a monitoring system 1 is a warning, and this is "unknown"
		}
		r := s.Run("sh", "-c", "procops "+command+" >/dev/full")
		if r.Code != code || r.Stderr != "procops: error: cannot write to standard output: no space left on device\n" {
			t.Error(r)
		}
	}
}

// TestTheReaderHasEnough ends quietly, as other programs do.
func TestTheReaderHasEnough(t *testing.T) {
	t.Parallel()
	s, stop := serving(t)
	defer stop()
	for _, command := range printing() {
		r := s.Run("bash", "-c", "procops "+command+" | true; exit ${PIPESTATUS[0]}")
		if r.Code != 0 && r.Code != 141 || r.Stderr != "" {
			t.Error(r)
		}
	}
}

func TestJSONParses(t *testing.T) {
	t.Parallel()
	s, stop := serving(t)
	defer stop()
	for _, command := range append(printing(), "config schema --json", "heartbeat knock --all --json") {
		args := strings.Fields(strings.TrimSuffix(command, " --json") + " --json")
		if !strings.HasSuffix(command, " --json") || args[1] == "schema" {
			continue
		}
		r := s.Want(0, args...)
		if r.Stderr != "" || r.Stdout == "" {
			t.Error(r)
		}
		for d := json.NewDecoder(strings.NewReader(r.Stdout)); d.More(); {
			var v any
			if err := d.Decode(&v); err != nil {
				t.Errorf("%v: %s", err, r)
				break
			}
		}
	}
}

// TestNoColour looks for escape sequences where nobody wants any.
func TestNoColour(t *testing.T) {
	t.Parallel()
	s, stop := serving(t)
	defer stop()
	s.Setenv("TERM", "xterm")
	for _, command := range printing() {
		if strings.HasSuffix(command, "tach other") {
			continue // it can only be done once
		}
		// In a pipe there are none, and on a terminal neither when NO_COLOR says so.
		for _, line := range []string{"procops " + command, "NO_COLOR=1 script -qec 'procops " + command + "' /dev/null"} {
			if r := s.Run("sh", "-c", line); r.Code != 0 || r.Stdout == "" || strings.Contains(r.Stdout+r.Stderr, "\x1b") {
				t.Error(r)
			}
		}
	}
	r := s.Run("script", "-qec", "procops supervise status", "/dev/null")
	if !strings.Contains(r.Stdout, "\x1b[") {
		t.Errorf("no colours on a terminal: %s", r)
	}
}

// TestTimesAreOfOneKind compares the time that emit prints with that of the log.
func TestTimesAreOfOneKind(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	var times [2]time.Time
	for i, r := range []harness.Result{s.Want(0, "events", "emit", "test.done", "--json"), s.Want(0, "events", "--json")} {
		var e struct{ Time time.Time }
		if err := json.Unmarshal([]byte(r.Stdout), &e); err != nil {
			t.Fatalf("%v: %s", err, r)
		}
		times[i] = e.Time
	}
	if !times[0].Equal(times[1]) {
		t.Errorf("emit says %s, the log %s", times[0], times[1])
	}
}
