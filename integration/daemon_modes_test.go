package integration

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// growing is a co-process that grows by 8 MB with each turn, and asks for the end in its
// turn number STOP.
const growing = `
import json, os, sys
print(json.dumps({"type": "hello", "protocol": 1}), flush=True)
kept = []
for line in sys.stdin:
    work = json.loads(line)
    kept.append(bytearray(b"x") * (8 << 20))
    outcome = "stop" if work["meta"]["turn"] == os.environ.get("STOP") else "success"
    text = "turn %s of pid %d\n" % (work["meta"]["turn"], os.getpid())
    print(json.dumps({"type": "result", "id": work["id"], "outcome": outcome, "output": text}), flush=True)
`

// turnsOf returns the numbers of the turns that a daemon has printed, by the pid of the
// co-process, which are in the order of their first turn.
func turnsOf(output string) (pids []string, turns map[string][]string) {
	turns = map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^turn (\d+) of pid (\d+)$`).FindAllStringSubmatch(output, -1) {
		if !slices.Contains(pids, m[2]) {
			pids = append(pids, m[2])
		}
		turns[m[2]] = append(turns[m[2]], m[1])
	}
	return pids, turns
}

// TestDaemonWithACoprocess: one warm process does all turns, until one asks for the end.
func TestDaemonWithACoprocess(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.WriteFile("growing.py", growing)
	s.Config("[daemon.d]\ncommand = ['python3', 'growing.py']\nmode = 'coprocess'\nsleep = '10ms'\nenv.STOP = '5'\n")
	r := s.Want(0, "daemon", "run", "d")
	pids, turns := turnsOf(r.Stdout)
	if len(pids) != 1 || len(turns[pids[0]]) != 5 {
		t.Errorf("turns by process: %v", turns)
	}
	if one := daemonsOf(t, s)["d"]; one.State != "stopped" || !strings.Contains(one.Reason, "asked for it") {
		t.Errorf("%+v", one)
	}
}

// TestDaemonGrows: a daemon whose co-process has outgrown its threshold ends in good
// order with the figures, or has it replaced, as configured.
func TestDaemonGrows(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.WriteFile("growing.py", growing)
	const section = "command = ['python3', 'growing.py']\nmode = 'coprocess'\nsleep = '10ms'\nmemory_limit = '100M'\nmemory_threshold = 60\n"
	s.Config("[daemon.ends]\n" + section + "[daemon.goes-on]\n" + section + "on_memory = 'recycle'\n")

	r := s.Want(0, "daemon", "run", "ends")
	if pids, _ := turnsOf(r.Stdout); len(pids) != 1 {
		t.Errorf("co-processes %v", pids)
	}
	var end struct {
		Data struct {
			Memory, Limit int64
			Reason        string
			Failed        bool
		}
	}
	check(t, json.Unmarshal([]byte(s.Want(0, "events", "--type", "daemon.stop", "--json").Stdout), &end))
	if d := end.Data; d.Failed || d.Limit != 100<<20 || d.Memory <= 60<<20 || d.Memory > 100<<20 || !strings.Contains(d.Reason, "more than 60 %") {
		t.Errorf("the event says %+v", d)
	}

	p := s.Start("daemon", "run", "goes-on")
	harness.Eventually(t, "three co-processes have done turns", func() bool {
		pids, _ := turnsOf(p.Stdout())
		return len(pids) >= 3
	})
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	_, turns := turnsOf(p.Stdout())
	seen := map[string]bool{}
	for _, numbers := range turns {
		for _, n := range numbers {
			if seen[n] {
				t.Errorf("turn %s was done twice", n)
			}
			seen[n] = true
		}
	}
	wantNothing(t, s)
}

// TestDaemonHitsItsLimit: what fails because it gets no more memory is told apart from a
// crash.
func TestDaemonHitsItsLimit(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	const grow = "kept = []\\nwhile True: kept.append(bytearray(b'x') * (1 << 20))"
	s.Config(`
[daemon.greedy]
command = ["python3", "-c", "` + grow + `"]
memory_limit = "200M"
[daemon.crashing]
command = "kill -SEGV $$"
memory_limit = "200M"
[daemon.failing]
command = "exit 1"
memory_limit = "200M"
`)
	for name, want := range map[string]string{"greedy": "memory", "crashing": "unknown", "failing": "error"} {
		if r := s.Procops("daemon", "once", name); r.Code == 0 {
			t.Error(r)
		}
		var turns []struct{ Outcome, Message string }
		check(t, json.Unmarshal([]byte(s.Want(0, "daemon", "history", name, "--json").Stdout), &turns))
		if len(turns) != 1 || turns[0].Outcome != want {
			t.Errorf("%s: %+v, want %s", name, turns, want)
		}
	}
}

// TestDaemonWatchdog: a turn that says WATCHDOG=1 in time goes on, one that falls silent
// or asks for it is ended, with all that it has started.
func TestDaemonWatchdog(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[daemon.lively]
command = "for i in 1 2 3 4 5 6 7 8; do systemd-notify WATCHDOG=1; sleep 0.25; done"
watchdog = "1s"
[daemon.silent]
command = "systemd-notify WATCHDOG=1; sleep 1000 & sleep 1000"
watchdog = "1s"
[daemon.asking]
command = "systemd-notify WATCHDOG=trigger; sleep 1000"
watchdog = "100s"
`)
	s.Want(0, "daemon", "once", "lively")
	for name, want := range map[string]string{"silent": "no WATCHDOG=1 for 1s", "asking": "it said WATCHDOG=trigger"} {
		s.Want(143, "daemon", "once", name)
		if got := s.Want(0, "daemon", "history", name).Stdout; !strings.Contains(got, "timeout") || !strings.Contains(got, want) {
			t.Errorf("%s:\n%s", name, got)
		}
	}
	wantNothing(t, s)
}

// TestDaemonThatIsNotInTheConfigAnyMore can still be seen and stopped.
func TestDaemonThatIsNotInTheConfigAnyMore(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[daemon.old]\ncommand = 'true'\nsleep = '100s'\n")
	s.Want(0, "daemon", "start", "old")
	s.Config("[daemon.new]\ncommand = 'true'\n")
	s.Want(0, "daemon", "status", "old")
	s.Want(0, "daemon", "stop", "old")
	s.Want(3, "daemon", "stop", "old")
	s.Want(3, "daemon", "start", "old")
	wantNothing(t, s)
}
