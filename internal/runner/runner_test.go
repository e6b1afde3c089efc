package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/internal/proc"
)

func newHost(t *testing.T) *proc.Host {
	t.Helper()
	h, err := proc.NewHost(proc.HostOptions{Subreaper: true, Guard: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func sh(script string) proc.Command { return proc.Command{"/bin/sh", "-c", script} }

// mustRun runs a unit that can be started, within a time that says that nothing
// hangs.
func mustRun(t *testing.T, h *proc.Host, u Unit) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := Run(ctx, h, u)
	if err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s hangs", u.Command)
	}
	return r
}

func TestOutcomes(t *testing.T) {
	h := newHost(t)
	for _, c := range []struct {
		script  string
		outcome Outcome
		reason  string
	}{
		{"exit 0", Success, ""},
		{"exit 2", Warning, "exit code 2 (warning)"},
		{"exit 75", Retry, "75 Temporary failure, try again later"},
		{"exit 1", Failed, "1 General error"},
		{"no-such-command", Failed, "127 Command not found"},
		{"kill -TERM $$", Unknown, "143 Termination (request to terminate)"},
		{"kill -KILL $$", Unknown, "137 Kill (end at once)"},
	} {
		r := mustRun(t, h, Unit{Command: sh(c.script)})
		if r.Outcome != c.outcome || r.Reason != c.reason {
			t.Errorf("%s: %s (%s), want %s (%s)", c.script, r.Outcome, r.Reason, c.outcome, c.reason)
		}
	}
	for code := range 256 {
		want, _ := judge(proc.Exit{Code: code})
		if r := mustRun(t, h, Unit{Command: sh("exit " + strconv.Itoa(code))}); r.Outcome != want || r.Exit.Code != code {
			t.Errorf("exit %d: %+v", code, r)
		}
	}
}

func TestBytesGoThroughUnchanged(t *testing.T) {
	h := newHost(t)
	data := make([]byte, 5<<20)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(data)
	r := mustRun(t, h, Unit{Command: proc.Command{"cat"}, Input: bytes.NewReader(data)})
	if !bytes.Equal(r.Output, data) || r.Outcome != Success {
		t.Errorf("%d bytes came back of %d, %s", len(r.Output), len(data), r.Outcome)
	}
}

func TestInputFromAFile(t *testing.T) {
	h := newHost(t)
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if _, err := file.WriteString("from a file"); err != nil {
		t.Fatal(err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if r := mustRun(t, h, Unit{Command: proc.Command{"cat"}, Input: file}); string(r.Output) != "from a file" {
		t.Errorf("got %q", r.Output)
	}
}

func TestInputThatNobodyReads(t *testing.T) {
	h := newHost(t)
	r := mustRun(t, h, Unit{Command: sh("echo done"), Input: strings.NewReader(strings.Repeat("x", 10<<20))})
	if string(r.Output) != "done\n" || r.Outcome != Success {
		t.Errorf("got %+v", r)
	}
	r = mustRun(t, h, Unit{Command: sh("sleep 1000"), Input: strings.NewReader(strings.Repeat("x", 10<<20)), TimeLimit: 50 * time.Millisecond})
	if r.Outcome != TimedOut {
		t.Errorf("got %+v", r)
	}
}

func TestResultIsBounded(t *testing.T) {
	h := newHost(t)
	r := mustRun(t, h, Unit{Command: sh("head -c 1000000 /dev/zero"), MaxOutput: 1000})
	if len(r.Output) != 1000 || !r.Truncated || r.Outcome != Failed || r.Reason != "its result is longer than 1000 bytes" {
		t.Errorf("%d bytes, %s (%s)", len(r.Output), r.Outcome, r.Reason)
	}
	if r := mustRun(t, h, Unit{Command: sh("head -c 1000 /dev/zero"), MaxOutput: 1000}); r.Outcome != Success || r.Truncated {
		t.Errorf("a result that just fits: %s (%s)", r.Outcome, r.Reason)
	}
	streamed := 0
	r = mustRun(t, h, Unit{Command: sh("head -c 1000000 /dev/zero"), MaxOutput: -1, Output: func(s proc.Stream, b []byte) {
		if s == proc.Stdout {
			streamed += len(b)
		}
	}})
	if streamed != 1000000 || r.Outcome != Success || len(r.Output) != 0 {
		t.Errorf("%d bytes streamed, %+v", streamed, r)
	}
}

func TestDiagnosticsAreTheEndOfStderr(t *testing.T) {
	h := newHost(t)
	r := mustRun(t, h, Unit{Command: sh("seq 1 100000 >&2; exit 1")})
	if len(r.Diagnostics) > diagnosticsSize || !strings.HasSuffix(r.Diagnostics, "\n99999\n100000\n") {
		t.Errorf("%d bytes end in %q", len(r.Diagnostics), r.Diagnostics[max(0, len(r.Diagnostics)-20):])
	}
}

func TestTimeLimit(t *testing.T) {
	h := newHost(t)
	u := Unit{
		Command:   sh(`trap "" TERM; echo begun; while :; do sleep 0.01; done`),
		TimeLimit: 100 * time.Millisecond,
		Ladder:    proc.Ladder{Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: 50 * time.Millisecond}}},
	}
	r := mustRun(t, h, u)
	if r.Outcome != TimedOut || r.Reason != "it took longer than its time limit of 100ms" || string(r.Output) != "begun\n" {
		t.Errorf("got %+v", r)
	}
	if r.Duration < u.TimeLimit || r.Duration > 5*time.Second {
		t.Errorf("took %v", r.Duration)
	}
	// A handler that ends in good order when it is asked to has still timed out.
	r = mustRun(t, h, Unit{Command: sh(`trap "exit 0" TERM; while :; do sleep 0.01; done`), TimeLimit: 50 * time.Millisecond})
	if r.Outcome != TimedOut || r.Exit.Code != 0 || r.Exit.Signal != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestCancelStops(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	var once sync.Once
	u := Unit{
		Command: sh(`trap "echo bye; exit 0" TERM; echo begun; while :; do sleep 0.01; done`),
		Output:  func(proc.Stream, []byte) { once.Do(cancel) },
	}
	r, err := Run(ctx, h, u)
	if err != nil || r.Outcome != Cancelled || string(r.Output) != "begun\nbye\n" {
		t.Errorf("got %+v, %q, %v", r, r.Output, err)
	}
	if _, err := Run(ctx, h, u); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
}

func TestHurry(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	hurry := make(chan struct{})
	var once, again sync.Once
	begin := time.Now()
	r, err := Run(ctx, h, Unit{
		Command: sh(`trap "echo no" TERM; echo begun; while :; do sleep 0.01; done`),
		Ladder:  proc.Ladder{Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: time.Hour}}},
		Hurry:   hurry,
		Output: func(_ proc.Stream, b []byte) {
			once.Do(cancel)
			if bytes.Contains(b, []byte("no")) {
				again.Do(func() { close(hurry) })
			}
		},
	})
	if err != nil || r.Outcome != Cancelled || r.Exit.Signal != syscall.SIGKILL || time.Since(begin) > 10*time.Second {
		t.Errorf("got %+v, %v after %v", r, err, time.Since(begin))
	}
}

func TestGrandchildrenAreEnded(t *testing.T) {
	h := newHost(t)
	ladder := proc.Ladder{Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: 50 * time.Millisecond}}}
	for _, script := range []string{
		`sleep 1000 & echo done`,
		`(trap "" TERM; sleep 1000; sleep 1000) & echo done`,
		`setsid sleep 1000 & echo done`,
	} {
		r := mustRun(t, h, Unit{Command: sh(script), Ladder: ladder})
		if string(r.Output) != "done\n" || r.Outcome != Success || r.Duration > 5*time.Second {
			t.Errorf("%s: %+v", script, r)
		}
	}
}

func TestStartFailure(t *testing.T) {
	h := newHost(t)
	_, err := Run(t.Context(), h, Unit{Command: proc.Command{"no-such-program"}, Input: strings.NewReader("x")})
	if !errors.Is(err, fs.ErrNotExist) || err.Error() != `cannot start "no-such-program": not found in its PATH` {
		t.Errorf("got %v", err)
	}
	if _, err := Run(t.Context(), h, Unit{}); err == nil {
		t.Error("an empty command was run")
	}
}

func TestEnvironmentDirectoryAndLimits(t *testing.T) {
	h := newHost(t)
	files := uint64(99)
	mask := proc.Umask(0o77)
	u := Unit{
		Command: sh("echo $A; pwd; ulimit -n; umask; id -u"),
		Env:     []string{"A=1", "PATH=/usr/bin:/bin"},
		Dir:     "/usr", Umask: &mask,
		Limits: proc.Limits{Files: &files},
	}
	uid := os.Getuid()
	if uid == 0 {
		uid = 4321
		u.User = &proc.User{UID: 4321, GID: 4321}
	}
	r := mustRun(t, h, u)
	if string(r.Output) != "1\n/usr\n99\n0077\n"+strconv.Itoa(uid)+"\n" {
		t.Errorf("got %q (%s)", r.Output, r.Diagnostics)
	}
}

func TestProgressLines(t *testing.T) {
	for _, c := range []struct {
		line string
		want Progress
	}{
		{"3/10", Progress{Done: 3, Total: 10, Percent: 30, Message: ""}},
		{" 3/10  crop it ", Progress{Done: 3, Total: 10, Percent: 30, Message: "crop it"}},
		{"10/10", Progress{Done: 10, Total: 10, Percent: 100, Message: ""}},
		{"30%", Progress{Done: 30, Total: 100, Percent: 30, Message: ""}},
		{"12.5% crop", Progress{Done: 12, Total: 100, Percent: 12.5, Message: "crop"}},
		{`{"percent": 30, "message": "crop"}`, Progress{Done: 30, Total: 100, Percent: 30, Message: "crop"}},
		{`{"done": 3, "total": 10}`, Progress{Done: 3, Total: 10, Percent: 30, Message: ""}},
		{`{"message": "crop"}`, Progress{Message: "crop"}},
		{`{"state": "crop"}`, Progress{State: "crop"}},
		{`{"percent": 200, "state": "crop"}`, Progress{State: "crop"}},
		{`{"meta": {"pages": 3}, "percent": 5}`, Progress{Done: 5, Total: 100, Percent: 5, Meta: map[string]json.RawMessage{"pages": json.RawMessage("3")}}},
	} {
		if got, ok := parseProgress([]byte(c.line)); !ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v, want %+v", c.line, got, ok, c.want)
		}
	}
	for _, line := range []string{
		"", " ", "crop", "3", "3/", "/3", "4/3", "0/0", "-1/3", "3/x", "101%", "-1%", "NaN%", "%", "{}", "{", "[]",
		`{"percent": 200}`, `{"meta": {}}`, `{"meta": 1, "state": "crop"}`, `{"percent": "30"}`, `{"done": -1, "total": 3}`, `{"done": 4, "total": 3}`,
	} {
		if got, ok := parseProgress([]byte(line)); ok {
			t.Errorf("%q is read as %+v", line, got)
		}
	}
}

func FuzzProgress(f *testing.F) {
	for _, seed := range []string{"3/10 crop", "30%", `{"done": 3, "total": 10}`, `{"percent": 1e2}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if p, ok := parseProgress(line); ok && (!(p.Percent >= 0 && p.Percent <= 100) || p.Done > p.Total) {
			t.Errorf("%q is read as %+v", line, p)
		}
	})
}

func TestProgressWithoutListener(t *testing.T) {
	h := newHost(t)
	r := mustRun(t, h, Unit{Command: sh("seq 1 100000 >&3 && echo done")})
	if string(r.Output) != "done\n" {
		t.Errorf("got %+v", r)
	}
}
