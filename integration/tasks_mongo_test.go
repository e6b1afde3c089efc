package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

func mongoConfig(port int) string {
	return fmt.Sprintf(`
[tasks.broker.mongodb]
url = "mongodb://%s/?serverSelectionTimeoutMS=1000"
[tasks.type.greet]
command = "cat >greeted; cat greeted"
[tasks.type.slow]
command = '''
echo $$ $PROCOPS_TASK_CRASHES >> runs
[ $PROCOPS_TASK_CRASHES = 1 ] || exec sleep 1000'''
`, harness.Loopback(port))
}

// TestTasksInMongoDB: what one host pushes another one works off, with nothing between them
// but MongoDB, also when a worker is killed, and when the server is away for a time.
func TestTasksInMongoDB(t *testing.T) {
	t.Parallel()
	port := harness.FreePort(t)
	mongo := harness.New(t)
	server := harness.StartMongo(mongo, port)
	config := "[tasks]\nlease = \"3s\"\n" + mongoConfig(port)
	pusher, worker, other := harness.New(t), harness.New(t), harness.New(t)
	for _, s := range []*harness.Sandbox{pusher, worker, other} {
		s.Config(config)
	}
	id := strings.TrimSpace(pusher.Want(0, "tasks", "push", "greet", "--param", "to=ann").Stdout)
	worker.Want(0, "tasks", "work", "--until-empty")
	if got := worker.ReadFile("greeted"); got != `{"to":"ann"}` {
		t.Errorf("the handler got %q", got)
	}
	if got := worker.Want(0, "tasks", "show", id).Stdout; !strings.Contains(got, "done") {
		t.Errorf("%s", got)
	}

	slow := strings.TrimSpace(pusher.Want(0, "tasks", "push", "slow").Stdout)
	killed := worker.Start("tasks", "work")
	worker.WaitFile("runs")
	killed.Signal(syscall.SIGKILL)
	killed.Wait()
	next := other.Start("tasks", "work")
	if got := other.WaitFile("runs"); !strings.HasSuffix(got, " 1\n") {
		t.Errorf("the task of a worker that was killed came as %q", got)
	}
	next.WaitLine("task done .*" + slow)

	server.Signal(syscall.SIGKILL)
	server.Wait()
	next.WaitLine("no server can be reached: " + harness.Loopback(port) + ": .*connection refused")
	if r := pusher.Procops("tasks", "push", "greet"); r.Code == 0 || !strings.Contains(r.Stderr, `cannot queue tasks: no server can be reached: `+harness.Loopback(port)) {
		t.Errorf("nobody is there, and: %s", r)
	}
	harness.StartMongo(mongo, port)
	last := strings.TrimSpace(pusher.Want(0, "tasks", "push", "greet").Stdout)
	next.WaitLine("task done .*" + last)
	next.Signal(syscall.SIGTERM)
	next.WantExit(0)

	pusher.Config(strings.Replace(config, "://", "://ann:secret@", 1))
	r := pusher.Procops("tasks", "push", "greet")
	if r.Code == 0 || !strings.Contains(r.Stderr, "the server refuses the login: ") || strings.Contains(r.Stderr, "secret") {
		t.Errorf("who is not let in: %s", r)
	}
	pusher.Config(strings.Replace(config, "mongodb://", "http://", 1))
	if r := pusher.Procops("tasks", "push", "greet"); r.Code != 2 || !strings.Contains(r.Stderr, "invalid URL of a MongoDB server: ") {
		t.Errorf("an invalid URL: %s", r)
	}
}

// TestLeptirInMongoDB: a task that a PHP producer queues in leptir's collection is run, and
// what becomes of it is where PHP looks for it.
func TestLeptirInMongoDB(t *testing.T) {
	t.Parallel()
	port := harness.FreePort(t)
	server, s := harness.New(t), harness.New(t)
	harness.StartMongo(server, port)
	s.Config(strings.ReplaceAll(`
[tasks.broker.php]
kind = "mongodb"
format = "leptir"
url = "URL"
[tasks.meta.php]
kind = "mongodb"
url = "URL"
[tasks.type.mail]
class = 'App\Mail'
command = "cat; cat >/dev/null"
`, "URL", "mongodb://"+harness.Loopback(port)))
	const produce = `$m = new MongoDB\Driver\Manager($argv[1]);
$b = new MongoDB\Driver\BulkWrite();
$b->insert(['_id' => sprintf('%08x%.8F', time() - 1, lcg_value()), 'cn' => 'App\Mail', 'pr' => 0, 'tl' => 0, 'toex' => '', 'td' => ['id' => 'x.5', 'parameters' => ['to' => 'ann']]]);
$m->executeBulkWrite('leptir.tasks', $b);`
	const look = `$m = new MongoDB\Driver\Manager($argv[1]);
foreach ($m->executeQuery('leptir.info', new MongoDB\Driver\Query(['_id' => 'x.5'])) as $d) {
  foreach ($d as $k => $v) { echo $k, ' ', get_debug_type($v), ', '; }
  echo $d->status, ' ', $d->retC, ' ', $d->respM, ' ', $d->type;
}`
	url := "mongodb://" + harness.Loopback(port)
	if r := s.Run("php", "-r", produce, "--", url); r.Code != 0 {
		t.Fatal(r)
	}
	s.Want(0, "tasks", "work", "--until-empty")
	const want = `_id string, status int, retC int, exTime float, respM string, type string, exStart MongoDB\BSON\UTCDateTime, 3 1 {"to":"ann"} App\Mail`
	if got := s.Run("php", "-r", look, "--", url).Stdout; got != want {
		t.Errorf("PHP finds\n%s, want\n%s", got, want)
	}
}
