package integration

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestReactionsEndToEnd: a client that has beaten and hangs is reported by a command,
// killed, has a task queued for it and is taken off the list; a reaction that hangs or
// fails before keeps none of that back.
func TestReactionsEndToEnd(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[heartbeat]
on_attack = [
  { exec = "sleep 1000", timeout = "100ms" },
  { exec = "exit 3" },
  { exec = "echo $PROCOPS_HEARTBEAT $PROCOPS_ALERT >told" },
  { task = "tell" },
  { signal = "USR1" },
  { log = "{{name}} is {{alert}}" },
]
[tasks.type.tell]
command = "cat"
[heartbeat.other]
period = "1h"
`)
	client := s.StartProgram("sh", "-c", "trap 'echo got USR1; exit 0' USR1; echo up; while :; do sleep 0.05; done")
	client.WaitLine("^up$")
	s.Want(0, "heartbeat", "beat", "other")
	s.Want(0, "heartbeat", "attach", "work", "--period", "1s", "--grace", "500ms", "--detach-on-critical")
	s.Want(0, "heartbeat", "beat", "work", "--pid", strconv.Itoa(client.PID()))

	monitor := s.Start("heartbeat", "monitor", "--interval", "50ms")
	client.WaitLine("^got USR1$")
	client.WantExit(0)
	if got := s.WaitFile("told"); got != "work down\n" {
		t.Errorf("the command was told %q", got)
	}
	monitor.WaitLine("work is down")
	harness.Eventually(t, "it is off the list", func() bool {
		return !strings.Contains(s.Want(0, "heartbeat", "list").Stdout, "work")
	})
	if got := s.Want(0, "tasks", "list").Stdout; strings.Count(got, "tell") != 1 {
		t.Errorf("tasks:\n%s", got)
	}
	if got := s.Want(0, "heartbeat", "knock", "other").Stdout; !strings.Contains(got, "OK") {
		t.Errorf("the other one: %s", got)
	}
	failed := s.Want(0, "events", "--type", "heartbeat.reaction_failed").Stdout
	if n := strings.Count(failed, "heartbeat.reaction_failed"); n != 2 {
		t.Errorf("%d reactions have failed, want 2:\n%s", n, failed)
	}
	monitor.Signal(syscall.SIGTERM)
	monitor.WantExit(0)
	wantNothing(t, s)
}

// TestReactionKills: the signal KILL ends the client at once.
func TestReactionKills(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[heartbeat.work]\nperiod = '1s'\ngrace = '500ms'\non_attack = [{ signal = 'KILL' }]\n")
	client := exec.CommandContext(t.Context(), "sleep", "1000")
	check(t, client.Start())
	s.Want(0, "heartbeat", "beat", "work", "--pid", strconv.Itoa(client.Process.Pid))
	monitor := s.Start("heartbeat", "monitor", "--interval", "50ms")
	if err := client.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("the client ended with %v", err)
	}
	monitor.Signal(syscall.SIGTERM)
	monitor.WantExit(0)
}
