package tasks

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/unit"
)

// coprocess is a configuration with the type "t", whose co-processes run a script for
// each task: $id is its id as it is to be told, $work the line that it came with.
func coprocess(size int, each string) Config {
	return Config{Types: map[string]Type{"t": {
		Mode: runner.ModeCoprocess, Coprocess: runner.Config{Size: size},
		Command: proc.Command{"/bin/sh", "-c", `
say() { printf '%s\n' "$1"; }
echo started $$ >> pids
say '{"type":"hello","protocol":1}'
while read -r work; do
	id=$(printf '%s' "$work" | sed 's/.*"id":"\([0-9]*\)".*/\1/')
	` + each + `
done`},
	}}}
}

// result is a line of such a script that ends a task.
func result(more string) string {
	return fmt.Sprintf(`say '{"type":"result","id":"'$id'"%s}'`, more)
}

func TestCoprocess(t *testing.T) {
	cfg := coprocess(1, `printf '%s\n' "$work" >> seen; echo careful >&2;`+result(`,"output":"answer"`))
	w := newWorld(t, cfg)
	first, second := w.push(`{"a":1}`), w.push(`{"a":2}`)
	if got := w.work(); got != (Report{Completed: 2}) {
		t.Errorf("the report is %+v", got)
	}
	for _, id := range []string{first, second} {
		r := w.want(id, "done success 0/0")
		if string(r.Run.Response) != "answer" || r.Run.Diagnostics != "careful\n" || r.Run.Duration <= 0 {
			t.Errorf("response %q, diagnostics %q, took %s", r.Run.Response, r.Run.Diagnostics, r.Run.Duration)
		}
	}
	seen := w.file("seen")
	want := `"input":"{\"a\":1}","meta":{"task_id":"` + first + `","task_type":"t","task_attempt":"1","task_crashes":"0","task_priority":"0","task_time_limit":"0"}`
	if !strings.Contains(seen, want) {
		t.Errorf("the handler was told\n%s\nwant\n%s", seen, want)
	}
	if n := strings.Count(w.file("pids"), "started"); n != 1 {
		t.Errorf("%d processes were started", n)
	}
}

func TestResultsOfCoprocesses(t *testing.T) {
	for each, want := range map[string]string{
		result(`,"outcome":"warning","message":"look"`): `done warning 0/0 2 look`,
		result(`,"outcome":"error","message":"bad"`):    `dead error 1/0 1 bad`,
		result(`,"outcome":"retry"`):                    `retrying retry 0/0 75 its outcome is "retry"`,
		`exit 4`:                                        `dead error 1/0 4 its co-process has ended before it had answered: 4 Unknown error`,
		`kill -KILL $$`:                                 `dead unknown 1/0 137 its co-process has ended before it had answered: 137 Kill (end at once)`,
		`say nonsense; sleep 100`:                       `dead error 1/0 143 its co-process has written "nonsense": it is no JSON object`,
		`trap '' TERM; sleep 1000 & sleep 1000`:         `dead timeout 1/0 137 it took longer than its time limit of 100ms`,
	} {
		t.Run(each, func(t *testing.T) {
			cfg := coprocess(1, each)
			typ := cfg.Types["t"]
			typ.Stop.Signal, typ.Stop.Grace = 15, unit.Duration(100e6)
			if strings.Contains(each, "1000") {
				limit := unit.Duration(100e6)
				typ.TimeLimit = &limit
			}
			cfg.Types["t"] = typ
			w := newWorld(t, cfg)
			id := w.push("")
			w.work()
			r := w.get(id)
			got := fmt.Sprintf("%s %s %d/%d %d %s", r.State, r.Run.Result, r.Attempts, r.Crashes, r.Run.Code, r.Run.Message)
			if !strings.HasPrefix(got, want) {
				t.Errorf("the task is\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// TestCoprocessesAreFull: tasks beyond the number of co-processes are not claimed, so that
// other types have their turn.
func TestCoprocessesAreFull(t *testing.T) {
	cfg := coprocess(2, `echo x >> begun; while [ ! -e go ]; do sleep 0.01; done;`+result(""))
	cfg.Types["other"] = script("exit 0")
	cfg.Workers = 3
	w := newWorld(t, cfg)
	for range 6 {
		w.push("")
	}
	other, err := w.Push(t.Context(), Task{Type: "other", Priority: 100})
	w.must(err)
	k := w.start(t.Context(), WorkOptions{UntilEmpty: true})
	w.until("both are at work", func() bool { return w.file("begun") == "x\nx\n" })
	w.until("the other type has its turn", func() bool { return w.get(other).State == StateDone })
	if n := w.queued(); n.Leased != 2 || n.Ready != 4 {
		t.Errorf("the broker has %+v, want two leased", n)
	}
	w.letGo()
	if report, err := k.wait(); err != nil || report.Completed != 7 {
		t.Errorf("the report is %+v, %v", report, err)
	}
}

// TestTaskAsksForTheEnd: the outcome stop ends the worker in good order.
func TestTaskAsksForTheEnd(t *testing.T) {
	w := newWorld(t, coprocess(1, result(`,"outcome":"stop"`)))
	first, second := w.push(""), w.push("")
	report, err := w.start(context.Background(), WorkOptions{}).wait()
	if err != nil || report != (Report{Completed: 1}) {
		t.Errorf("the report is %+v, %v", report, err)
	}
	w.want(first, "done success 0/0")
	w.want(second, "pending  0/0")
}

// TestCoprocessDoesNotStart: it is a failure of the task, that says why.
func TestCoprocessDoesNotStart(t *testing.T) {
	cfg := coprocess(1, "")
	typ := cfg.Types["t"]
	typ.Command = proc.Command{"/bin/sh", "-c", "echo no >&2; exit 3"}
	cfg.Types["t"] = typ
	w := newWorld(t, cfg)
	id := w.push("")
	w.work()
	if r := w.want(id, "dead error 1/0"); r.Run.Code != notStarted || !strings.Contains(r.Run.Message, `without a hello`) {
		t.Errorf("code %d, %s", r.Run.Code, r.Run.Message)
	}
}
