package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// TestTasksStart: what works off tasks in the background is found again, is there once, and
// ends when its tasks have.
func TestTasksStart(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[tasks.type.mail]\ncommand = ['cat']\n[tasks.type.wait]\ncommand = 'echo >waiting; while [ ! -e go ]; do sleep 0.01; done'\n")
	s.Want(3, "tasks", "status")
	if r := s.Want(0, "tasks", "stop", "--wait"); r.Stdout != "tasks: does not run\n" {
		t.Error(r)
	}
	if r := s.Want(0, "tasks", "start", "--daemon"); !strings.Contains(r.Stdout, "runs in the background (pid ") {
		t.Error(r)
	}
	pid := strings.TrimSpace(s.ReadFile("state/run/tasks.pid"))
	if r := s.Want(4, "tasks", "start", "--daemon"); !strings.Contains(r.Stderr, "it already runs (pid "+pid+")") {
		t.Error(r)
	}
	s.Want(4, "tasks", "start")
	id := strings.TrimSpace(s.Want(0, "tasks", "push", "mail").Stdout)
	harness.Eventually(t, "the task is done", func() bool { return tasksOf(t, s)[id].Status == "done" })

	id = strings.TrimSpace(s.Want(0, "tasks", "push", "wait").Stdout)
	s.WaitFile("waiting")
	if r := s.Want(0, "tasks", "status"); r.Stdout != "tasks: runs (pid "+pid+"), 1 tasks running\n" {
		t.Error(r)
	}
	stop := s.Start("tasks", "stop", "--wait")
	stop.WaitLine("waits for 1 that run")
	s.WriteFile("go", "")
	stop.WantExit(0)
	if status := tasksOf(t, s)[id].Status; status != "done" {
		t.Errorf("the task is %s", status)
	}
	s.Want(3, "tasks", "status")
	wantNothing(t, s)
	if log := s.ReadFile("state/tasks.log"); !strings.Contains(log, "task done") {
		t.Errorf("its log is %q", log)
	}

	// One that cannot begin says why, and one that was killed is in nobody's way.
	s.Want(0, "tasks", "start", "--daemon")
	killed, err := strconv.Atoi(strings.TrimSpace(s.ReadFile("state/run/tasks.pid")))
	check(t, err)
	check(t, syscall.Kill(killed, syscall.SIGKILL))
	harness.Eventually(t, "it is gone", func() bool { return s.Procops("tasks", "status").Code == 3 })
	s.Config("[tasks.type.mail]\ncommand = ['/nowhere/mail']\n")
	if r := s.Want(2, "tasks", "start", "--daemon"); !strings.Contains(r.Stderr, "/nowhere/mail") {
		t.Error(r)
	}
	s.Config("[tasks]\n")
	if r := s.Want(2, "tasks", "start", "--daemon"); !strings.Contains(r.Stderr, "no type of task with a command") {
		t.Error(r)
	}
}

// TestInstallTasksAndWorker writes their units and the script, which starts and stops it.
func TestInstallTasksAndWorker(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[tasks.type.mail]\ncommand = ['cat']\n[worker.function.f]\ncommand = ['cat']\n")
	for name, line := range map[string]string{"tasks": "tasks work", "worker": "worker run"} {
		if r := s.Want(0, "install", name, "--systemd", "--dry-run"); !strings.Contains(r.Stdout, line+"\n") || !strings.Contains(r.Stdout, "Restart=always\n") {
			t.Error(r)
		}
		s.Want(0, "install", name, "--systemd", "--root", "image")
		s.Want(0, "uninstall", name, "--systemd", "--root", "image")
	}
	if r := s.Want(2, "install", "worker", "--sysv"); !strings.Contains(r.Stderr, "supervised tree") {
		t.Error(r)
	}
	s.Want(0, "install", "tasks", "--sysv", "--root", "image")
	script := filepath.Join(s.Dir, "image/etc/init.d/procops-tasks")
	for _, c := range []struct {
		verb string
		code int
	}{{"status", 3}, {"start", 0}, {"start", 0}, {"status", 0}, {"reload", 0}, {"status", 0}, {"stop", 0}, {"stop", 0}, {"status", 3}} {
		if r := s.Run(script, c.verb); r.Code != c.code {
			t.Errorf("%s: want code %d: %s", c.verb, c.code, r)
		}
	}
	check(t, os.RemoveAll(filepath.Join(s.Dir, "image")))
	s.Config("[worker]\n")
	s.Want(2, "install", "tasks", "--systemd", "--dry-run")
	s.Want(2, "install", "worker", "--systemd", "--dry-run")
}
