package integration

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// crashRounds is how often procops is killed on one state directory.
const crashRounds = 200

// steady are processes that run until they are ended. None may run twice.
func steady() []string { return []string{"plain", "brood", "late", "flip"} }

// crashTree has the steady processes and one that ends and is started again all
// the time. Each holds a lock as long as it, or anybody it has started, lives;
// whoever finds it taken is the second copy and says so.
func crashTree() string {
	const single = `exec 9> %[1]s.lock; flock -n 9 || { echo %[1]s $ROUND $$ >> doubles; exit 99; }; echo %[1]s $ROUND >> %[2]s; `
	var b strings.Builder
	process := func(name, starts, rest, keys string) {
		fmt.Fprintf(&b, "[supervise.process.%s]\ncommand = '''"+single+"%[3]s'''\n%[4]s\n", name, starts, rest, keys)
	}
	const up = "echo up; exec sleep 1000"
	const isUp = "ready.log = '^up$'\nstop.grace = '1s'"
	process("plain", "starts", up, isUp)
	process("brood", "starts", "setsid sleep 1000 & sleep 1000 & trap '' TERM; "+up, isUp)
	process("late", "starts", up, isUp+"\ndepends_on = ['plain', 'brood']")
	process("flip", "starts", up, isUp)
	process("churn", "churns", "sleep 0.005", "restart = 'always'\nbackoff.initial = '0s'")
	return b.String()
}

// TestKilledAtAnyMoment kills procops at random moments, while it starts
// processes, while clients beat and emit events, while an operator gives
// orders. Nothing that was acknowledged may be lost, nothing may run twice and
// nobody may be left behind.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	c := &crash{t: t, s: harness.NewShipped(t), shown: map[int64]loggedEvent{}, flip: "true"}
	c.s.Config(crashTree())
	clients := startClients(t, c.s.State, 2)
	for n := range crashRounds {
		c.round(n)
		if t.Failed() {
			t.Errorf("in round %d", n)
			break
		}
	}
	clients.finish()
	if db := filepath.Join(c.s.State, "procops.db"); c.s.Run("sqlite3", db, "PRAGMA integrity_check").Stdout != "ok\n" {
		t.Error("the database is damaged")
	}
	clients.check(t)
	c.checkShown()
	c.lastRun()
}

// crash is a supervisor that is killed again and again.
type crash struct {
	t     *testing.T
	s     *harness.Sandbox
	shown map[int64]loggedEvent // on standard error, before it was killed
	flip  string                // whether flip is wanted, as the operator was told: "true", "false", or "" if he was told nothing
}

// round starts the tree, kills procops and looks at what became of it.
func (c *crash) round(n int) {
	c.s.Setenv("ROUND", strconv.Itoa(n))
	p := c.s.Start("supervise", "run", "--quiet", "--json")
	wanted := c.flip
	ready := n%4 < 2
	if ready {
		if r := c.s.Procops("supervise", "wait", "--timeout", "20s"); r.Code != 0 {
			c.t.Fatalf("round %d: %s\nprocops says:\n%s", n, r, p.Output())
		}
		c.checkReady(n)
	}
	var order *harness.Process
	switch n % 8 {
	case 1:
		c.s.Want(0, "supervise", c.otherOrder(), "flip")
		c.flip = c.otherWish()
	case 4:
		order = c.s.Start("supervise", c.otherOrder(), "flip", "--no-wait")
		c.pause(20 * time.Millisecond)
	default:
		c.pause(150 * time.Millisecond)
	}
	if n%16 == 15 {
		c.killGuardOf(p)
	}
	p.Signal(syscall.SIGKILL)
	p.WantExit(137)
	if order != nil {
		c.flip = map[bool]string{true: c.otherWish()}[order.Wait() == 0]
		wanted = ""
	}
	c.checkStarts(n, wanted, n%8 == 1)
	for _, e := range eventLines(c.t, wholeLines(p.Stderr())) {
		if e.ID > 0 {
			c.shown[e.ID] = e
		}
	}
	// Half of the next runs begin while what is left still ends.
	if n%2 == 0 {
		harness.Eventually(c.t, "nobody is left", func() bool { return len(c.s.Left()) == 0 })
	}
}

// pause waits for a random moment.
func (c *crash) pause(most time.Duration) { <-time.After(rand.N(most)) }

func (c *crash) otherOrder() string {
	if c.flip == "true" {
		return "stop"
	}
	return "start"
}

func (c *crash) otherWish() string { return strconv.FormatBool(c.flip != "true") }

// killGuardOf kills the guard, if procops has one yet: who escaped is then the
// next run's to end.
func (c *crash) killGuardOf(p *harness.Process) {
	for _, r := range harness.Descendants(p.PID()) {
		if r.Command == "procops-guard" {
			_ = syscall.Kill(r.PID, syscall.SIGKILL)
		}
	}
}

// checkReady looks at a tree that says that it is ready.
func (c *crash) checkReady(n int) {
	c.t.Helper()
	status := statusOf(c.t, c.s)
	if wanted := strconv.FormatBool(status["flip"].Wanted); c.flip == "" {
		c.flip = wanted
	} else if c.flip != wanted {
		c.t.Errorf("the operator was told that flip is wanted: %s; now: %s", c.flip, wanted)
	}
	starts := c.startsIn(n)
	for _, name := range steady() {
		want := 1
		if name == "flip" && c.flip != "true" {
			want = 0
		}
		if starts[name] != want {
			c.t.Errorf("%s was started %d times, want %d; it is %+v", name, starts[name], want, status[name])
		}
	}
}

// checkStarts looks at what was started in a round; flip may have been started
// if that was wanted before the round, or if it was ordered.
func (c *crash) checkStarts(n int, flip string, ordered bool) {
	c.t.Helper()
	for name, times := range c.startsIn(n) {
		if times > 1 || times > 0 && name == "flip" && flip == "false" && !ordered {
			c.t.Errorf("%s was started %d times; flip was wanted: %q", name, times, flip)
		}
	}
	if doubles := c.s.ReadFile("doubles"); doubles != "" {
		c.t.Errorf("started beside a running copy (process, round, pid): %s", doubles)
	}
}

func (c *crash) startsIn(n int) map[string]int {
	starts := map[string]int{}
	for line := range strings.Lines(c.s.ReadFile("starts")) {
		if name, round, _ := strings.Cut(strings.TrimSpace(line), " "); round == strconv.Itoa(n) {
			starts[name]++
		}
	}
	return starts
}

// checkShown looks for each event that procops has shown in its log.
func (c *crash) checkShown() {
	logged := loggedEvents(c.t, c.s, "supervise.*")
	for id, e := range c.shown {
		if logged[id] != e {
			c.t.Errorf("event %+v was shown; the log has %+v", e, logged[id])
		}
	}
	c.t.Logf("%d events shown, %d recorded", len(c.shown), len(logged))
	if len(c.shown) < crashRounds {
		c.t.Error("too few events were shown: the test shows nothing")
	}
}

// lastRun runs the tree once more and stops it in order.
func (c *crash) lastRun() {
	c.s.Setenv("ROUND", strconv.Itoa(crashRounds))
	p := c.s.Start("supervise", "run", "--quiet")
	c.s.Want(0, "supervise", "wait", "--timeout", "20s")
	c.checkReady(crashRounds)
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	c.checkStarts(crashRounds, c.flip, false)
	wantNothing(c.t, c.s)
}

// wholeLines cuts a line that was not written to its end.
func wholeLines(text string) string { return text[:strings.LastIndexByte(text, '\n')+1] }

// TestToldToEndAtAnyMoment sends procops SIGTERM while it starts, at ever other
// moments. It ends well, and quietly.
func TestToldToEndAtAnyMoment(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	s.Config(quick)
	for n := range 60 {
		p := s.Start("supervise", "run")
		// Before this the signal may not be caught yet, as in every program.
		harness.Eventually(t, "procops begins", func() bool { return s.ReadFile("state/supervise.lock") == fmt.Sprintln(p.PID()) })
		<-time.After(time.Duration(n) * time.Millisecond / 2)
		p.Signal(syscall.SIGTERM)
		p.WantExit(0)
		if strings.Contains(p.Stderr(), "procops: error: ") {
			t.Errorf("after %d/2 ms: %s", n, p.Output())
		}
		wantNothing(t, s)
	}
}
