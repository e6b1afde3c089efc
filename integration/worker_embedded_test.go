package integration

import (
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// embeddedWorld is a sandbox with a function, and no word of servers but where one would
// listen.
func embeddedWorld(t *testing.T) (*harness.Sandbox, int) {
	t.Helper()
	s := harness.New(t)
	port := harness.FreePort(t)
	s.Config("[worker.server]\nlisten = ['" + harness.Loopback(port) + "']\nstop_grace = '30s'\n" +
		"[worker.function.reverse]\ncommand = 'rev; echo; echo $PPID'\n" +
		"[worker.function.hold]\ncommand = 'echo >holding; while [ ! -e go ]; do sleep 0.01; done; echo end'\n")
	return s, port
}

// TestWorkerBringsAServer: the first example needs nothing but procops, and what is queued
// outlives the worker that has brought the server.
func TestWorkerBringsAServer(t *testing.T) {
	t.Parallel()
	s, port := embeddedWorld(t)
	first := s.Start("worker", "run")
	first.WaitLine("this worker brings a job server listen=.*" + harness.Loopback(port))
	if r := s.Want(0, "worker", "exec", "reverse", "hello"); !strings.HasPrefix(r.Stdout, "olleh\n") {
		t.Error(r)
	}

	// The next one finds it, and takes its place when it is killed.
	second := s.Start("worker", "run")
	second.WaitLine("another worker has brought a job server")
	second.WaitLine("worker.functions.after_register")
	s.Want(0, "worker", "submit", "nobody", "later")
	if r := s.Want(4, "worker", "server"); !strings.Contains(r.Stderr, "for which no servers are named") {
		t.Error(r)
	}
	first.Signal(syscall.SIGKILL)
	first.Wait()
	second.WaitLine("this worker takes its place")
	if r := s.Want(0, "worker", "exec", "reverse", "again"); !strings.HasPrefix(r.Stdout, "niaga\n") {
		t.Error(r)
	}
	if r := s.Want(0, "worker", "admin", "status"); !strings.Contains(r.Stdout, "nobody") {
		t.Error(r)
	}

	// Its end waits for its jobs, and then nobody listens any more.
	client := s.Start("worker", "exec", "hold")
	s.WaitFile("holding")
	second.Signal(syscall.SIGTERM)
	second.WaitLine("takes no more jobs")
	s.WriteFile("go", "")
	second.WantExit(0)
	client.WantExit(0)
	if client.Stdout() != "end\n" {
		t.Errorf("the client has got %q", client.Stdout())
	}
	s.Want(5, "worker", "exec", "reverse", "hello")
}

// TestWorkerReplacesNoServer: one that somebody else has started is used, and its place is
// left free while it is started again.
func TestWorkerReplacesNoServer(t *testing.T) {
	t.Parallel()
	s, port := embeddedWorld(t)
	command := harness.Gearmand(port)
	server := s.StartProgram(command[0], command[1:]...)
	harness.Eventually(t, "gearmand", func() bool { return harness.GearmandAnswers(port) })
	w := s.Start("worker", "run")
	w.WaitLine("there is one already, and this worker works for it")
	if r := s.Want(0, "worker", "exec", "reverse", "hello"); !strings.HasPrefix(r.Stdout, "olleh\n") {
		t.Error(r)
	}
	server.Signal(syscall.SIGKILL)
	server.Wait()
	w.WaitLine("worker.failed")
	s.Want(5, "worker", "ping")
	s.StartProgram(command[0], command[1:]...)
	w.WaitLines("worker.server.connected", 2)
	wantLines(t, s.Want(0, "worker", "admin", "status"), "FUNCTION  JOBS  RUNNING  WORKERS", "hold      0     0        1", "reverse   0     0        1")
}
