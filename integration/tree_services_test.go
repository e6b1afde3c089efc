package integration

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// servicesTree has all services that are processes of their own, and a process that needs
// one of them.
const servicesTree = `
[supervise]
children = ["worker", "worker.server", "tasks", "web"]
[supervise.process.web]
command = "exec sleep 1000"
depends_on = ["tasks"]
[worker]
concurrency = 2
[worker.server]
listen = ["PATH/g.sock"]
[worker.function.rev]
command = ["rev"]
[worker.function.hold]
command = "echo >holding; while [ ! -e go ]; do sleep 0.01; done; echo end"
[tasks]
workers = 2
lease = "2s"
[tasks.type.mail]
command = "echo sent"
[tasks.type.wait]
command = "echo >waiting; while [ ! -e go ]; do sleep 0.01; done"
`

// servicesWorld is a sandbox in which servicesTree is up.
func servicesWorld(t *testing.T, s *harness.Sandbox) *harness.Process {
	t.Helper()
	s.Config(strings.ReplaceAll(servicesTree, "PATH", s.Dir))
	p := s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready", "--timeout", "30s")
	return p
}

// says waits until a process of the tree says something of itself.
func says(t *testing.T, s *harness.Sandbox, name, text string) {
	t.Helper()
	harness.Eventually(t, name+" says "+text, func() bool { return strings.Contains(statusOf(t, s)[name].StatusText, text) })
}

// TestServicesInTheTree: a job server, a worker and a task processor are children of the
// tree, find each other without a word in the config, say what they do, and lose nothing
// when the tree is stopped.
func TestServicesInTheTree(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	p := servicesWorld(t, s)
	if r := s.Want(0, "worker", "exec", "rev", "abc"); strings.TrimSpace(r.Stdout) != "cba" {
		t.Error(r)
	}
	id := strings.TrimSpace(s.Want(0, "tasks", "push", "mail").Stdout)
	harness.Eventually(t, "the task is done", func() bool { return tasksOf(t, s)[id].Status == "done" })
	says(t, s, "worker", "2 functions; jobs: 0 running, 1 done, 0 failed")
	says(t, s, "tasks", "tasks: 0 running, 1 done")
	says(t, s, "worker.server", "jobs: 0 queued")
	if r := s.Want(0, "supervise", "logs", "worker"); !strings.Contains(r.Stdout, "worker.functions.after_register") {
		t.Error(r)
	}

	// What is queued waits for the worker, and the server says so.
	s.Want(0, "supervise", "stop", "worker")
	s.Want(0, "worker", "submit", "rev", "later")
	says(t, s, "worker.server", "jobs: 1 queued")
	s.Want(0, "supervise", "start", "worker")
	says(t, s, "worker.server", "jobs: 0 queued")

	// A reload touches only the service whose section has changed.
	before := statusOf(t, s)
	s.Config(strings.ReplaceAll(strings.ReplaceAll(servicesTree, "PATH", s.Dir), `["rev"]`, `["cat"]`))
	s.Want(0, "supervise", "reload")
	s.Want(0, "supervise", "wait", "--ready", "--timeout", "30s")
	after := statusOf(t, s)
	if before["worker"].PID == after["worker"].PID || before["worker.server"].PID != after["worker.server"].PID || before["tasks"].PID != after["tasks"].PID {
		t.Errorf("before the reload %+v, after it %+v", before, after)
	}
	if r := s.Want(0, "worker", "exec", "rev", "abc"); r.Stdout != "abc" {
		t.Error(r)
	}

	// The server waits for the worker, which waits for its job, and so do the tasks.
	client := s.Start("worker", "exec", "hold")
	s.WaitFile("holding")
	id = strings.TrimSpace(s.Want(0, "tasks", "push", "wait").Stdout)
	s.WaitFile("waiting")
	p.Signal(syscall.SIGTERM)
	p.WaitLine(`^worker +\| .*takes no more jobs|^worker +! .*takes no more jobs`)
	if state := statusOf(t, s)["worker.server"].State; state != "running" {
		t.Errorf("the job server is %s while its worker has a job", state)
	}
	s.WriteFile("go", "")
	p.WantExit(0)
	client.WantExit(0)
	if client.Stdout() != "end\n" {
		t.Errorf("the client has got %q", client.Stdout())
	}
	if status := tasksOf(t, s)[id].Status; status != "done" {
		t.Errorf("the task is %s", status)
	}
	wantNothing(t, s)
}

// TestUpgradeWithServices: they are processes, which an upgrade leaves alone, with their
// connections and what they are at.
func TestUpgradeWithServices(t *testing.T) {
	t.Parallel()
	s := harness.NewShipped(t)
	p := servicesWorld(t, s)
	client := s.Start("worker", "exec", "hold")
	s.WaitFile("holding")
	before := statusOf(t, s)
	s.Want(0, "supervise", "upgrade")
	s.Want(0, "supervise", "wait", "--ready", "--timeout", "30s")
	for name, one := range statusOf(t, s) {
		if one.PID != before[name].PID {
			t.Errorf("%s was process %d and is %d", name, before[name].PID, one.PID)
		}
	}
	s.WriteFile("go", "")
	client.WantExit(0)
	says(t, s, "worker", "1 done") // it is heard
	p.Signal(syscall.SIGTERM)
	p.WantExit(0)
	wantNothing(t, s)
}

// TestKilledWithServices: what was accepted is there again after SIGKILL, and nothing else.
func TestKilledWithServices(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	p := servicesWorld(t, s)
	handle := strings.TrimSpace(s.Want(0, "worker", "submit", "hold").Stdout)
	id := strings.TrimSpace(s.Want(0, "tasks", "push", "wait").Stdout)
	s.WaitFile("holding")
	s.WaitFile("waiting")
	p.Signal(syscall.SIGKILL)
	p.WantExit(137)
	harness.Eventually(t, "nothing is left", func() bool { return len(s.Left()) == 0 })
	s.WriteFile("go", "")
	s.Start("supervise", "run")
	s.Want(0, "supervise", "wait", "--ready", "--timeout", "30s")
	wantDone(t, s, handle)
	harness.Eventually(t, "the task is done", func() bool { return tasksOf(t, s)[id].Status == "done" })
}

// TestServiceRestarts: a worker that ends by itself after max_run_time, and one that was
// killed, are followed by new ones.
func TestServiceRestarts(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	p := servicesWorld(t, s)
	s.Config(strings.Replace(strings.ReplaceAll(servicesTree, "PATH", s.Dir), "[worker]", "[worker]\nmax_run_time = '300ms'", 1))
	s.Want(0, "supervise", "reload")
	p.WaitLines(`^worker +! .*worker.after_run .*reason="max_run_time is over"`, 2)
	harness.Eventually(t, "it was started again", func() bool { return statusOf(t, s)["worker"].Restarts >= 2 })
	if r := s.Want(0, "worker", "exec", "rev", "abc"); strings.TrimSpace(r.Stdout) != "cba" {
		t.Error(r)
	}

	// A server that dies takes nothing else with it, and has its jobs again.
	s.Want(0, "supervise", "stop", "worker")
	handle := strings.TrimSpace(s.Want(0, "worker", "submit", "rev", "abc").Stdout)
	old := statusOf(t, s)["worker.server"].PID
	check(t, syscall.Kill(old, syscall.SIGKILL))
	harness.Eventually(t, "another server", func() bool {
		now := statusOf(t, s)["worker.server"]
		return now.PID != old && now.State == "running"
	})
	s.Want(0, "supervise", "start", "worker")
	wantDone(t, s, handle)
}

// TestServicesThatCannotRun are refused with what is missing.
func TestServicesThatCannotRun(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	for config, want := range map[string]string{
		"[supervise]\nchildren = ['worker']\n":                                                             "the configuration has no function",
		"[supervise]\nchildren = ['tasks']\n":                                                              "no type of task with a command",
		"[supervise]\nchildren = ['worker.sever']\n":                                                       `"worker.server"`,
		"[supervise]\nchildren = ['worker']\n[worker.function.f]\ncommand = ['/nowhere/f']\n":              "procops.toml:4",
		"[supervise]\nchildren = ['tasks', 'tasks']\n[tasks.type.t]\ncommand = ['cat']\n":                  "in the list twice",
		"[supervise]\nchildren = ['a']\n[supervise.process.a]\ncommand = 'true'\ndepends_on = ['tasks']\n": `"tasks" is not in the tree`,
	} {
		s.Config(config)
		if r := s.Want(2, "supervise", "run"); !strings.Contains(r.Stderr, want) {
			t.Errorf("%s\nwant %s: %s", config, strconv.Quote(want), r)
		}
	}
}
