package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// speaker is a tree that says a word on each stream and ends.
const speaker = `
[supervise.process.p]
command = "echo out; echo err >&2"
`

func TestRunKeepsTheStreamsApart(t *testing.T) {
	for _, c := range []struct {
		flags          []string
		stdout, stderr string // regular expressions
	}{
		{nil, `^p       \| out\n$`, `(?m)^p       ! err$`},
		{[]string{"--no-prefix"}, `^out\n$`, `(?m)^err$`},
		{[]string{"--no-prefix"}, `^out\n$`, `(?m)^procops: p: started, pid \d+$`},
		{[]string{"--quiet"}, `^$`, `(?m)^p       \* ended: 0 OK$`},
		{[]string{"--timestamps", "--utc"}, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z p       \| out\n$`, `(?m)^[-0-9T:.]+Z p       ! err$`},
	} {
		t.Run(strings.Join(c.flags, " "), func(t *testing.T) {
			s := harness.New(t)
			s.Config(speaker)
			r := s.Want(0, append([]string{"supervise", "run"}, c.flags...)...)
			if !regexp.MustCompile(c.stdout).MatchString(r.Stdout) {
				t.Errorf("stdout does not match %s: %s", c.stdout, r)
			}
			if !regexp.MustCompile(c.stderr).MatchString(r.Stderr) {
				t.Errorf("stderr does not match %s: %s", c.stderr, r)
			}
			if strings.Contains(r.Stdout+r.Stderr, "\x1b") {
				t.Errorf("colours in a pipe: %s", r)
			}
		})
	}
}

func TestRunAsJSON(t *testing.T) {
	s := harness.New(t)
	s.Config(speaker)
	r := s.Want(0, "supervise", "run", "--json")
	got := map[string]string{}
	for line := range strings.Lines(r.Stdout) {
		var l struct{ Time, Name, Stream, Text string }
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Name != "p" || l.Time == "" {
			t.Errorf("line %q: %v", line, err)
		}
		got[l.Stream] += l.Text
	}
	if len(got) != 2 || got["stdout"] != "out" || got["stderr"] != "err" {
		t.Errorf("got %v", got)
	}
	var types []string
	for line := range strings.Lines(r.Stderr) {
		var e struct{ Type string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Errorf("event %q: %v", line, err)
		}
		types = append(types, e.Type)
	}
	if len(types) < 4 || types[0] != "supervise.started" || types[len(types)-1] != "supervise.stopped" {
		t.Errorf("events %q", types)
	}
}

func TestRunReportsAFailure(t *testing.T) {
	s := harness.New(t)
	s.Config(`
[supervise.process.bad]
command = "echo some output; echo some trouble >&2; exit 5"
`)
	r := s.Want(5, "supervise", "run", "--quiet")
	for _, want := range []string{`The process "bad" failed.`, "echo some output; echo some trouble >&2; exit 5", "exit code: 5", "some output", "some trouble"} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("no %q: %s", want, r)
		}
	}
}

// stubborn is a tree of a process that ends when asked and one that does not.
const stubborn = `
[supervise.process.soft]
command = "trap 'echo soft ends; exit 0' TERM; echo soft is up; while :; do sleep 0.1; done"
[supervise.process.hard]
command = "trap '' TERM; echo hard is up; while :; do sleep 0.1; done"
stop.grace = "1h"
`

func TestFirstSignalAsksSecondHurries(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			s := harness.New(t)
			s.Config(stubborn)
			p := s.Start("supervise", "run")
			p.WaitLines(`is up$`, 2)
			p.Signal(sig)
			p.WaitLine(`procops \* stopping all in order; once more kills what is left`)
			p.WaitLine(`soft ends`)
			p.WaitLine(`waiting for hard \(pid \d+, \d+s\)`)
			p.Signal(sig)
			p.WaitLine(`hard    \* ended: 137`)
			p.WantExit(0)
		})
	}
}

func TestHangupReopensLogFiles(t *testing.T) {
	s := harness.New(t)
	s.Config(`
[supervise.process.p]
command = "echo before; trap 'echo after' USR1; while :; do sleep 0.05; done"
`)
	p := s.Start("supervise", "run", "--log-file", "own.log")
	harness.Eventually(t, "the process speaks", func() bool { return strings.Contains(s.ReadFile("state/logs/p.log"), "before") })
	for _, name := range []string{"state/logs/p.log", "own.log"} {
		if err := os.Rename(filepath.Join(s.Dir, name), filepath.Join(s.Dir, name+".1")); err != nil {
			t.Fatal(err)
		}
	}
	p.Signal(syscall.SIGHUP)
	harness.Eventually(t, "the log is opened again", func() bool { return strings.Contains(s.ReadFile("own.log"), "log files are opened again") })
	s.Want(0, "supervise", "signal", "USR1", "p")
	harness.Eventually(t, "the new file is written", func() bool { return strings.Contains(s.ReadFile("state/logs/p.log"), "after") })
	if old := s.ReadFile("state/logs/p.log.1"); strings.Contains(old, "after") {
		t.Errorf("the old file was written: %q", old)
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
}

// TestNobodyReads has a process print more than any buffer holds while nobody
// reads what procops prints. It must come to its end all the same.
func TestNobodyReads(t *testing.T) {
	s := harness.New(t)
	s.Config(`
[supervise.process.flood]
command = "yes a line of output | head -n 1800000; touch done"
output.file = "none"
`)
	s.WriteFile("reader", "while ! test -e done; do sleep 0.05; done; cat > out")
	r := s.Run("sh", "-c", "procops supervise run | sh reader")
	if !harness.Exists(filepath.Join(s.Dir, "done")) || r.Code != 0 {
		t.Fatal(r)
	}
	out := s.ReadFile("out")
	if !strings.Contains(out, "lines are missing here: they were not read as fast") {
		t.Errorf("%d bytes of output tell of no gap; the last: %q", len(out), out[max(0, len(out)-200):])
	}
	for line := range strings.Lines(out) {
		if line != "flood   | a line of output\n" && !strings.HasPrefix(line, "procops * ") {
			t.Fatalf("torn line %q", line)
		}
	}
}

func TestReaderGoesAway(t *testing.T) {
	s := harness.New(t)
	s.Config(`
[supervise.process.p]
command = "for i in $(seq 1000); do echo line $i; done; echo all said; touch done"
`)
	r := s.Run("bash", "-c", "procops supervise run | head -n 1; exit ${PIPESTATUS[0]}")
	if r.Code != 0 || r.Stdout != "p       | line 1\n" || !harness.Exists(filepath.Join(s.Dir, "done")) {
		t.Error(r)
	}
}

func TestColoursAreForTerminals(t *testing.T) {
	for noColor, want := range map[string]bool{"": true, "1": false} {
		t.Run("NO_COLOR="+noColor, func(t *testing.T) {
			s := harness.New(t)
			s.Setenv("NO_COLOR", noColor)
			s.Setenv("TERM", "xterm")
			s.Config(speaker)
			r := s.Run("script", "-qec", "procops supervise run", "/dev/null")
			if r.Code != 0 || !strings.Contains(r.Stdout, "out") || strings.Contains(r.Stdout, "\x1b[") != want {
				t.Error(r)
			}
		})
	}
}

// TestTerminalGoesAway closes the terminal that procops runs in.
func TestTerminalGoesAway(t *testing.T) {
	s := harness.New(t)
	s.Config(stubborn + `
[supervise.process.last]
command = "trap 'echo ended in order > ended; exit 0' TERM; echo last is up; while :; do sleep 0.1; done"
`)
	s.WriteFile("procops.toml", strings.ReplaceAll(s.ReadFile("procops.toml"), "1h", "100ms"))
	p := s.StartProgram("script", "-qec", "procops supervise run", "/dev/null")
	p.WaitLines(`is up`, 3)
	p.Signal(syscall.SIGKILL) // the other end of the terminal
	p.Wait()
	harness.Eventually(t, "all has ended", func() bool { return len(s.Left()) == 0 })
	if got := s.ReadFile("ended"); got != "ended in order\n" {
		t.Errorf("got %q", got)
	}
}

// shop is a tree that becomes ready after a while.
const shop = `
[supervise.process.db]
command = "echo db speaks; sleep 0.3; echo listening; exec sleep 1000"
ready.log = "listening"
[supervise.process.web]
command = "exec sleep 1000"
depends_on = ["db"]
`

func TestThenRunsTheCommandWhenAllIsReady(t *testing.T) {
	s := harness.New(t)
	s.Config(shop)
	s.WriteFile("job", `procops supervise status --json > status.json || exit 9
cat
sleep 1000 &
echo trouble >&2
exit 7`)
	r := s.Run("sh", "-c", "echo input | procops supervise run --timeout 30s --then -- sh job")
	if r.Code != 7 || r.Stdout != "input\n" {
		t.Error(r)
	}
	if !strings.Contains(r.Stderr, "trouble\n") || !strings.Contains(r.Stderr, "db      | db speaks\n") {
		t.Errorf("stderr lacks something: %s", r)
	}
	var status struct {
		Processes []struct {
			Name  string
			Ready bool
		}
	}
	if err := json.Unmarshal([]byte(s.ReadFile("status.json")), &status); err != nil || len(status.Processes) != 2 {
		t.Fatalf("%v in %q", err, s.ReadFile("status.json"))
	}
	for _, p := range status.Processes {
		if !p.Ready {
			t.Errorf("%s was not ready when the command ran", p.Name)
		}
	}
}

func TestThenGivesUp(t *testing.T) {
	s := harness.New(t)
	s.Config(strings.ReplaceAll(shop, "listening; exec", "busy; exec"))
	r := s.Want(1, "supervise", "run", "--quiet", "--timeout", "500ms", "--then", "--", "touch", "ran")
	for _, want := range []string{
		"db      * is not ready: starting\n", "db      | db speaks\n",
		"web     * is not ready: waiting, waits for db to be ready\n",
		"procops: error: the tree is not ready after 500ms\n",
	} {
		if !strings.Contains(r.Stderr, want) {
			t.Errorf("no %q: %s", want, r)
		}
	}
	if harness.Exists(filepath.Join(s.Dir, "ran")) {
		t.Error("the command ran all the same")
	}
}

func TestThenAndAFailingTree(t *testing.T) {
	s := harness.New(t)
	s.Config(`
[supervise.process.bad]
command = "while ! test -e begun; do sleep 0.05; done; echo broken; exit 6"
`)
	r := s.Want(6, "supervise", "run", "--then", "--", "sh", "-c", "trap 'echo told to end; exit 0' TERM; touch begun; while :; do sleep 0.05; done")
	if r.Stdout != "told to end\n" || !strings.Contains(r.Stderr, `The process "bad" failed.`) {
		t.Error(r)
	}
}

func TestThenWithATreeThatEnds(t *testing.T) {
	s := harness.New(t)
	s.Config(speaker)
	r := s.Want(3, "supervise", "run", "--quiet", "--then", "--", "sh", "-c", "echo ran; exit 3")
	if r.Stdout != "ran\n" {
		t.Error(r)
	}
}

func TestThenWithoutSuchACommand(t *testing.T) {
	s := harness.New(t)
	s.Config(shop)
	for code, command := range map[int]string{127: "./missing", 126: "./procops.toml"} {
		r := s.Want(code, "supervise", "run", "--then", "--", command)
		if !strings.Contains(r.Stderr, "procops: error: ") || !strings.Contains(r.Stderr, command) {
			t.Error(r)
		}
	}
}

func TestThenPassesASignalOn(t *testing.T) {
	s := harness.New(t)
	s.Config(shop)
	p := s.Start("supervise", "run", "--then", "--", "sh", "-c", "trap 'echo told; exit 0' TERM; echo begun; while :; do sleep 0.05; done")
	p.WaitLine("^begun$")
	p.Signal(syscall.SIGTERM)
	p.WaitLine("^told$")
	p.WantExit(128 + int(syscall.SIGTERM))
}

func TestRunRefusals(t *testing.T) {
	s := harness.New(t)
	s.Config(shop)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"now"}, 2, `procops supervise run does not know what to do with "now"`},
		{[]string{"--then"}, 2, `procops supervise run needs the command to run after "--"`},
		{[]string{"--timeout", "5s"}, 2, `procops supervise run: --timeout goes with --then only`},
		{[]string{"--then", "--timeout", "soon", "--", "true"}, 2, `procops supervise run: --timeout: invalid duration "soon"`},
		{[]string{"--log-file", "/proc/none/x"}, 1, `cannot open log file "/proc/none/x": `},
		{[]string{"--config", "none.toml"}, 2, `none.toml`},
	} {
		r := s.Want(c.code, append([]string{"supervise", "run"}, c.args...)...)
		if !strings.HasPrefix(r.Stderr, "procops: error: ") || !strings.Contains(r.Stderr, c.want) || r.Stdout != "" {
			t.Errorf("want %q: %s", c.want, r)
		}
	}
	if harness.Exists(filepath.Join(s.State, "supervise.sock")) {
		t.Error("something was begun")
	}
}

func TestSecondRunIsRefused(t *testing.T) {
	s := harness.New(t)
	s.Config(shop)
	p := s.Start("supervise", "run")
	p.WaitLine(`web     \* started`)
	for _, command := range []string{"run", "start"} {
		r := s.Want(4, "supervise", command)
		if want := fmt.Sprintf("a supervisor already runs on state directory %q (pid %d)", s.State, p.PID()); !strings.Contains(r.Stderr, want) {
			t.Errorf("want %q: %s", want, r)
		}
	}
	s.Want(0, "supervise", "status")
	begun := time.Now()
	s.Want(0, "supervise", "stop")
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("stop took %v", took)
	}
	p.WantExit(0)
}
