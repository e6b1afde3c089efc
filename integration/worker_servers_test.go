package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestWorkerSeveralServers has a worker with two servers, of which one is killed in the
// middle of jobs and comes back. A ledger tells which jobs have begun and ended: all have
// ended, and none has begun twice but for those that ran when their server was killed.
func TestWorkerSeveralServers(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	ports := harness.FreePorts(t, 2)
	s.Config(fmt.Sprintf(`
[worker]
servers = [%q, %q]
concurrency = 2
[worker.backoff]
initial = "10ms"
max = "100ms"
[worker.function.note]
command = 'w=$(cat); echo "begin $w" >>ledger; while [ ! -e go ]; do sleep 0.01; done; echo "end $w" >>ledger'
`, harness.Loopback(ports[0]), harness.Loopback(ports[1])))
	own := startOwnServer(s, ports[0])
	startGearmand(s, ports[1])
	var all []string
	for i, name := range []string{"a", "b"} {
		for n := range 6 {
			job := fmt.Sprintf("%s%d", name, n)
			all = append(all, job)
			if r := s.Run("gearman", "-h", "127.0.0.1", "-p", fmt.Sprint(ports[i]), "-f", "note", "-b", job); r.Code != 0 {
				t.Fatal(r)
			}
		}
	}
	w := s.Start("worker", "run")
	w.WaitLines("worker.functions.after_register", 2)
	harness.Eventually(t, "two jobs", func() bool { return strings.Count(s.ReadFile("ledger"), "begin ") == 2 })
	own.SignalGroup(syscall.SIGKILL)
	own.Wait()
	w.WaitLine(`worker\.failed .*it has closed the connection`)
	atKill := s.ReadFile("ledger")
	startOwnServer(s, ports[0])
	w.WaitLines("worker.functions.after_register", 3)
	s.WriteFile("go", "")
	harness.Eventually(t, "the end of all jobs", func() bool {
		text := s.ReadFile("ledger")
		for _, job := range all {
			if !strings.Contains(text, "end "+job+"\n") {
				return false
			}
		}
		return strings.Count(text, "begin ") == strings.Count(text, "end ")
	})
	w.Signal(syscall.SIGTERM)
	w.WantExit(0)
	text := s.ReadFile("ledger")
	for _, job := range all {
		most := 1
		if strings.HasPrefix(job, "a") && strings.Contains(atKill, "begin "+job+"\n") {
			most = 2
		}
		if n := strings.Count(text, "begin "+job+"\n"); n > most {
			t.Errorf("job %s has begun %d times:\n%s", job, n, text)
		}
	}
	if r := s.Want(0, "worker", "status", "--json"); strings.Contains(r.Stdout, `"queued": 1`) {
		t.Error(r)
	}
}

// TestWorkerLadder: a job that outlasts stop_grace and its own grace is killed, and fails.
func TestWorkerLadder(t *testing.T) { onBothServers(t, workerGoesDownTheLadder) }

func workerGoesDownTheLadder(t *testing.T, start jobServer) {
	t.Helper()
	s := harness.New(t)
	port := harness.FreePort(t)
	start(s, port)
	s.Config(fmt.Sprintf(`
[worker]
servers = [%q]
concurrency = 2
stop_grace = "50ms"
[worker.function.stubborn]
command = "trap 'echo >>told' TERM; echo >stubborn; while :; do sleep 0.01; done"
stop.grace = "200ms"
[worker.function.polite]
command = "trap 'exit 0' TERM; echo >polite; while :; do sleep 0.01; done"
stop.grace = "30s"
`, harness.Loopback(port)))
	w := s.Start("worker", "run")
	w.WaitLine("worker.functions.after_register")
	clients := []*harness.Process{s.Start("worker", "exec", "stubborn"), s.Start("worker", "exec", "polite")}
	s.WaitFile("stubborn")
	s.WaitFile("polite")
	w.Signal(syscall.SIGTERM)
	w.WantExit(0)
	for _, client := range clients {
		client.WantExit(1)
		if !strings.Contains(client.Stderr(), " has failed") {
			t.Error(client.Output())
		}
	}
	if s.ReadFile("told") == "" {
		t.Error("it was not told to end before it was killed")
	}
}
