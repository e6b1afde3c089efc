package integration

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// gated is a daemon whose turns have a child, and end when somebody writes to a fifo.
const gated = `
[daemon.report]
command = ["/bin/sh", "turn.sh"]
sleep = "0"
min_sleep = "1h"
stop.grace = "%s"
on_usr2 = ["/bin/sh", "-c", "echo {{name}} >>usr2"]
`

// The points at which a signal finds a daemon.
const (
	inTurn     = "in a turn"
	inDeafTurn = "in a turn that ignores TERM"
	inSleep    = "in a sleep"
	stopping   = "while it stops"
)

// reach starts a daemon and brings it to a point.
func reach(t *testing.T, s *harness.Sandbox, point string) *harness.Process {
	t.Helper()
	if r := s.Run("mkfifo", "gate"); r.Code != 0 {
		t.Fatal(r)
	}
	deaf, grace := "", "20s"
	switch point {
	case inDeafTurn:
		deaf, grace = "trap '' TERM INT QUIT", "100ms"
	case stopping:
		deaf, grace = "trap 'echo told >>told' TERM", "1h"
	}
	s.WriteFile("turn.sh", deaf+`
sleep 1000 &
echo begin >>turns
echo $$ >pid
until read line <gate; do :; done
echo end >>turns
kill -9 $!
`)
	s.Config(fmt.Sprintf(gated, grace))
	p := s.Start("daemon", "run", "report")
	waitPID(t, s, "pid")
	switch point {
	case inSleep:
		openGate(s)
		harness.Eventually(t, "the turn is over", func() bool { return lookAtDaemon(t, s, "report").State == "waiting" })
	case stopping:
		p.Signal(syscall.SIGTERM)
		harness.Eventually(t, "it stops", func() bool { return lookAtDaemon(t, s, "report").State == "stopping" })
	}
	return p
}

// openGate lets one turn end.
func openGate(s *harness.Sandbox) { s.Run("/bin/sh", "-c", "echo >gate") }

// TestDaemonSignals sends each signal at each point.
func TestDaemonSignals(t *testing.T) {
	t.Parallel()
	const goesOn = -1
	for _, c := range []struct {
		point    string
		signal   syscall.Signal
		code     int    // of the daemon; goesOn: it does not end
		open     bool   // the turn is let end after the signal
		turns    string // what the turns have written in the end
		outcomes string // as the history has them
	}{
		{inTurn, syscall.SIGTERM, 0, false, "begin", "cancelled"},
		{inTurn, syscall.SIGINT, 0, false, "begin", "cancelled"},
		{inTurn, syscall.SIGQUIT, 0, true, "begin end", "success"},
		{inTurn, syscall.SIGHUP, goesOn, true, "begin end", "success"},
		{inTurn, syscall.SIGUSR1, goesOn, true, "begin end", "success"},
		{inTurn, syscall.SIGUSR2, goesOn, true, "begin end", "success"},

		{inDeafTurn, syscall.SIGTERM, 0, false, "begin", "cancelled"},
		{inDeafTurn, syscall.SIGINT, 0, false, "begin", "cancelled"},
		{inDeafTurn, syscall.SIGQUIT, 0, true, "begin end", "success"},

		{inSleep, syscall.SIGTERM, 0, false, "begin end", "success"},
		{inSleep, syscall.SIGINT, 0, false, "begin end", "success"},
		{inSleep, syscall.SIGQUIT, 0, false, "begin end", "success"},
		{inSleep, syscall.SIGHUP, goesOn, false, "begin end", "success"},
		{inSleep, syscall.SIGUSR1, goesOn, true, "begin end begin end", "success success"},
		{inSleep, syscall.SIGUSR2, goesOn, false, "begin end", "success"},

		{stopping, syscall.SIGTERM, 0, false, "begin", "cancelled"},
		{stopping, syscall.SIGINT, 0, false, "begin", "cancelled"},
		{stopping, syscall.SIGQUIT, 0, true, "begin end", "cancelled"},
		{stopping, syscall.SIGHUP, 0, true, "begin end", "cancelled"},
		{stopping, syscall.SIGUSR1, 0, true, "begin end", "cancelled"},
	} {
		t.Run(fmt.Sprint(c.point, " ", c.signal), func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			p := reach(t, s, c.point)
			p.Signal(c.signal)
			switch {
			case c.signal == syscall.SIGHUP:
				harness.Eventually(t, "it has reloaded", func() bool { return len(loggedEvents(t, s, "daemon.reload")) == 1 })
			case c.signal == syscall.SIGUSR2:
				s.WaitFile("usr2")
			case c.signal == syscall.SIGQUIT && (c.point == inTurn || c.point == inDeafTurn):
				harness.Eventually(t, "it is about to end", func() bool { return lookAtDaemon(t, s, "report").State == "ending" })
			}
			if c.open {
				openGate(s)
			}
			if c.code == goesOn {
				turns := strings.Count(c.outcomes, "success")
				harness.Eventually(t, "it waits for its next turn", func() bool {
					now := lookAtDaemon(t, s, "report")
					return now.State == "waiting" && now.Turns == turns
				})
				if pid := strings.TrimSpace(readFile(t, pidfileOf(s, "report-production"))); pid != strconv.Itoa(p.PID()) {
					t.Errorf("the pidfile has %s", pid)
				}
				p.Signal(syscall.SIGTERM)
			}
			p.WantExit(max(0, c.code))
			if got := strings.Join(strings.Fields(s.ReadFile("turns")), " "); got != c.turns {
				t.Errorf("the turns have written %q, want %q", got, c.turns)
			}
			if got := outcomesOf(t, s, "report"); got != c.outcomes {
				t.Errorf("outcomes %q, want %q", got, c.outcomes)
			}
			wantNothing(t, s)
			wantNoPidfile(t, s)
			if one := lookAtDaemon(t, s, "report"); one.State != "stopped" || one.Killed || !strings.HasPrefix(one.Reason, "it was told to") {
				t.Errorf("in the end: %+v", one)
			}
		})
	}
}

// TestDaemonSignalWhileStarting: from the moment on in which its pid is in the pidfile, a
// signal finds a daemon that knows what it means.
func TestDaemonSignalWhileStarting(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			s.Config("[daemon.report]\ncommand = \"true\"\nsleep = \"1h\"\n")
			for range 5 {
				p := s.Start("daemon", "run", "report")
				if !waitForOne(t, s, p) {
					t.Fatalf("it has ended: %s", p.Output())
				}
				p.Signal(signal)
				if signal == syscall.SIGHUP || signal == syscall.SIGUSR1 || signal == syscall.SIGUSR2 {
					harness.Eventually(t, "it goes on", func() bool { return lookAtDaemon(t, s, "report").Turns >= 1 })
					p.Signal(syscall.SIGTERM)
				}
				p.WantExit(0)
				wantNoPidfile(t, s)
			}
		})
	}
}

// TestDaemonStopsItsHooks: a command of on_usr1 does not keep the daemon from ending, and
// runs once at a time.
func TestDaemonStopsItsHooks(t *testing.T) {
	t.Parallel()
	for _, signals := range [][]syscall.Signal{{syscall.SIGTERM}, {syscall.SIGQUIT}, {syscall.SIGTERM, syscall.SIGTERM}} {
		t.Run(fmt.Sprint(signals), func(t *testing.T) {
			t.Parallel()
			s := harness.New(t)
			trap, grace := "", "20s"
			if len(signals) > 1 {
				trap, grace = "trap '' TERM; ", "1h"
			}
			s.Config("[daemon.report]\ncommand = \"echo turn >>turns\"\nsleep = \"1h\"\nstop.grace = \"" + grace + "\"\n" +
				"on_usr1 = \"" + trap + "echo $$ >>hook; while :; do sleep 1000; done\"\n")
			p := s.Start("daemon", "run", "report")
			s.WaitFile("turns")
			p.Signal(syscall.SIGUSR1)
			s.WaitFile("hook")
			p.Signal(syscall.SIGUSR1)
			p.WaitLine("on_usr1 is still under way")
			p.Signal(signals[0])
			for _, again := range signals[1:] {
				harness.Eventually(t, "it has stopped", func() bool { return len(loggedEvents(t, s, "daemon.stop")) == 1 })
				p.Signal(again)
			}
			p.WantExit(0)
			wantNothing(t, s)
			if n := len(strings.Fields(s.ReadFile("hook"))); n != 1 {
				t.Errorf("on_usr1 has run %d times", n)
			}
		})
	}
}

// TestDaemonKilled: with the daemon its turn is gone, and what that has started; the next
// start works.
func TestDaemonKilled(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	p := reach(t, s, inTurn)
	harness.Eventually(t, "the turn is recorded", func() bool { return lookAtDaemon(t, s, "report").State == "running" })
	p.Signal(syscall.SIGKILL)
	p.WantExit(137)
	harness.Eventually(t, "nothing is left", func() bool { return len(s.Left()) == 0 })
	if one := lookAtDaemon(t, s, "report"); !one.Killed || one.State != "stopped" || one.Reason != "it was killed" {
		t.Errorf("%+v", one)
	}
	if r := s.Procops("daemon", "status", "report"); r.Code != 2 || !strings.Contains(r.Stdout, "it was killed") {
		t.Error(r)
	}
	if !harness.Exists(pidfileOf(s, "report-production")) {
		t.Error("who has removed the pidfile?")
	}
	s.Want(0, "daemon", "stop", "report") // it does not run
	s.Want(0, "daemon", "start", "report")
	if one := lookAtDaemon(t, s, "report"); one.Killed || one.State == "stopped" {
		t.Errorf("%+v", one)
	}
	s.Want(0, "daemon", "stop", "report")
	wantNoPidfile(t, s)
}
