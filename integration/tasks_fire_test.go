package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"procops/integration/harness"
)

// fireTask is the command of a task that keeps a ledger. A lock, which the kernel frees
// with its process, shows whether another run of it is alive.
const fireTask = `exec 9> lock.$PROCOPS_TASK_ID; flock -n 9 || echo $PROCOPS_TASK_ID >> doubles
echo $PROCOPS_TASK_ID >> runs; sleep 0.02; echo $PROCOPS_TASK_ID >> ended`

// fireSize returns how many tasks and how many SIGKILLs there are; PROCOPS_TEST_FIRE=10000
// makes it large.
func fireSize(t *testing.T) (tasks, kills int) {
	t.Helper()
	tasks = 400
	if text := os.Getenv("PROCOPS_TEST_FIRE"); text != "" {
		var err error
		if tasks, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	return tasks, tasks / 40
}

// underFire runs tasks while their workers are killed again and again, and wants all that
// were accepted to end, none to be run by two at once, and none more than once without
// having lost its lease. At each kill trouble is made as well.
func underFire(t *testing.T, s *harness.Sandbox, brokerConfig string, trouble func(kill int)) {
	t.Helper()
	s.Config(brokerConfig + `
[tasks]
lease = "2s"
max_crashes = 3
[tasks.type.t]
command = '''` + fireTask + `'''
`)
	tasks, kills := fireSize(t)
	var (
		accepted []string
		workers  []*harness.Process
	)
	push := func(n int) {
		s.WriteFile("tasks.jsonl", strings.Repeat("{\"type\": \"t\"}\n", n))
		r := s.Run("sh", "-c", "procops tasks push - < tasks.jsonl") // it may fail: what it prints is accepted
		accepted = append(accepted, strings.Fields(r.Stdout)...)
	}
	push(tasks / 2)
	for range 3 {
		workers = append(workers, s.Start("tasks", "work"))
	}
	for kill := range kills {
		done := strings.Count(s.ReadFile("ended"), "\n")
		harness.Eventually(t, "tasks are run", func() bool {
			return strings.Count(s.ReadFile("ended"), "\n") >= min(done+5, len(accepted))
		})
		i := rand.IntN(len(workers)) //nolint:gosec // any will do
		workers[i].Signal(syscall.SIGKILL)
		workers[i].Wait()
		trouble(kill)
		workers[i] = s.Start("tasks", "work")
		push(tasks / 2 / kills)
	}
	var known map[string]taskJSON
	harness.Eventually(t, "all tasks have ended", func() bool {
		known = tasksOf(t, s)
		for _, id := range accepted {
			if state := known[id].Status; state != "done" && state != "dead" {
				return false
			}
		}
		return true
	})
	for _, w := range workers {
		w.Signal(syscall.SIGTERM)
		w.Wait()
	}
	checkLedger(t, s, known, accepted)
}

// checkLedger compares what was run with what was accepted.
func checkLedger(t *testing.T, s *harness.Sandbox, known map[string]taskJSON, accepted []string) {
	t.Helper()
	if doubles := s.ReadFile("doubles"); doubles != "" {
		t.Errorf("run by two at once: %s", doubles)
	}
	runs := map[string]int{}
	for id := range strings.FieldsSeq(s.ReadFile("runs")) {
		runs[id]++
	}
	again := 0
	for _, id := range accepted {
		task := known[id]
		if task.Status == "done" && runs[id] == 0 || runs[id] > 1+task.Crashes {
			t.Errorf("%+v was run %d times", task, runs[id])
		}
		if task.Status == "dead" && task.Crashes < 3 {
			t.Errorf("%+v is dead", task)
		}
		again += max(0, runs[id]-1)
	}
	if again == 0 {
		t.Error("no run was killed: this was no fire")
	}
	t.Logf("%d tasks, %d runs more than that", len(accepted), again)
}

// TestTasksUnderFire: T11, with the queue in the state directory.
func TestTasksUnderFire(t *testing.T) {
	t.Parallel()
	underFire(t, harness.New(t), "", func(int) {})
}

// TestTasksInRedisUnderFire: T11, with connections that are cut, and a server that is killed
// and comes back.
func TestTasksInRedisUnderFire(t *testing.T) {
	t.Parallel()
	ports := harness.FreePorts(t, 2)
	host := harness.New(t)
	serve := func() *harness.Process {
		p := host.StartProgram("redis-server", "--port", strconv.Itoa(ports[0]), "--bind", "127.0.0.1", "--save", "",
			"--appendonly", "yes", "--appendfsync", "always")
		harness.Eventually(t, "redis answers", func() bool { return harness.RedisAnswers(ports[0]) })
		return p
	}
	server := serve()
	wire := newLink(t, ports[1], ports[0])
	config := fmt.Sprintf("[tasks.broker.redis]\nurl = \"redis://127.0.0.1:%d/0\"\n", ports[1])
	underFire(t, harness.New(t), config, func(kill int) {
		switch kill % 4 {
		case 1:
			wire.cut()
			wire.mend()
		case 3:
			server.Signal(syscall.SIGKILL)
			server.Wait()
			server = serve()
		}
	})
}
