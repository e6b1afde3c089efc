package integration

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestHooksOfADaemon: a process that lasts acts on its events while it goes on, by the same
// owner of children as its turns, and deals with the last ones before it ends.
func TestHooksOfADaemon(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	seen := filepath.Join(s.Dir, "seen")
	s.Config(`
[daemon.report]
command = "exit 3"
sleep = "20ms"

[[hook]]
on = ["daemon.task_failed", "daemon.stop"]
exec = "echo $PROCOPS_EVENT_TYPE $PROCOPS_EVENT_SUBJECT >> seen"
rate = "1000/1m"

[[hook]]
on = "daemon.task_failed"
where = { code = ">= 3" }
log = "{{subject}} has failed with {{code}}"
rate = "1/1h"
`)
	p := s.Start("daemon", "run", "report")
	read := func() string {
		text, _ := os.ReadFile(seen)
		return string(text)
	}
	harness.Eventually(t, "hooks run beside the turns", func() bool { return strings.Count(read(), "daemon.task_failed report\n") >= 3 })
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	if !strings.HasSuffix(read(), "daemon.stop report\n") {
		t.Errorf("at the end the hooks have seen\n%s", read())
	}
	if n := strings.Count(p.Output(), "report has failed with 3"); n != 1 {
		t.Errorf("it was logged %d times, want once:\n%s", n, p.Output())
	}
	if r := s.Want(0, "events", "--type", "hook.*", "--json"); !strings.Contains(r.Stdout, `"type":"hook.dropped"`) {
		t.Errorf("what came too often was not told:\n%s", r)
	}
}

// TestHooksLogAtTheEnd: the file of the log is open until the last hook has written to it.
func TestHooksLogAtTheEnd(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	log := filepath.Join(s.Dir, "procops.log")
	s.Config(`
[log]
file = "` + log + `"

[daemon.report]
command = "true"

[[hook]]
on = "daemon.stop"
exec = "exit 1" # takes longer than the command takes to end
`)
	s.Want(0, "daemon", "once", "report")
	if text, err := os.ReadFile(log); err != nil || !strings.Contains(string(text), "a hook has failed") {
		t.Errorf("the log has %q, %v", text, err)
	}
}

// TestHooksOfAServer: a server has no children but the commands of hooks, which do not wait
// for its end.
func TestHooksOfAServer(t *testing.T) {
	t.Parallel()
	v := newPingServer(t, `
[[hook]]
on = "heartbeat.attached"
exec = "echo $PROCOPS_EVENT_SUBJECT > seen"
`)
	if r := v.s.Run("curl", "-fsS", v.url+"backup?create=1"); r.Code != 0 {
		t.Fatal(r)
	}
	harness.Eventually(t, "the hook has run", func() bool {
		text, _ := os.ReadFile(filepath.Join(v.s.Dir, "seen"))
		return string(text) == "backup\n"
	})
	v.p.Signal(syscall.SIGTERM)
	v.p.WantExit(0)
}

// TestSlowHooksAtTheEnd: hooks that are not through are no failure of what has ended in
// good order.
func TestSlowHooksAtTheEnd(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[daemon.report]
command = "exit 3"
sleep = "1h"

[[hook]]
on = "daemon.*"
exec = "sleep 1000"
`)
	p := s.Start("daemon", "run", "report")
	p.WaitLine("a turn has failed")
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	if r := s.Want(0, "events", "--type", "hook.dropped", "--json"); !strings.Contains(r.Stdout, `"end":2`) {
		t.Errorf("what waited at the end was not told:\n%s", r)
	}
}
