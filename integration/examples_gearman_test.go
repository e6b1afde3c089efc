package integration

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestGearmanExample does what the README of examples/gearman says: a client in PHP, and
// jobs that outlive the server.
func TestGearmanExample(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Setenv("PROCOPS_CONFIG", filepath.Join(harness.ModuleRoot(), "examples", "gearman", "procops.toml"))
	port := strconv.Itoa(harness.FreePort(t))
	s.Setenv("GEARMAN_PORT", port)
	p := s.Start("supervise", "run")
	p.WaitLine(`^client +\| reverse: olleh$`)
	p.WaitLine(`^client +\| total: 7$`)
	p.WaitLine(`^client +\| archive: (\d of 5|done)$`)
	p.WaitLine(`^client +\* ended: 0 OK$`)

	s.Want(0, "supervise", "stop", "worker")
	handle := strings.TrimSpace(s.Want(0, "worker", "submit", "reverse", "any text").Stdout)
	old := statusOf(t, s)["worker.server"].PID
	check(t, syscall.Kill(old, syscall.SIGKILL))
	harness.Eventually(t, "another server", func() bool {
		now := statusOf(t, s)["worker.server"]
		return now.PID != old && now.State == "running"
	})
	s.Want(0, "worker", "job", handle)
	s.Want(0, "supervise", "start", "worker")
	wantDone(t, s, handle)

	// The server is asked: what the tree says of the worker may be of a moment ago.
	archives := func(what, line string) {
		harness.Eventually(t, what, func() bool {
			return strings.Contains(s.Run("gearadmin", "-h", "127.0.0.1", "-p", port, "--status").Stdout, line)
		})
	}
	archives("nothing is left of what the example has submitted", "archive\t0\t0\t")
	client := s.Start("worker", "exec", "archive")
	archives("the job runs", "archive\t1\t1\t")
	p.Signal(syscall.SIGINT)
	p.WantExit(0)
	client.WantExit(0)
	if client.Stdout() != "archived\n" {
		t.Errorf("the client has got %q", client.Stdout())
	}
	wantNothing(t, s)
}
