package integration

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// TestDaemonPeriod: over 1,000 turns of 10 ms nothing adds up. A turn that has overrun its
// period, because the machine was busy, moves those after it, as it should.
func TestDaemonPeriod(t *testing.T) {
	t.Parallel()
	const turns, period, tolerance = 1000, 10 * time.Millisecond, 100 * time.Microsecond
	s := harness.NewShipped(t)
	s.Config("[daemon.report]\ncommand = [\"/bin/true\"]\nsleep = \"10ms\"\nhistory_keep = 5000\n")
	p := s.Start("daemon", "run", "report")
	harness.Eventually(t, "enough turns", func() bool { return lookAtDaemon(t, s, "report").Turns > turns+1 })
	p.Signal(syscall.SIGQUIT)
	p.WantExit(0)
	history := historyOf(t, s, "report")
	if len(history) <= turns {
		t.Fatalf("the history has %d turns", len(history))
	}
	planned, overruns := history[0].Started, 0
	for _, turn := range history[:turns] {
		end := turn.Started.Add(time.Duration(turn.Seconds * float64(time.Second)))
		planned = planned.Add(period)
		if end.After(planned) {
			planned, overruns = end, overruns+1
		}
	}
	if off := history[turns].Started.Sub(planned); off.Abs() > turns*tolerance {
		t.Errorf("the period is %v off in the mean (%d turns have overrun theirs)", off/turns, overruns)
	}
}

// TestDaemonMemory: a program that grows is stopped at the threshold; a limit that it hits
// is told apart from a crash.
func TestDaemonMemory(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	s.Config(`
[daemon.grows]
command          = ["python3", "-c", "import os; x = b'x' * (20000000 * int(os.environ['PROCOPS_TURN']))"]
sleep            = "10ms"
memory_limit     = "200M"
memory_threshold = 40
[daemon.hits]
command      = ["python3", "-c", "x = []\nwhile True: x.append(b'x' * 1000000)"]
memory_limit = "100M"
[daemon.crashes]
command      = "kill -SEGV $$"
memory_limit = "100M"
[daemon.fails]
command      = "exit 3"
memory_limit = "100M"
`)
	p := s.Start("daemon", "run", "grows")
	p.WantExit(0)
	e := onlyEvent(t, s, "daemon.stop")
	memory, _ := e["memory"].(float64)
	if limit := 200 << 20; e["limit"] != float64(limit) || memory <= 0.4*float64(limit) || memory > float64(limit) || e["failed"] != nil {
		t.Errorf("the event is %v", e)
	}
	history := historyOf(t, s, "grows")
	last := history[len(history)-1]
	if len(history) < 2 || len(history) > 5 || float64(last.Memory) != memory || last.Outcome != "success" {
		t.Errorf("the turns are %+v", history)
	}
	for name, want := range map[string]turnSeen{
		"hits": {Outcome: "memory", Code: 1}, "crashes": {Outcome: "unknown", Code: 139}, "fails": {Outcome: "error", Code: 3},
	} {
		s.Want(want.Code, "daemon", "once", name)
		if got := historyOf(t, s, name); len(got) != 1 || got[0].Outcome != want.Outcome {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestDaemonEnds: how a daemon ends by itself.
func TestDaemonEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config   string
		code     int
		outcomes string
		reason   string
	}{
		"stop code":         {`command = "test $PROCOPS_TURN = 1 || exit 100"`, 0, "success stop", "a turn has asked for it: exit code 100"},
		"another stop code": {"command = \"exit 42\"\nstop_code = 42", 0, "stop", "a turn has asked for it: exit code 42"},
		"on_failure":        {"command = \"exit 3\"\non_failure = \"stop\"", 1, "error", "a turn has failed: 3 Unknown error"},
		"max_failures": {
			"command = \"test $PROCOPS_TURN = 2 || exit 3\"\nmax_failures = 2\nbackoff = { initial = \"10ms\" }", 1,
			"error success error error", "2 turns in a row have failed: 3 Unknown error",
		},
		"others are no failures": {
			"command = \"case $PROCOPS_TURN in 1) exit 2;; 2) exit 75;; 3) exit 100;; esac\"\nmax_failures = 1", 0,
			"warning retry stop", "a turn has asked for it: exit code 100",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			s.Config("[daemon.report]\nsleep = \"10ms\"\n" + c.config + "\n")
			p := s.Start("daemon", "run", "report")
			p.WantExit(c.code)
			if got := outcomesOf(t, s, "report"); got != c.outcomes {
				t.Errorf("outcomes %q, want %q", got, c.outcomes)
			}
			e := onlyEvent(t, s, "daemon.stop")
			if e["reason"] != c.reason || (e["failed"] == true) != (c.code != 0) || e["turns"] != float64(len(strings.Fields(c.outcomes))) {
				t.Errorf("the event is %v, want reason %q", e, c.reason)
			}
			wantNoPidfile(t, s)
		})
	}
}

// TestDaemonBackoff: after failures it waits, and says in the event for how long.
func TestDaemonBackoff(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[daemon.report]\ncommand = \"exit 3\"\nsleep = \"10ms\"\nbackoff = { initial = \"1h\", max = \"1h\", jitter = 0 }\n")
	p := s.Start("daemon", "run", "report")
	harness.Eventually(t, "the failure is recorded", func() bool { return len(loggedEvents(t, s, "daemon.task_failed")) == 1 })
	if e := onlyEvent(t, s, "daemon.task_failed"); e["delay"] != 3600.0 || e["failures"] != 1.0 || e["code"] != 3.0 || e["outcome"] != "error" {
		t.Errorf("the event is %v", e)
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
}

// TestDaemonCatchUp: what becomes of the turns that a schedule had while nothing ran.
func TestDaemonCatchUp(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[daemon.one]
command  = "echo turn >>one"
schedule = "0 0 1 1 *"
catch_up = "one"
[daemon.none]
command  = "echo turn >>none"
schedule = "0 0 1 1 *"
`)
	for _, name := range []string{"one", "none"} {
		s.Want(0, "daemon", "once", name)
	}
	start := func() {
		s.Want(0, "daemon", "start", "--all")
		for _, name := range []string{"one", "none"} {
			harness.Eventually(t, name+" waits", func() bool {
				now := lookAtDaemon(t, s, name)
				return now.State == "waiting" && now.Next.After(time.Now())
			})
		}
		s.Want(0, "daemon", "stop", "--all")
	}
	start() // nothing was missed
	// Two years pass.
	if r := s.Run("sqlite3", filepath.Join(s.State, "procops.db"), "UPDATE daemons SET turn_at = turn_at - 2 * 366 * 86400 * 1000000"); r.Code != 0 {
		t.Fatal(r)
	}
	start()
	if one, none := s.ReadFile("one"), s.ReadFile("none"); one != "turn\nturn\n" || none != "turn\n" {
		t.Errorf("one has run %q, none %q", one, none)
	}
}

// TestDaemonTimeout: a turn that hangs is stopped with all that it has started, and its
// heartbeat hears of it.
func TestDaemonTimeout(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[daemon.report]
command    = "test $PROCOPS_TURN = 1 && exit 0; trap '' TERM; sleep 1000 & echo $! >child; while :; do sleep 1000; done"
sleep      = "10ms"
timeout    = "500ms"
stop.grace = "200ms"
on_failure = "stop"
heartbeat  = true
`)
	p := s.Start("daemon", "run", "report")
	p.WantExit(1)
	wantNothing(t, s)
	if got := outcomesOf(t, s, "report"); got != "success timeout" {
		t.Errorf("outcomes %q", got)
	}
	var beats []struct {
		Status string
		Last   struct {
			Number  int
			Outcome string
		}
	}
	if err := json.Unmarshal([]byte(s.Want(0, "heartbeat", "list", "--json").Stdout), &beats); err != nil || len(beats) != 1 {
		t.Fatalf("%v: %+v", err, beats)
	}
	if b := beats[0]; b.Status != "critical" || b.Last.Number != 2 || b.Last.Outcome != "failed" {
		t.Errorf("the heartbeat is %+v", b)
	}
}

// TestDaemonHistory: with its bounds, and since a time.
func TestDaemonHistory(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[daemon.report]\ncommand = \"test $PROCOPS_TURN -lt 12 || exit 100\"\nsleep = \"1ms\"\nhistory_keep = 5\n")
	s.Start("daemon", "run", "report").WantExit(0)
	kept := historyOf(t, s, "report")
	if len(kept) != 5 || kept[0].Turn != 8 || kept[4].Turn != 12 || kept[4].Outcome != "stop" {
		t.Errorf("it has kept %+v", kept)
	}
	if got := historyOf(t, s, "report", "-n", "2"); len(got) != 2 || got[1].Turn != 12 {
		t.Errorf("the newest two are %+v", got)
	}
	if got := historyOf(t, s, "report", "--since", "2999-01-01"); len(got) != 0 {
		t.Errorf("since the future: %+v", got)
	}
	if got := historyOf(t, s, "report", "--since", "1h"); len(got) != 5 {
		t.Errorf("since an hour: %+v", got)
	}
}

// TestDaemonRunsAs looks at a turn through the eyes of the kernel.
func TestDaemonRunsAs(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	identity := ""
	if asRoot() {
		identity = "user = \"nobody\"\ngroup = \"daemon\"\ngroups = [\"4321\"]\n"
	}
	s.WriteFile("a.env", "A=from-a\nB=from-a\n")
	s.Config("[daemon.report]\ncommand = [\"sleep\", \"1000\"]\nenv_file = [\"a.env\"]\nenv = { B = \"own\" }\nnice = 7\numask = \"027\"\nlimits = { files = 77 }\n" + identity)
	p := s.Start("daemon", "run", "report")
	var turn []harness.Running
	harness.Eventually(t, "the turn runs", func() bool {
		turn = nil
		for _, r := range harness.Descendants(p.PID()) {
			if r.Command == "sleep 1000" {
				turn = append(turn, r)
			}
		}
		return len(turn) == 1
	})
	k := kernelView{t, turn[0].PID}
	for what, pair := range map[string][2]string{
		"A": {k.variable("A"), "from-a"}, "B": {k.variable("B"), "own"}, "nice": {k.nice(), "7"},
		"umask": {k.status("Umask"), "0027"}, "open files": {k.limit("Max open files"), "77 77"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	if asRoot() {
		for what, pair := range map[string][2]string{
			"user": {k.status("Uid"), "65534 65534 65534 65534"}, "group": {k.status("Gid"), "1 1 1 1"}, "groups": {k.status("Groups"), "4321"},
			"USER": {k.variable("USER"), "nobody"}, "LOGNAME": {k.variable("LOGNAME"), "nobody"}, "HOME": {k.variable("HOME"), "/nonexistent"},
		} {
			if pair[0] != pair[1] {
				t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
			}
		}
	}
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
}

// TestDaemonReload: what HUP brings into effect, and when.
func TestDaemonReload(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	write := func(command, sleep string) {
		s.Config(fmt.Sprintf("[daemon.report]\ncommand = \"echo %s >>turns; read line <gate\"\nsleep = %q\n", command, sleep))
	}
	if r := s.Run("mkfifo", "gate"); r.Code != 0 {
		t.Fatal(r)
	}
	write("first", "1h")
	p := s.Start("daemon", "run", "report")
	reloads := 0
	told := func() map[string]any {
		reloads++
		harness.Eventually(t, "it has reloaded", func() bool { return len(loggedEvents(t, s, "daemon.reload")) == reloads })
		return onlyEvent(t, s, "daemon.reload")
	}
	reload := func() map[string]any {
		p.Signal(syscall.SIGHUP)
		return told()
	}
	waits := func(turns int) {
		openGate(s)
		harness.Eventually(t, "it waits", func() bool {
			now := lookAtDaemon(t, s, "report")
			return now.State == "waiting" && now.Turns == turns
		})
	}
	s.WaitFile("turns")

	s.Config("[daemon.report]\ncommand = 7 7\n")
	p.Signal(syscall.SIGHUP)
	p.WaitLine("it is not reloaded, and goes on as before")
	if r := s.Want(2, "daemon", "reload", "report"); !strings.Contains(r.Stderr, "procops.toml:2") {
		t.Error(r)
	}
	s.Config("[daemon.other]\ncommand = \"true\"\n")
	if e := told(); !strings.Contains(fmt.Sprint(e["error"]), "procops.toml:2") {
		t.Errorf("a broken config: %v", e)
	}
	if e := reload(); !strings.Contains(fmt.Sprint(e["error"]), `there is no daemon "report"`) {
		t.Errorf("a section that is gone: %v", e)
	}
	write("second", "1h")
	waits(1) // in spite of all that
	before := lookAtDaemon(t, s, "report").Next
	if e := reload(); e["error"] != nil {
		t.Errorf("a good config: %v", e)
	}
	if after := lookAtDaemon(t, s, "report").Next; after.Sub(before).Abs() > time.Second {
		t.Errorf("the next turn was put off from %v to %v", before, after)
	}
	write("third", "10ms")
	reload() // the sleep is over now
	harness.Eventually(t, "the turn", func() bool { return strings.HasSuffix(s.ReadFile("turns"), "third\n") })
	write("fourth", "1h") // while a turn runs
	reload()
	if got := s.ReadFile("turns"); got != "first\nthird\n" {
		t.Errorf("turns %q", got)
	}
	waits(2)
	p.Signal(syscall.SIGUSR1)
	harness.Eventually(t, "the turn", func() bool { return strings.HasSuffix(s.ReadFile("turns"), "fourth\n") })
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
}

// TestDaemonOnFullDisk: turns go on when nothing can be recorded or logged, and that is
// said once.
func TestDaemonOnFullDisk(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	s.Config("[daemon.report]\ncommand = \"echo turn; exit 3\"\nsleep = \"1ms\"\nbackoff = { initial = \"1ms\", max = \"1ms\" }\n")
	s.Want(2, "daemon", "status")
	// Files may have 2 MB from here on, which the database soon reaches; the turns write
	// to a pipe.
	p := s.StartProgram("/bin/sh", "-c", "ulimit -f 4096; exec procops daemon run report 2>&1 | grep --line-buffered -v 'a turn has failed'")
	p.WaitLine("cannot record what the daemon does")
	p.WaitLines("^turn$", strings.Count(p.Output(), "turn\n")+500)
	if n := strings.Count(p.Output(), "cannot record"); n > 5 {
		t.Errorf("it was said %d times", n)
	}
	s.Procops("daemon", "stop", "report")
	p.Wait()
}
