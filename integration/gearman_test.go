package integration

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"procops/integration/harness"
)

// gearmand starts a job server, with further arguments, and returns its port.
func gearmand(t *testing.T, s *harness.Sandbox, args ...string) int {
	t.Helper()
	port := harness.FreePort(t)
	server := append(harness.Gearmand(port), args...)
	s.StartProgram(server[0], server[1:]...)
	harness.Eventually(t, "gearmand", func() bool { return harness.GearmandAnswers(port) })
	return port
}

// gearmanWorker starts Debian's worker with a shell command.
func gearmanWorker(s *harness.Sandbox, port int, function, script string) {
	worker := harness.GearmanWorker(port, function, "/bin/sh", "-c", script)
	s.StartProgram(worker[0], worker[1:]...)
}

// TestGearmanBinary has every byte come back as it was, and 5 MB of them; that
// many hang Debian's own worker.
func TestGearmanBinary(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	port := gearmand(t, s)
	startPHPWorker(s, port)
	random := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(random) // never fails
	for name, workload := range map[string][]byte{
		"nuls":   []byte("\x00a\x00\x00b\n\xff\x00"),
		"empty":  {},
		"random": random,
	} {
		s.WriteFile(name, string(workload))
		r := s.Run("/bin/sh", "-c", "procops worker exec back - --server "+harness.Loopback(port)+" <"+name+" >"+name+".result")
		if r.Code != 0 || r.Stderr != "" {
			t.Errorf("%s: %s", name, r)
		}
		if got, err := os.ReadFile(filepath.Join(s.Dir, name+".result")); err != nil || !bytes.Equal(got, workload) {
			t.Errorf("%s: %d bytes come back of %d (%v)", name, len(got), len(workload), err)
		}
	}
}

// TestGearmanQueue looks at what a worker gets of jobs that were there before
// it: by priority, and one of those with the same key.
func TestGearmanQueue(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	port := gearmand(t, s)
	for _, job := range [][]string{
		{"low", "--priority", "low"},
		{"normal"},
		{"high", "--priority", "high"},
		{"low again", "--priority", "low"},
		{"once", "--unique", "key"},
		{"twice", "--unique", "key"},
	} {
		s.Want(0, append([]string{"worker", "submit", "note", "--server", harness.Loopback(port)}, job...)...)
	}
	gearmanWorker(s, port, "note", "cat >>notes; echo >>notes")
	s.Want(0, "worker", "submit", "note", "last", "--priority", "low", "--server", harness.Loopback(port))
	harness.Eventually(t, "the last job", func() bool { return strings.HasSuffix(s.ReadFile("notes"), "last\n") })
	if got, want := s.ReadFile("notes"), "high\nnormal\nonce\nlow\nlow again\nlast\n"; got != want {
		t.Errorf("the worker gets\n%swant\n%s", got, want)
	}
}

// phpWorker is a worker that uses all that a worker can say about a job.
const phpWorker = `<?php
$worker = new GearmanWorker();
$worker->addServer('127.0.0.1', (int) $argv[1]);
$worker->addFunction('talk', function (GearmanJob $job) {
	$job->sendData("data\0");
	$job->sendWarning("careful\n");
	$job->sendStatus(3, 10);
	while (file_exists($job->workload())) {
		usleep(10000);
	}
	return 'result of ' . $job->workload();
});
$worker->addFunction('throw', function (GearmanJob $job) {
	$job->sendException("out of luck: \0" . $job->workload());
});
$worker->addFunction('fail', function (GearmanJob $job) {
	$job->sendFail();
});
$worker->addFunction('back', fn (GearmanJob $job) => $job->workload());
echo "ready\n";
while ($worker->work());
`

func startPHPWorker(s *harness.Sandbox, port int) {
	s.WriteFile("worker.php", phpWorker)
	s.StartProgram("php", "worker.php", strconv.Itoa(port)).WaitLine("^ready$")
}

// TestGearmanTalk has a worker of php-gearman say all it can.
func TestGearmanTalk(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	port := gearmand(t, s)
	at := harness.Loopback(port)
	startPHPWorker(s, port)
	r := s.Want(0, "worker", "exec", "talk", "none", "--server", at)
	if r.Stdout != "data\x00result of none" || r.Stderr != "careful\n" {
		t.Error(r)
	}
	r = s.Want(1, "worker", "exec", "throw", "me", "--server", at)
	if r.Stdout != "" || !strings.HasSuffix(r.Stderr, ` has failed with an exception: "out of luck: \x00me"`+"\n") {
		t.Error(r)
	}
	r = s.Want(1, "worker", "exec", "throw", "me", "--server", at, "--json")
	if !strings.Contains(r.Stdout, `"exception": "out of luck: \u0000me"`) || r.Stderr != "" {
		t.Error(r)
	}
	r = s.Want(1, "worker", "exec", "fail", "--server", at)
	if !strings.HasSuffix(r.Stderr, " has failed\n") {
		t.Error(r)
	}

	// A job that runs as long as the file is there tells how far it is.
	s.WriteFile("go on", "")
	handle := strings.TrimSpace(s.Want(0, "worker", "submit", "talk", "go on", "--server", at).Stdout)
	harness.Eventually(t, "its progress", func() bool {
		return strings.Contains(s.Want(0, "worker", "job", handle).Stdout, "running  3 of 10")
	})
	if err := os.Remove(filepath.Join(s.Dir, "go on")); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "its end", func() bool { return s.Procops("worker", "job", handle).Code == 3 })
}
