package integration

import (
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// workerConfig has functions of each kind.
const workerConfig = `
[worker]
servers = ["SERVER"]
concurrency = 3
stop_grace = "30s"
[worker.backoff]
initial = "10ms"
max = "50ms"
[worker.function.rev]
command = ["cat"]
[worker.function.small]
command = ["cat"]
max_result = "1K"
[worker.function.talk]
command = "echo part; echo careful >&2; echo 3/10 >&3; f=$(cat); while [ -e \"$f\" ]; do sleep 0.01; done; echo done; exit 2"
stream = true
[worker.function.throw]
command = "echo out of luck >&2; exit 1"
[worker.function.fail]
command = "exit 1"
[worker.function.again]
command = '[ "$PROCOPS_ATTEMPT" = 3 ] || exit 75; echo "$PROCOPS_FUNCTION $PROCOPS_ATTEMPT"'
retry_delay = "10ms"
[worker.function.array]
command = ["cat"]
serialize = "php"
[worker.function.alone]
command = "echo begin >>alone; sleep 0.05; echo end >>alone"
concurrency = 1
[worker.function.hold]
command = "echo $$ >holding; while [ ! -e go ]; do sleep 0.01; done; cat"
[worker.function.stubborn]
command = "trap '' TERM; echo >stubborn; while :; do sleep 0.01; done"
[worker.function.count]
mode = "coprocess"
command = ["php", "count.php"]
`

// countPHP is a co-process that counts its units.
const countPHP = `<?php
echo '{"type":"hello","protocol":1}', "\n";
for ($n = 1; $work = json_decode((string) fgets(STDIN), true); $n++) {
	echo json_encode(['type' => 'result', 'id' => $work['id'], 'output' => "$n " . $work['input']]), "\n";
}
`

// jobServer is a kind of server: what starts one, without durable jobs of others.
type jobServer func(s *harness.Sandbox, port int) *harness.Process

func startGearmand(s *harness.Sandbox, port int) *harness.Process {
	command := harness.Gearmand(port)
	p := s.StartProgram(command[0], command[1:]...)
	harness.Eventually(s.TB(), "gearmand", func() bool { return harness.GearmandAnswers(port) })
	return p
}

func startOwnServer(s *harness.Sandbox, port int) *harness.Process {
	p := s.Start("worker", "server", "--listen", harness.Loopback(port))
	p.WaitLine("^listening on ")
	return p
}

// onBothServers runs a test with gearmand and with procops' own server: a worker cannot tell
// them apart.
func onBothServers(t *testing.T, test func(t *testing.T, start jobServer)) {
	t.Helper()
	t.Parallel()
	for name, start := range map[string]jobServer{"gearmand": startGearmand, "procops": startOwnServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start)
		})
	}
}

// workerWorld is a sandbox with a server and a config, whose worker is to be started.
func workerWorld(t *testing.T, start jobServer) (*harness.Sandbox, int) {
	t.Helper()
	s := harness.New(t)
	port := harness.FreePort(t)
	s.WriteFile("count.php", countPHP)
	s.Config(strings.ReplaceAll(workerConfig, "SERVER", harness.Loopback(port)))
	start(s, port)
	return s, port
}

// wantDone waits until no server knows a job any more.
func wantDone(t *testing.T, s *harness.Sandbox, handle string) {
	t.Helper()
	harness.Eventually(t, "the end of "+handle, func() bool { return s.Procops("worker", "job", handle, "--wait").Code == 3 })
}

// startWorker starts procops' worker and waits until all servers know what it can do.
func startWorker(s *harness.Sandbox) *harness.Process {
	p := s.Start("worker", "run")
	p.WaitLines("worker.functions.after_register", 3) // alone, count and all others
	return p
}

// TestWorkerRun has procops' client and procops' worker meet at gearmand.
func TestWorkerRun(t *testing.T) { onBothServers(t, workerRunsJobs) }

func workerRunsJobs(t *testing.T, start jobServer) {
	t.Helper()
	s, _ := workerWorld(t, start)
	w := startWorker(s)
	if r := s.Want(0, "worker", "exec", "rev", "a b"); r.Stdout != "a b" || r.Stderr != "" {
		t.Error(r)
	}
	if r := s.Want(0, "worker", "exec", "talk", "none"); r.Stdout != "part\ndone\n" || r.Stderr != "careful\n" {
		t.Error(r)
	}
	if r := s.Want(1, "worker", "exec", "throw"); !strings.Contains(r.Stderr, `with an exception: "out of luck\n"`) {
		t.Error(r)
	}
	if r := s.Want(1, "worker", "exec", "fail"); !strings.HasSuffix(r.Stderr, " has failed\n") {
		t.Error(r)
	}
	if r := s.Want(0, "worker", "exec", "again"); r.Stdout != "again 3\n" {
		t.Error(r)
	}
	for n := 1; n <= 3; n++ {
		if r := s.Want(0, "worker", "exec", "count", "é"); r.Stdout != strconv.Itoa(n)+" é" {
			t.Error(r)
		}
	}
	if r := s.Run("sh", "-c", `head -c 64000000 /dev/urandom >in; procops worker exec rev - <in | cmp - in`); r.Code != 0 {
		t.Error(r)
	}
	if r := s.Run("sh", "-c", `procops worker exec small - <in`); r.Code != 1 || !strings.Contains(r.Stderr, "its result is longer than 1024 bytes") {
		t.Error(r)
	}
	s.Want(0, "events", "--type", "worker.function.failed")
	w.Signal(syscall.SIGTERM)
	w.WantExit(0)
}

// TestWorkerProgress asks the server how far a job is.
func TestWorkerProgress(t *testing.T) { onBothServers(t, workerTellsProgress) }

func workerTellsProgress(t *testing.T, start jobServer) {
	t.Helper()
	s, _ := workerWorld(t, start)
	startWorker(s)
	s.WriteFile("on", "")
	handle := strings.TrimSpace(s.Want(0, "worker", "submit", "talk", "on").Stdout)
	harness.Eventually(t, "its progress", func() bool {
		return strings.Contains(s.Procops("worker", "job", handle).Stdout, "running  3 of 10")
	})
	s.Run("rm", "on")
	wantDone(t, s, handle)
}

// TestWorkerLimit: jobs of a function with a limit never overlap, and none runs twice.
func TestWorkerLimit(t *testing.T) { onBothServers(t, workerKeepsLimits) }

func workerKeepsLimits(t *testing.T, start jobServer) {
	t.Helper()
	s, _ := workerWorld(t, start)
	startWorker(s)
	if r := s.Run("sh", "-c", "printf '1\n2\n3\n4\n5\n6\n' | procops worker exec-many alone"); r.Code != 0 {
		t.Fatal(r)
	}
	if got, want := s.ReadFile("alone"), strings.Repeat("begin\nend\n", 6); got != want {
		t.Errorf("the jobs overlap, or run again: %q", got)
	}
}

// TestWorkerStops: TERM lets the job under way end and begins no other.
func TestWorkerStops(t *testing.T) { onBothServers(t, workerStops) }

func workerStops(t *testing.T, start jobServer) {
	t.Helper()
	s, _ := workerWorld(t, start)
	w := startWorker(s)
	client := s.Start("worker", "exec", "hold", "all of it")
	s.WaitFile("holding")
	w.Signal(syscall.SIGTERM)
	handle := strings.TrimSpace(s.Want(0, "worker", "submit", "rev", "later").Stdout)
	s.WriteFile("go", "")
	w.WantExit(0)
	client.WantExit(0)
	if client.Stdout() != "all of it\n" { // which the harness ends
		t.Errorf("%q", client.Stdout())
	}
	if r := s.Want(0, "worker", "job", handle); !strings.Contains(r.Stdout, "queued") {
		t.Error(r)
	}
}

// TestWorkerHurries: a second signal kills what will not end, and the job fails.
func TestWorkerHurries(t *testing.T) { onBothServers(t, workerHurries) }

func workerHurries(t *testing.T, start jobServer) {
	t.Helper()
	s, _ := workerWorld(t, start)
	w := startWorker(s)
	client := s.Start("worker", "exec", "stubborn")
	s.WaitFile("stubborn")
	w.Signal(syscall.SIGTERM)
	w.WaitLine("takes no more jobs")
	w.Signal(syscall.SIGTERM)
	w.WantExit(0)
	client.WantExit(1)
}

// TestWorkerKilled: the job goes to the next worker, and what did it is gone.
func TestWorkerKilled(t *testing.T) { onBothServers(t, workerIsKilled) }

func workerIsKilled(t *testing.T, start jobServer) {
	t.Helper()
	s, _ := workerWorld(t, start)
	w := startWorker(s)
	client := s.Start("worker", "exec", "hold", "it")
	pid, err := strconv.Atoi(strings.TrimSpace(s.WaitFile("holding")))
	check(t, err)
	w.Signal(syscall.SIGKILL)
	w.Wait()
	harness.Eventually(t, "the end of what did the job", func() bool { return harness.Gone(pid) })
	s.WriteFile("go", "")
	startWorker(s)
	client.WantExit(0)
}

// TestWorkerReconnects: a server that comes and goes finds the functions announced again.
func TestWorkerReconnects(t *testing.T) { onBothServers(t, workerReconnects) }

func workerReconnects(t *testing.T, start jobServer) {
	t.Helper()
	s := harness.New(t)
	port := harness.FreePort(t)
	s.Config(strings.ReplaceAll(workerConfig, "SERVER", harness.Loopback(port)))
	s.WriteFile("count.php", countPHP)
	s.Start("worker", "run").WaitLine("worker.failed")
	for range 2 {
		server := start(s, port)
		if r := s.Run("sh", "-c", "until procops worker exec rev x --timeout 10s; do sleep 0.05; done"); !strings.HasSuffix(r.Stdout, "x") {
			t.Error(r)
		}
		server.Signal(syscall.SIGKILL)
		server.Wait()
	}
}

// phpArrayClient is a client that serializes as PHP does.
const phpArrayClient = `<?php
$client = new GearmanClient();
$client->addServer('127.0.0.1', (int) $argv[1]);
foreach ([['a' => 1, 'b' => [1, 2.5, null, true, "\u{e9}"]], [1, 2], [], [5 => 'five', 'x' => -1], 5, 1.0, true, null] as $value) {
	$back = unserialize($client->doNormal('array', serialize($value)));
	echo $back === $value ? 'same' : 'other: ' . var_export($back, true), "\n";
}
echo unserialize($client->doNormal('array', serialize("some \0 text"))) === "some \0 text" ? 'same' : 'other', "\n";
`

// TestWorkerSerializesAsPHP has values of PHP come back as they were.
func TestWorkerSerializesAsPHP(t *testing.T) { onBothServers(t, workerSerializesAsPHP) }

func workerSerializesAsPHP(t *testing.T, start jobServer) {
	t.Helper()
	s, port := workerWorld(t, start)
	startWorker(s)
	s.WriteFile("client.php", phpArrayClient)
	r := s.Run("php", "client.php", strconv.Itoa(port))
	if want := strings.Repeat("same\n", 9); r.Code != 0 || r.Stdout != want {
		t.Error(r)
	}
}

// TestWorkerWithoutFunctions is told what is missing.
func TestWorkerWithoutFunctions(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[worker]\n")
	if r := s.Want(2, "worker", "run"); !strings.Contains(r.Stderr, "no function") || !strings.Contains(r.Stderr, "hint:") {
		t.Error(r)
	}
	s.Config("[worker.function.rev]\ncommand = ['rev']\n")
	if r := s.Want(3, "worker", "run", "revv"); !strings.Contains(r.Stderr, `"rev"`) {
		t.Error(r)
	}
	s.Config("[worker.function.rev]\ncommand = ['/nowhere/rev']\n")
	if r := s.Want(2, "worker", "run"); !strings.Contains(r.Stderr, "procops.toml:2") {
		t.Error(r)
	}
}
