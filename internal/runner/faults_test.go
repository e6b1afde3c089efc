package runner

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/internal/proc"
	"procops/internal/unit"
)

// TestCoprocessBreaksTheProtocol: the unit fails with what was seen, and the next one is
// done by a fresh co-process.
func TestCoprocessBreaksTheProtocol(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) {
		o.Ladder = quickly()
		o.Coprocess.RestartDelay, o.Coprocess.MaxRestartDelay = unit.Duration(time.Millisecond), unit.Duration(time.Millisecond)
		o.Coprocess.MaxLine = 1 << 20
	})
	long := strings.Repeat("long", 100)
	for i, c := range []struct{ what, outcome, reason string }{
		{"write-then-hang garbage\n", "error", `its co-process has written "garbage": it is no JSON object`},
		{"write-then-hang garbage", "error", `its co-process has written "garbage": it is no JSON object`},
		{"write-then-hang \nWarning: odd in x.php\n", "error", `its co-process has written "Warning: odd in x.php": it is no JSON object`},
		{"write-then-hang " + long, "error", `its co-process has written "` + long[:80] + `…": it is no JSON object`},
		{"write-then-hang \x00\x1b[31m\n", "error", `its co-process has written "\x00\x1b[31m": it is no JSON object`},
		{"write-then-hang {\"type\":\"result\"\n", "error", `its co-process has written "{\"type\":\"result\"": it is no JSON object`},
		{`write-then-hang {"type":"odd","id":"ID"}` + "\n", "error", `its co-process has written "{\"type\":\"odd\",\"id\":\"1\"}": there is no message of type "odd" here`},
		{`write-then-hang {"type":"hello","protocol":1}` + "\n", "error", `its co-process has written "{\"type\":\"hello\",\"protocol\":1}": there is no message of type "hello" here`},
		{`write-then-hang {"type":"result","id":"77"}` + "\n", "error", `its co-process has written "{\"type\":\"result\",\"id\":\"77\"}": the id of its work is "1"`},
		{`write-then-hang {"type":"result","id":"18446744073709551617"}` + "\n", "error", `its co-process has written "{\"type\":\"result\",\"id\":\"18446744073709551617\"}": the id of its work is "1"`},
		{`write-then-hang {"type":"result"}` + "\n", "error", `its co-process has written "{\"type\":\"result\"}": the id of its work is "1"`},
		{`write-then-hang {"type":"data","id":""}` + "\n", "error", `its co-process has written "{\"type\":\"data\",\"id\":\"\"}": the id of its work is "1"`},
		{`write-then-hang {"type":"result","id":1}` + "\n", "error", `its co-process has written "{\"type\":\"result\",\"id\":1}": its id is no string`},
		{`write-then-hang {"type":"result","id":"ID","outcome":"odd"}` + "\n", "error", `its co-process has written "{\"type\":\"result\",\"id\":\"1\",\"outcome\":\"odd\"}": there is no outcome "odd"`},
		{`write-then-hang {"type":"data","id":"ID","output_base64":"%"}` + "\n", "error", `its co-process has written "{\"type\":\"data\",\"id\":\"1\",\"output_base64\":\"%\"}": its output_base64 is no base64`},
		{`write-then-hang {"type":"result","id":"ID","output":"","output_base64":""}` + "\n", "error", `its co-process has written "{\"type\":\"result\",\"id\":\"1\",\"output\":\"\",\"output_base64\":\"\"}": it has both an output and an output_base64`},
		{"large 2000000", "error", `its co-process has written "{\"type\":\"result\",\"id\":\"1\",\"output\":\"` + strings.Repeat("x", 44) + `…": a line may have 1048576 bytes`},
		{"close", "error", "its co-process has closed its standard output before it had answered"},
		{"exit 3", "error", "its co-process has ended before it had answered: 3 Unknown error"},
		{"exit 0", "error", "its co-process has ended before it had answered: 0 OK"},
		{`write-then-exit {"type":"result","id":"ID","out`, "error", `its co-process has ended before it had answered: 3 Unknown error; it had begun to write "{\"type\":\"result\",\"id\":\"1\",\"out"`},
		{"kill", "unknown", "its co-process has ended before it had answered: 137 Kill (end at once)"},
	} {
		result := do(t, r, c.what)
		if string(result.Outcome) != c.outcome || result.Reason != c.reason {
			t.Errorf("%q: %s (%s), want %s", c.what, result.Outcome, result.Reason, c.reason)
		}
		n := d.await(t, NoticeEnded, i+1)
		if n.Reason == "" || n.Units != 0 || n.PID == 0 || n.Pause != time.Millisecond || n.Exit != result.Exit {
			t.Errorf("%q: %+v", c.what, n)
		}
	}
	if result := do(t, r, "echo", input("x")); string(result.Output) != "x" {
		t.Errorf("afterwards: %+v", result)
	}
}

// TestCoprocessGoesOnWriting: a result stands, whatever follows it; the next unit is not
// mixed up with it.
func TestCoprocessGoesOnWriting(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"))
	for i, more := range []string{`{"type":"result","id":"ID","output":"two"}` + "\n", "garbage", "\n"} {
		result := do(t, r, `write {"type":"result","id":"ID","output":"one"}`+"\n"+more)
		if result.Outcome != Success || string(result.Output) != "one" {
			t.Errorf("%q: %+v", more, result)
		}
		if n := d.await(t, NoticeEnded, i+1); n.Cause != CauseProtocol || n.Units != min(i+1, 2) || !strings.Contains(n.Reason, "after its result") {
			t.Errorf("%q: %+v", more, n)
		}
		if result := do(t, r, "echo", input("next")); string(result.Output) != "next" {
			t.Errorf("%q: %+v", more, result)
		}
	}
}

// TestCoprocessWritesWithoutWork: it is found before a unit is handed over, and another
// co-process gets the unit.
func TestCoprocessWritesWithoutWork(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"go", "done"} {
		if err := syscall.Mkfifo(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, d := newTestPool(t, shSpec(`cd `+dir+`; echo '{"type":"hello","protocol":1}'
		if mkdir first 2>/dev/null; then
			read -r line; echo '{"type":"result","id":"1","output":"first"}'
			read -r go <go; echo uncalled for; echo >done
		fi
		while read -r line; do echo '{"type":"result","id":"1","output":"second"}'; done`))
	if result := do(t, r, ""); string(result.Output) != "first" {
		t.Errorf("%+v", result)
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("go\n"), 0o600); err != nil {
		t.Error(err)
	}
	if _, err := os.ReadFile(filepath.Join(dir, "done")); err != nil {
		t.Error(err)
	}
	if result := do(t, r, ""); result.Outcome != Success || string(result.Output) != "second" {
		t.Errorf("%+v", result)
	}
	if n := d.await(t, NoticeEnded, 1); n.Cause != CauseProtocol || n.Units != 1 || n.Reason != `it has written "uncalled for\n" without having work` {
		t.Errorf("%+v", n)
	}
}

// TestCoprocessLeavesAfterItsAnswer: it may go when it wants to, and no unit is lost by
// that or done twice.
func TestCoprocessLeavesAfterItsAnswer(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"))
	for i := range 30 {
		text := strconv.Itoa(i)
		if result := do(t, r, "answer-then-exit", input(text)); result.Outcome != Success || string(result.Output) != text {
			t.Errorf("%s: %+v", text, result)
		}
	}
	if n := d.await(t, NoticeEnded, 30); n.Units != 1 || n.Cause != CauseExited || n.Pause != 0 {
		t.Errorf("%+v", n)
	}
}

// TestCoprocessDiesIdle: the next unit gets a living one.
func TestCoprocessDiesIdle(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"))
	for i := range 20 {
		pid, err := strconv.Atoi(string(do(t, r, "pid").Output))
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 { // otherwise at the same time
			if n := d.await(t, NoticeEnded, i+1); n.PID != pid || n.Exit.Signal != syscall.SIGKILL {
				t.Errorf("%+v", n)
			}
		}
		result := do(t, r, "echo", input("x"))
		// The kernel may have given it the unit and then killed it: nobody knows.
		late := i%2 == 1 && result.Outcome == Unknown && result.Exit.Signal == syscall.SIGKILL
		if !late && (result.Outcome != Success || string(result.Output) != "x") {
			t.Errorf("%+v", result)
		}
		d.await(t, NoticeEnded, i+1)
	}
}

func TestCoprocessTimeLimit(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) { o.Ladder = quickly() })
	do(t, r, "echo")
	for i, what := range []string{"hang", "stubborn", `write-then-hang {"type":"progress","id":"ID","done":1,"total":2}` + "\n"} {
		result := do(t, r, what, func(w *Work) { w.TimeLimit = 100 * time.Millisecond })
		signal := syscall.SIGTERM
		if what == "stubborn" {
			signal = syscall.SIGKILL
		}
		if result.Outcome != TimedOut || result.Reason != "it took longer than its time limit of 100ms" || result.Exit.Signal != signal || result.Duration < 100*time.Millisecond {
			t.Errorf("%s: %+v", what, result)
		}
		if n := d.await(t, NoticeEnded, i+1); n.Cause != CauseTimeout {
			t.Errorf("%s: %+v", what, n)
		}
	}
	// A limit that was not reached does not disturb the next unit.
	for range 100 {
		do(t, r, "echo", func(w *Work) { w.TimeLimit = time.Minute })
	}
}

// TestCoprocessNeverReads: a large unit that nobody reads ends as any other.
func TestCoprocessNeverReads(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	hello := `echo '{"type":"hello","protocol":1}'; `
	for _, c := range []struct {
		script  string
		limit   time.Duration
		outcome Outcome
		reason  string
	}{
		{"sleep 1000", 200 * time.Millisecond, TimedOut, "it took longer than its time limit of 200ms"},
		{"head -c 1000 >/dev/null; exit 7", patience, Failed, "its co-process has ended before it had answered: 7 Unknown error"},
		{`head -c 10 >/dev/null; echo '{"type":"result","id":"1","output":"early"}'; sleep 1000`, patience, Success, ""},
	} {
		r, d := newTestPool(t, shSpec(hello+c.script), func(o *Options) { o.Ladder = quickly() })
		if err := r.Warm(t.Context()); err != nil {
			t.Fatal(err)
		}
		result, err := r.Run(t.Context(), Work{Input: []byte(large), TimeLimit: c.limit})
		if result.Outcome != c.outcome || result.Reason != c.reason {
			t.Errorf("%s: %+v, %v", c.script, result, err)
		}
		if c.outcome == Success {
			if n := d.await(t, NoticeEnded, 1); n.Reason != "it has answered before it had read its unit" {
				t.Errorf("%+v", n)
			}
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		closeHost(t, r)
	}
}

// TestCoprocessClosesItsInput: nobody can hand it anything, which is no fault of the unit.
func TestCoprocessClosesItsInput(t *testing.T) {
	r, d := newTestPool(t, shSpec(`exec 0<&-; echo '{"type":"hello","protocol":1}'; sleep 1000`), func(o *Options) { o.Ladder = quickly() })
	_, err := r.Run(t.Context(), Work{Input: []byte("x")})
	if err == nil || err.Error() != "cannot run a unit of work: 3 co-processes could not take it; of the last: it has closed its standard input" {
		t.Error(err)
	}
	if n := d.await(t, NoticeEnded, 3); n.Pause != 400*time.Millisecond {
		t.Errorf("%+v", n)
	}
}

// TestCoprocessForks: what it has left in its group ends with it.
func TestCoprocessForks(t *testing.T) {
	r, _ := newTestPool(t, childSpec(t, "plain"), func(o *Options) { o.Ladder = quickly() })
	pid, err := strconv.Atoi(string(do(t, r, "fork").Output))
	if err != nil || !proc.Runs(pid) {
		t.Fatalf("process %d, %v", pid, err)
	}
	if result := do(t, r, "exit 3"); result.Outcome != Failed {
		t.Errorf("%+v", result)
	}
	if proc.Runs(pid) {
		t.Error("what it has started still runs")
	}
	// It holds the pipes, too; whether its parent is there is what counts.
	do(t, r, "fork")
	if result := do(t, r, "kill"); result.Outcome != Unknown {
		t.Errorf("%+v", result)
	}
	do(t, r, "fork")
}
