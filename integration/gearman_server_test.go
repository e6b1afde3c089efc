package integration

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestGearmanServer uses the server with procops' own commands.
func TestGearmanServer(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	port := harness.FreePort(t)
	socket := filepath.Join(s.Dir, "g.sock")
	s.Config(`
[worker]
servers = ["` + harness.Loopback(port) + `"]
[worker.server]
listen = ["` + harness.Loopback(port) + `", "` + socket + `"]
handle_prefix = "H:here"
job_retries = 1
`)
	server := s.Start("worker", "server")
	server.WaitLines("^listening on ", 2)

	if r := s.Want(0, "worker", "submit", "mail", "some text", "--unique", "key"); r.Stdout != harness.Loopback(port)+"//H:here:1\n" {
		t.Error(r)
	}
	s.Want(0, "worker", "submit", "later", "--in", "1h", "--server", socket)
	s.Want(0, "worker", "ping", "--server", socket)
	wantLines(t, s.Want(0, "worker", "admin", "status"), "FUNCTION  JOBS  RUNNING  WORKERS", "later     1     0        0", "mail      1     0        0")
	wantLines(t, s.Want(0, "worker", "admin", "show", "unique", "jobs"), "UNIQUE", "key")
	wantLines(t, s.Want(0, "worker", "admin", "version"), "OK 1.1.20")
	wantLines(t, s.Want(0, "worker", "admin", "maxqueue", "mail", "1"), "OK")
	if r := s.Want(1, "worker", "submit", "mail", "too many"); !strings.Contains(r.Stderr, "Job queue is full") {
		t.Error(r)
	}
	if r := s.Want(1, "worker", "admin", "cancel", "job", "H:here:99"); !strings.Contains(r.Stderr, "unknown job (UNKNOWN_JOB)") {
		t.Error(r)
	}
	if r := s.Want(1, "worker", "admin", "nonsense"); !strings.Contains(r.Stderr, "Unknown server command") {
		t.Error(r)
	}

	// Another server may neither listen there nor have the jobs.
	if r := s.Want(4, "worker", "server", "--listen", "127.0.0.1:1"); !strings.Contains(r.Stderr, "another procops worker server has them") {
		t.Error(r)
	}
	if r := s.Want(4, "worker", "server", "--durability", "none", "--listen", harness.Loopback(port)); !strings.Contains(r.Stderr, "somebody does already") {
		t.Error(r)
	}
	for _, args := range [][]string{{"--listen", "nowhere:0"}, {"--durability", "much"}, {"--job-retries", "-1"}, {"--max-connections", "0"}, {"--keepalive", "soon"}, {"word"}} {
		s.Want(2, append([]string{"worker", "server"}, args...)...)
	}

	// The jobs outlive the server, and one of which a worker dies is buried.
	server.SignalGroup(syscall.SIGKILL)
	server.Wait()
	server = s.Start("worker", "server")
	server.WaitLines("^listening on ", 2)
	worker := harness.GearmanWorker(port, "mail", "/bin/sh", "-c", "kill -9 $PPID")
	s.StartProgram(worker[0], worker[1:]...)
	harness.Eventually(t, "the burial", func() bool {
		return strings.Contains(s.Want(0, "worker", "admin", "show", "buried", "jobs").Stdout, "H:here:1  1      mail")
	})
	wantLines(t, s.Want(0, "events", "--type", "worker.job.buried", "--json"), `"subject":"H:here:1"`)
	wantLines(t, s.Want(0, "worker", "admin", "retry", "job", "H:here:1"), "OK")
	var jobs []struct {
		Handle     string `json:"handle"`
		Background int    `json:"background"`
	}
	if r := s.Want(0, "worker", "admin", "show", "jobs", "--json"); json.Unmarshal([]byte(r.Stdout), &jobs) != nil || len(jobs) != 2 {
		t.Error(r)
	}
	gearmanWorker(s, port, "mail", "cat")
	harness.Eventually(t, "the job", func() bool {
		return strings.Contains(s.Want(0, "worker", "admin", "status").Stdout, "mail      0     0")
	})
	s.Want(0, "worker", "admin", "workers", "--json")
	wantLines(t, s.Want(0, "worker", "admin", "shutdown", "--server", socket), "OK")
	server.WantExit(0)
	s.Want(5, "worker", "admin", "status")
}

// wantLines wants each of the lines in the output.
func wantLines(t *testing.T, r harness.Result, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(r.Stdout, line) {
			t.Errorf("no %q in %s", line, r)
		}
	}
}

// TestGearmanServerStops lets a running job end, and hurries when told twice.
func TestGearmanServerStops(t *testing.T) {
	t.Parallel()
	for _, hurry := range []bool{false, true} {
		s := harness.New(t)
		port := harness.FreePort(t)
		server := s.Start("worker", "server", "--listen", harness.Loopback(port))
		server.WaitLine("^listening on ")
		gearmanWorker(s, port, "slow", "echo >begun; while [ ! -e go ]; do sleep 0.01; done; echo done >result")
		client := s.Start("worker", "exec", "slow", "x", "--server", harness.Loopback(port))
		s.WaitFile("begun")
		server.Signal(syscall.SIGTERM)
		if hurry {
			// Two of the same signal may arrive as one.
			harness.Eventually(t, "the end of the server", func() bool {
				_ = syscall.Kill(server.PID(), syscall.SIGTERM)
				return server.Exited()
			})
			server.WantExit(0)
			client.WantExit(5)
			s.WriteFile("go", "")
			continue
		}
		s.WriteFile("go", "")
		client.WantExit(0)
		server.WantExit(0)
	}
}
