package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
)

// taskJSON is what the tests read of `tasks list --json`.
type taskJSON struct {
	ID       string  `json:"id"`
	Status   string  `json:"status"`
	Result   *string `json:"result"`
	Code     int     `json:"ret_code"`
	Duration float64 `json:"duration_seconds"`
	Attempts int     `json:"attempts"`
	Crashes  int     `json:"crashes"`
}

// tasksOf returns all tasks by their id.
func tasksOf(t *testing.T, s *harness.Sandbox) map[string]taskJSON {
	t.Helper()
	var list []taskJSON
	if err := json.Unmarshal([]byte(s.Want(0, "tasks", "list", "-n", "0", "--json").Stdout), &list); err != nil {
		t.Fatal(err)
	}
	all := map[string]taskJSON{}
	for _, task := range list {
		all[task.ID] = task
	}
	return all
}

// TestPushedTaskSurvives kills pushers as soon as they have printed an id: each
// such task is there, once, and can be run.
func TestPushedTaskSurvives(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[tasks.type.t]\ncommand = 'cat >> ran'\n")
	var printed []string
	for i := range 6 {
		// One pushes on and on, so that it is killed in the middle of the next.
		script := fmt.Sprintf("for n in 1 2 3 4 5 6 7 8; do procops tasks push t --param 'n=%d.'$n & done; wait", i)
		if i%2 == 0 {
			script = `yes '{"type": "t"}' | head -n 3000 | procops tasks push -`
		}
		p := s.StartProgram("sh", "-c", script)
		p.WaitLine(`^[0-9A-Z]{26}$`)
		p.SignalGroup(syscall.SIGKILL)
		p.Wait()
		printed = append(printed, strings.Fields(p.Stdout())...)
	}
	harness.Eventually(t, "nobody is left", func() bool { return len(s.Left()) == 0 })
	known := tasksOf(t, s)
	for _, id := range printed {
		if len(id) == 26 && known[id].Status != "pending" {
			t.Errorf("task %s, whose id was printed, is %+v", id, known[id])
		}
	}
	if len(printed) < 6 {
		t.Errorf("only %d ids were printed", len(printed))
	}
	// Shown is only what the broker has.
	db := s.State + "/procops.db"
	if r := s.Run("sqlite3", db, "PRAGMA integrity_check; SELECT count(*) FROM tasks WHERE id NOT IN (SELECT id FROM tasks_queue)"); r.Stdout != "ok\n0\n" {
		t.Errorf("damaged, or shown and not queued: %s", r)
	}
}

// exclusiveTask is the command of a task that notices another run of itself.
const exclusiveTask = `id=$PROCOPS_TASK_ID; mkdir run.$id || { echo $id >> doubles; exit 0; }; echo $id $PPID >> runs; sleep 0.02; rmdir run.$id`

// TestTwoWorkersOneTask: several worker processes share the tasks, and none is run
// by two.
func TestTwoWorkersOneTask(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config("[tasks.type.t]\ncommand = '''" + exclusiveTask + "'''\n")
	const tasks = 60
	s.WriteFile("tasks.jsonl", strings.Repeat("{\"type\": \"t\"}\n", tasks))
	if r := s.Run("sh", "-c", "procops tasks push - < tasks.jsonl"); r.Code != 0 || strings.Count(r.Stdout, "\n") != tasks {
		t.Fatal(r)
	}
	var workers []*harness.Process
	for range 3 {
		workers = append(workers, s.Start("tasks", "work", "--until-empty"))
	}
	for _, w := range workers {
		w.WantExit(0)
	}
	if doubles := s.ReadFile("doubles"); doubles != "" {
		t.Errorf("run twice: %s", doubles)
	}
	runs, by := map[string]int{}, map[string]bool{}
	for line := range strings.Lines(s.ReadFile("runs")) {
		id, worker, _ := strings.Cut(strings.TrimSpace(line), " ")
		runs[id]++
		by[worker] = true
	}
	for id, task := range tasksOf(t, s) {
		if runs[id] != 1 || task.Status != "done" || task.Crashes != 0 {
			t.Errorf("%+v was run %d times", task, runs[id])
		}
	}
	if len(runs) != tasks || len(by) < 2 {
		t.Errorf("%d tasks were run by %d workers", len(runs), len(by))
	}
}

// TestKilledWorker: the handlers of a worker that is killed are gone, and its task
// is run again by another one once its lease has ended, without counting as a
// failed attempt.
func TestKilledWorker(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[tasks]
lease = "2s"
max_attempts = 1
[tasks.type.t]
command = '''
echo $$ $PROCOPS_TASK_CRASHES >> runs
[ $PROCOPS_TASK_CRASHES = 1 ] && exit 0
setsid sleep 1000 & exec sleep 1000'''
`)
	id := strings.TrimSpace(s.Want(0, "tasks", "push", "t").Stdout)
	first := s.Start("tasks", "work")
	s.WaitFile("runs")
	second := s.Start("tasks", "work", "--until-empty")
	time.AfterFunc(3*time.Second, func() { _ = syscall.Kill(first.PID(), syscall.SIGKILL) })
	if code := first.Wait(); code != 128+int(syscall.SIGKILL) {
		t.Errorf("the first worker ended with %d: %s", code, first.Output())
	}
	killed := time.Now()
	if got := s.ReadFile("runs"); strings.Count(got, "\n") != 1 {
		t.Errorf("while its worker lived, much longer than a lease, it was run again: %q", got)
	}
	second.WantExit(0)
	if waited := time.Since(killed); waited > 20*time.Second {
		t.Errorf("it came back only after %s", waited)
	}
	var handler, crashes, other, again int
	if _, err := fmt.Sscan(s.ReadFile("runs"), &handler, &crashes, &other, &again); err != nil || crashes != 0 || again != 1 {
		t.Fatalf("the runs are %q: %v", s.ReadFile("runs"), err)
	}
	if !harness.Gone(handler) || len(s.Matching("sleep 1000")) > 0 {
		t.Error("the handler of the killed worker still runs")
	}
	if task := tasksOf(t, s)[id]; task.Status != "done" || task.Attempts != 0 || task.Crashes != 1 {
		t.Errorf("the task is %+v", task)
	}
}

// TestTimeLimitOfTask (T7): a task that forks, ignores SIGTERM and floods its output is
// gone with its whole group within its limit and the grace of its stop ladder.
func TestTimeLimitOfTask(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	s.Config(`
[tasks]
max_attempts = 1
[tasks.type.t]
stop.grace = "300ms"
command = '''
trap '' TERM
(trap '' TERM; while :; do sleep 1000; done) &
echo $! >> pids; echo $$ >> pids
yes flood'''
`)
	id := strings.TrimSpace(s.Want(0, "tasks", "push", "t", "--time-limit", "200ms").Stdout)
	if r := s.Procops("tasks", "work", "--until-empty"); r.Code != 1 {
		t.Error(r)
	}
	for pid := range strings.FieldsSeq(s.WaitFile("pids")) {
		var n int
		if _, err := fmt.Sscan(pid, &n); err != nil || !harness.Gone(n) {
			t.Errorf("process %s still runs", pid)
		}
	}
	task := tasksOf(t, s)[id]
	if task.Status != "dead" || task.Result == nil || *task.Result != "timeout" || task.Code != 5 || task.Duration >= 10 {
		t.Errorf("the task is %+v", task)
	}
}
