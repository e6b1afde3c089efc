package integration

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestMonitorRestartsWhatHangs has a supervised process beat, and then hang: the
// monitor has the supervisor restart it, and posts the alert.
func TestMonitorRestartsWhatHangs(t *testing.T) {
	t.Parallel()
	posted := make(chan string, 16)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var m struct {
			Type, Subject string
			Data          struct{ Alert string }
		}
		_ = json.NewDecoder(r.Body).Decode(&m) // what cannot be read is none of those wanted
		posted <- m.Type + " " + m.Subject + " " + m.Data.Alert
	}))
	defer server.Close()
	s := harness.New(t)
	s.Config(`
[supervise.process.worker]
command = "while :; do procops heartbeat beat work --pid $$; sleep 0.2; done"
restart = "always"
[heartbeat.work]
period = "1s"
grace = "1s"
on_attack = [{ restart = "worker" }, { webhook = "` + server.URL + `/secret" }]
on_recovery = [{ webhook = "` + server.URL + `/secret" }]
`)
	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait")
	monitor := s.Start("heartbeat", "monitor", "--interval", "50ms")
	monitor.WaitLine(` OK - work: `)
	before := statusOf(t, s)["worker"].PID
	if err := syscall.Kill(-before, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"heartbeat.alert work down", "heartbeat.alert work recovered"} {
		if got := <-posted; got != want {
			t.Errorf("posted %q, want %q", got, want)
		}
	}
	if now := statusOf(t, s)["worker"].PID; now == before || now == 0 {
		t.Errorf("worker runs as pid %d, and ran as pid %d", now, before)
	}
	monitor.Signal(syscall.SIGTERM)
	monitor.WantExit(0)
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	if said := monitor.Output(); strings.Contains(said, "secret") {
		t.Errorf("the address of the webhook is told: %s", said)
	}
}

// TestMonitorKilledInAReaction has the monitor be killed while a reaction is under
// way: the next one does it again, once.
func TestMonitorKilledInAReaction(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[heartbeat.job]\non_attack = [{ exec = \"echo told >>told; while test -e hold; do sleep 0.02; done; echo done >>told\" }]\n")
	s.WriteFile("hold", "")
	s.Procops("heartbeat", "run", "job", "--", "false")
	monitor := s.Start("heartbeat", "monitor", "--interval", "50ms")
	s.WaitFile("told")
	monitor.Signal(syscall.SIGKILL)
	monitor.WantExit(137)
	s.WriteFile("told", "")
	if r := s.Run("rm", "hold"); r.Code != 0 {
		t.Fatal(r)
	}
	s.Want(0, "heartbeat", "monitor", "--once", "--quiet")
	s.Want(0, "heartbeat", "monitor", "--once", "--quiet")
	if got := s.ReadFile("told"); got != "told\ndone\n" {
		t.Errorf("told %q", got)
	}
}
