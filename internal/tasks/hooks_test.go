package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"procops/internal/proc"
	"procops/internal/unit"
)

// hooked is a configuration whose type "t" has hooks.
func hooked(before, command, after string) Config {
	typ := script(command)
	shell := func(text string) proc.Command {
		if text == "" {
			return nil
		}
		return proc.Command{"/bin/sh", "-c", text}
	}
	typ.Before, typ.After, typ.HookTimeLimit = shell(before), shell(after), unit.Duration(deadline)
	return Config{Types: map[string]Type{"t": typ}}
}

func TestHooks(t *testing.T) {
	w := newWorld(t, hooked(
		`echo "before $PROCOPS_TASK_ID $(cat)" >> order; echo '{"state": "prepared"}' >&3`,
		`echo "run $(cat)" >> order; echo '{"state": "done", "meta": {"pages": 3}}' >&3; echo out; echo err >&2; exit 2`,
		`echo "after $PROCOPS_TASK_ID $PROCOPS_TASK_ATTEMPT $PROCOPS_TASK_RESULT $PROCOPS_TASK_EXIT_CODE $PROCOPS_TASK_MESSAGE" >> order; cat > story; echo ignored`,
	))
	id := w.push(`{"a":1}`)
	w.work()
	r := w.want(id, "done warning 0/0")
	want := "before " + id + ` {"a":1}` + "\n" + `run {"a":1}` + "\nafter " + id + " 1 warning 2 exit code 2 (warning)\n"
	if got := w.file("order"); got != want {
		t.Errorf("order\n%s\nwant\n%s", got, want)
	}
	if string(r.Run.Response) != "out\n" || r.Run.Message != "exit code 2 (warning)" {
		t.Errorf("response %q, message %q", r.Run.Response, r.Run.Message)
	}
	var told story
	w.must(json.Unmarshal([]byte(w.file("story")), &told))
	seconds := told.Seconds
	told.Seconds = 0
	if got := fmt.Sprintf("%+v", told); seconds <= 0 || got != fmt.Sprintf("%+v", story{
		ID: id, Type: "t", Params: json.RawMessage(`{"a":1}`), Attempt: 1, Result: ResultWarning, ResultCode: 2, ExitCode: 2,
		Message: "exit code 2 (warning)", Response: "out\n", Diagnostics: "err\n", State: "done",
		Meta: map[string]json.RawMessage{"pages": json.RawMessage("3")},
	}) {
		t.Errorf("after was told %s, %v", got, seconds)
	}
	if len(r.Run.Flow) != 2 || r.Run.Flow[0].State != "prepared" || r.Run.Flow[1].State != "done" {
		t.Errorf("its states are %v", r.Run.Flow)
	}
}

func TestHooksFail(t *testing.T) {
	for name, c := range map[string]struct{ before, command, after, want, ran string }{
		"before":            {"echo no >&2; exit 3", "echo run >> ran", "echo after $PROCOPS_TASK_RESULT >> ran", "dead error 1/0 3 before: 3 Unknown error: no", "after error\n"},
		"before, by signal": {"kill -KILL $$", "echo run >> ran", "", "dead unknown 1/0 137 before: 137 Kill (end at once)", ""},
		"before, retry":     {"exit 75", "echo run >> ran", "", "retrying retry 0/0 75 before: 75", ""},
		"before takes long": {"exec sleep 1000", "echo run >> ran", "", "dead timeout 1/0 143 before: it took longer than its time limit of 100ms", ""},
		"before warns":      {"exit 2", "echo run >> ran", "", "done success 0/0 0 ", "run\n"},
		"after":             {"", "echo run >> ran", "echo no >&2; exit 3", "done warning 0/0 0 after: 3 Unknown error: no", "run\n"},
		"after takes long":  {"", "echo run >> ran", "exec sleep 1000", "done warning 0/0 0 after: it took longer than its time limit of 100ms", "run\n"},
		"after warns":       {"", "echo run >> ran", "exit 2", "done success 0/0 0 ", "run\n"},
		"both":              {"", "exit 4", "exit 3", "dead error 1/0 4 4 Unknown error; after: 3 Unknown error", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := hooked(c.before, c.command, c.after)
			if strings.Contains(name, "long") {
				typ := cfg.Types["t"]
				typ.HookTimeLimit = unit.Duration(100 * time.Millisecond)
				cfg.Types["t"] = typ
			}
			w := newWorld(t, cfg)
			id := w.push("")
			w.work()
			r := w.get(id)
			got := fmt.Sprintf("%s %s %d/%d %d %s", r.State, r.Run.Result, r.Attempts, r.Crashes, r.Run.Code, r.Run.Message)
			if !strings.HasPrefix(got, c.want) {
				t.Errorf("the task is\n%s\nwant\n%s", got, c.want)
			}
			if ran := w.file("ran"); ran != c.ran {
				t.Errorf("%q was run, want %q", ran, c.ran)
			}
		})
	}
}

// TestHookThatIsMissing: it fails the run as a handler does that cannot be started.
func TestHookThatIsMissing(t *testing.T) {
	cfg := hooked("", "exit 0", "")
	typ := cfg.Types["t"]
	typ.Before = proc.Command{"/nowhere/before"}
	cfg.Types["t"] = typ
	w := newWorld(t, cfg)
	id := w.push("")
	w.work()
	if r := w.want(id, "dead error 1/0"); r.Run.Code != notStarted || !strings.Contains(r.Run.Message, `before: cannot start "/nowhere/before"`) {
		t.Errorf("code %d, %s", r.Run.Code, r.Run.Message)
	}
}

// TestStopInAHook: a task that is given back has no after.
func TestStopInAHook(t *testing.T) {
	cfg := hooked("echo x >> begun; exec sleep 1000", "exit 0", "echo after >> ran")
	cfg.StopGrace = unit.Duration(time.Millisecond)
	w := newWorld(t, cfg)
	id := w.push("")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	k := w.start(ctx, WorkOptions{})
	w.until("it has begun", func() bool { return w.file("begun") != "" })
	stop()
	if report, err := k.wait(); err != nil || report != (Report{Released: 1}) {
		t.Errorf("the report is %+v, %v", report, err)
	}
	w.want(id, "pending  0/0")
	if got := w.file("ran"); got != "" {
		t.Errorf("after was run: %s", got)
	}
}
