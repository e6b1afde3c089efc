package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// sqsServer starts a server that speaks the protocol of SQS and returns its port.
func sqsServer(t *testing.T) int {
	t.Helper()
	port := harness.FreePort(t)
	argv := harness.SQSServer(t, port)
	harness.In(t, t.TempDir(), "none").StartProgram(argv[0], argv[1:]...).WaitLine("^serving")
	return port
}

// sqsHost returns a host with the credentials and a config that begins with a broker of SQS
// behind a port.
func sqsHost(t *testing.T, port int, config string) *harness.Sandbox {
	t.Helper()
	s := harness.New(t)
	s.Setenv("AWS_ACCESS_KEY_ID", "key")
	s.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	s.Config("[tasks.broker.sqs]\ncreate = true\nendpoint = \"http://" + harness.Loopback(port) + "\"\n" + config)
	return s
}

// TestTasksInSQS: what one host pushes another one works off, with nothing between them
// but SQS.
func TestTasksInSQS(t *testing.T) {
	t.Parallel()
	port := sqsServer(t)
	const types = `
[tasks]
max_attempts = 2
retry = ["1s"]
[tasks.type.greet]
command = "cat >greeted; cat greeted"
[tasks.type.later]
command = "date +%s%N >ran"
[tasks.type.fail]
command = "echo x >>failed; exit 3"
`
	pusher, worker := sqsHost(t, port, types), sqsHost(t, port, types)
	id := strings.TrimSpace(pusher.Want(0, "tasks", "push", "greet", "--param", "to=ann", "--param", "of=Zoë").Stdout)
	worker.Want(0, "tasks", "work", "--until-empty")
	if got := worker.ReadFile("greeted"); got != `{"of":"Zoë","to":"ann"}` {
		t.Errorf("the handler got %q", got)
	}
	if got := worker.Want(0, "tasks", "show", id).Stdout; !strings.Contains(got, "done") {
		t.Errorf("%s", got)
	}

	pusher.Want(0, "tasks", "push", "later", "--in", "1s")
	dead := strings.TrimSpace(pusher.Want(0, "tasks", "push", "fail").Stdout)
	running := worker.Start("tasks", "work")
	harness.Eventually(t, "the task is dead", func() bool {
		return strings.Contains(worker.Want(0, "tasks", "list", "--status", "dead").Stdout, dead)
	})
	harness.Eventually(t, "the later task has run", func() bool { return worker.ReadFile("ran") != "" })
	if got := worker.ReadFile("failed"); got != "x\nx\n" {
		t.Errorf("it has failed %q", got)
	}
	pusher.Want(3, "tasks", "dead", "requeue", "nobody")
	worker.Want(0, "tasks", "dead", "requeue", dead)
	harness.Eventually(t, "it has failed twice more", func() bool { return worker.ReadFile("failed") == "x\nx\nx\nx\n" })
	running.Signal(syscall.SIGTERM)
	running.WantExit(0)
}

// TestTasksInSQSAndHere: one worker has tasks from SQS and from its own host, and knows when
// both have none.
func TestTasksInSQSAndHere(t *testing.T) {
	t.Parallel()
	s := sqsHost(t, sqsServer(t), `priority = 1
[tasks.broker.sqlite]
[tasks.type.note]
command = "echo $(cat) >>notes" # in one write: several run at once
`)
	for n := range 6 {
		s.Want(0, "tasks", "push", "note", "--param", "n="+strconv.Itoa(n), "--priority", strconv.Itoa(n%2))
	}
	s.Want(0, "tasks", "work", "--until-empty")
	notes := strings.Fields(s.ReadFile("notes"))
	slices.Sort(notes)
	if len(notes) != 6 || len(slices.Compact(notes)) != 6 {
		t.Errorf("the tasks have noted %q", notes)
	}
	if got := s.Want(0, "tasks", "list", "--status", "done", "--json").Stdout; strings.Count(got, `"id"`) != 6 {
		t.Errorf("%s", got)
	}
}

// TestTasksInSQSWithLeptir: procops reads what leptir has queued, and the other way round.
func TestTasksInSQSWithLeptir(t *testing.T) {
	t.Parallel()
	port := sqsServer(t)
	s := sqsHost(t, port, `format = "leptir"
queue = "shared"
[tasks.type.mail]
class = 'App\Mail'
command = "cat >mailed"
`)
	s.Want(0, "tasks", "push", "mail", "--param", "to=ann", "--in", "1s", "--time-limit", "7s")
	s.Want(0, "tasks", "push", "mail", "--param", "to=bob", "--priority", "2")
	document := sqsReceive(t, port, "shared")
	if !strings.HasPrefix(document, `{"cn":"App\\Mail","pr":2,"tl":0,"toex":"","td":{"id":"`) || !strings.HasSuffix(document, `","parameters":{"to":"bob"}}}`) {
		t.Errorf("leptir gets %s", document)
	}
	worker := s.Start("tasks", "work")
	harness.Eventually(t, "the later task has run", func() bool { return s.ReadFile("mailed") == `{"to":"ann"}` })
	sqsCall(t, port, "SendMessage", `{"QueueUrl": "http://x/1/shared", "MessageBody": "{\"cn\":\"App\\\\Mail\",\"pr\":0,\"tl\":-1,\"toex\":\"\",\"td\":{\"id\":\"752.5\",\"parameters\":{\"to\":\"cat\"}}}"}`)
	harness.Eventually(t, "leptir's task has run", func() bool { return s.ReadFile("mailed") == `{"to":"cat"}` })
	harness.Eventually(t, "it is known", func() bool { return strings.Contains(s.Procops("tasks", "show", "752.5").Stdout, "done") })
	worker.Signal(syscall.SIGTERM)
	worker.WantExit(0)
}

// sqsReceive takes the next message from a queue.
func sqsReceive(t *testing.T, port int, queue string) (body string) {
	t.Helper()
	answer := sqsCall(t, port, "ReceiveMessage", `{"QueueUrl": "http://x/1/`+queue+`", "WaitTimeSeconds": 20, "VisibilityTimeout": 1000}`)
	var got struct{ Messages []struct{ Body string } }
	check(t, json.Unmarshal(answer, &got))
	if len(got.Messages) != 1 {
		t.Fatalf("got %s", answer)
	}
	return got.Messages[0].Body
}

// sqsCall makes a call as any client does.
func sqsCall(t *testing.T, port int, operation, body string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+harness.Loopback(port), strings.NewReader(body))
	check(t, err)
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", "AmazonSQS."+operation)
	client := http.Client{Timeout: harness.Patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	check(t, err)
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	check(t, err)
	return answer
}

// TestTasksInSQSAfterACrash: a worker is killed over a task, and the next one has it again
// when the lease ends.
func TestTasksInSQSAfterACrash(t *testing.T) {
	t.Parallel()
	port := sqsServer(t)
	const types = `
[tasks]
lease = "2s"
[tasks.type.hang]
command = 'echo $PROCOPS_TASK_CRASHES >>runs; [ "$PROCOPS_TASK_CRASHES" != 0 ] || sleep 1000'
`
	s := sqsHost(t, port, types)
	id := strings.TrimSpace(s.Want(0, "tasks", "push", "hang").Stdout)
	first := s.Start("tasks", "work")
	harness.Eventually(t, "it runs", func() bool { return s.ReadFile("runs") == "0\n" })
	first.Signal(syscall.SIGKILL)
	first.Wait()
	s.Start("tasks", "work")
	harness.Eventually(t, "it runs again", func() bool {
		return strings.Contains(s.Want(0, "tasks", "show", id).Stdout, "done")
	})
	if got := s.ReadFile("runs"); got != "0\n1\n" {
		t.Errorf("the runs knew of the crashes %q", got)
	}
}

// TestTasksWithoutSQS: a service that is away, or wants somebody else, is named, and what
// was queued is worked off when it is back.
func TestTasksWithoutSQS(t *testing.T) {
	t.Parallel()
	server, port := sqsServer(t), harness.FreePort(t)
	const types = `
[tasks.type.note]
command = "cat >>notes"
`
	s := sqsHost(t, port, types)
	link := newLink(t, port, server)
	s.Want(0, "tasks", "push", "note", "--param", "n=1")
	link.cut()
	worker := s.Start("tasks", "work")
	worker.WaitLines("cannot (claim|wait for) tasks.*cannot reach http://"+harness.Loopback(port), 1)
	if r := s.Want(5, "tasks", "push", "note", "--param", "n=2"); !strings.Contains(r.Stderr, "cannot queue tasks: ") || !strings.Contains(r.Stderr, "connection refused") {
		t.Errorf("%s", r)
	}
	link.mend()
	harness.Eventually(t, "the task has run", func() bool { return s.ReadFile("notes") == `{"n":"1"}` })
	lost := strings.Count(worker.Output(), "broker is lost")
	link.cut()
	worker.WaitLines("broker is lost", lost+1)
	link.mend()
	s.Want(0, "tasks", "push", "note", "--param", "n=3")
	// The first one comes once more if its end could not be told.
	harness.Eventually(t, "the next one has run", func() bool { return strings.Contains(s.ReadFile("notes"), `{"n":"3"}`) })

	s.Setenv("AWS_ACCESS_KEY_ID", "")
	if r := s.Want(2, "tasks", "push", "note"); !strings.Contains(r.Stderr, "there are no credentials") || !strings.Contains(r.Stderr, "hint: set AWS_ACCESS_KEY_ID") {
		t.Errorf("%s", r)
	}
	s.Config("[tasks.broker.sqs]\nqueue = \"mail.fifo\"\nregion = \"eu-central-1\"\n" + types)
	if r := s.Want(2, "tasks", "push", "note"); !strings.Contains(r.Stderr, "FIFO") {
		t.Errorf("%s", r)
	}
	s.Config("[tasks.broker.sqs]\n" + types)
	if r := s.Want(2, "tasks", "push", "note"); !strings.Contains(r.Stderr, "in which region") {
		t.Errorf("%s", r)
	}
	s.Config("[tasks.broker.sqs]\nqueue = \"none\"\nendpoint = \"http://" + harness.Loopback(port) + "\"\n" + types)
	s.Setenv("AWS_ACCESS_KEY_ID", "key")
	if r := s.Want(3, "tasks", "push", "note"); !strings.Contains(r.Stderr, `there is no queue "none"`) || !strings.Contains(r.Stderr, "create = true") {
		t.Errorf("%s", r)
	}
}
