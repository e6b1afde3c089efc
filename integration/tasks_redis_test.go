package integration

import (
	"strconv"
	"strings"
	"testing"

	"procops/integration/harness"
)

// TestTasksInRedis: what one host pushes another one works off, with nothing between them
// but Redis.
func TestTasksInRedis(t *testing.T) {
	t.Parallel()
	port := harness.FreePort(t)
	redis := harness.New(t)
	redis.StartProgram("redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
	harness.Eventually(t, "redis answers", func() bool { return harness.RedisAnswers(port) })

	config := `
[tasks.broker.redis]
url = "redis://127.0.0.1:` + strconv.Itoa(port) + `/0"
[tasks.type.greet]
command = "cat >greeted; cat greeted"
`
	pusher, worker := harness.New(t), harness.New(t)
	pusher.Config(config)
	worker.Config(config)
	id := strings.TrimSpace(pusher.Want(0, "tasks", "push", "greet", "--param", "to=ann").Stdout)
	worker.Want(0, "tasks", "work", "--until-empty")
	if got := worker.ReadFile("greeted"); got != `{"to":"ann"}` {
		t.Errorf("the handler got %q", got)
	}
	if got := worker.Want(0, "tasks", "show", id).Stdout; !strings.Contains(got, "done") {
		t.Errorf("%s", got)
	}

	pusher.Config(strings.Replace(config, strconv.Itoa(port), strconv.Itoa(harness.FreePort(t)), 1))
	if r := pusher.Procops("tasks", "push", "greet"); r.Code != 5 || !strings.Contains(r.Stderr, "broker \"redis\": cannot queue tasks: ") {
		t.Errorf("nobody is there, and: %s", r)
	}
}
