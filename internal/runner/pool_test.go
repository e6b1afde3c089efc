package runner

import (
	"bytes"
	"context"
	"errors"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"procops/internal/proc"
	"procops/internal/unit"
)

// patience is how long anything in a test may take.
const patience = 30 * time.Second

// diary keeps what an observer is told.
type diary struct {
	mu      sync.Mutex
	notices []Notice
	defects []error
	news    chan struct{} // gets something with each notice, if there is room
}

func (d *diary) note(n Notice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notices = append(d.notices, n)
	select {
	case d.news <- struct{}{}:
	default:
	}
}

func (d *diary) defect(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.defects = append(d.defects, err)
}

// of returns the notices of a kind.
func (d *diary) of(kind NoticeKind) (list []Notice) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.notices {
		if n.Kind == kind {
			list = append(list, n)
		}
	}
	return list
}

// await waits for the n-th notice of a kind, n from 1, and returns it.
func (d *diary) await(t *testing.T, kind NoticeKind, n int) Notice {
	t.Helper()
	deadline := time.After(patience)
	for {
		if list := d.of(kind); len(list) >= n {
			return list[n-1]
		}
		select {
		case <-d.news:
		case <-deadline:
			t.Fatalf("only %+v, want %s number %d", d.of(kind), kind, n)
		}
	}
}

// quickly is a ladder that does not wait long.
func quickly() proc.Ladder {
	return proc.Ladder{Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: 100 * time.Millisecond}}}
}

// newTestPool returns a pool that is closed in the end, when no process may be left.
func newTestPool(tb testing.TB, start func() (proc.Spec, error), set ...func(*Options)) (Runner, *diary) {
	tb.Helper()
	h, err := proc.NewHost(proc.HostOptions{Subreaper: true, Guard: true})
	if err != nil {
		tb.Fatal(err)
	}
	d := &diary{news: make(chan struct{}, 1)}
	o := Options{Host: h, Mode: ModeCoprocess, Start: start, Observe: d.note, OnError: d.defect, Ladder: proc.Ladder{
		Steps: []proc.Step{{Signal: proc.Signal(syscall.SIGTERM), Wait: 10 * time.Second}},
	}}
	for _, f := range set {
		f(&o)
	}
	r := New(o)
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(r.Close(ctx), h.Close()); err != nil {
			tb.Error(err)
		}
		if ctx.Err() != nil {
			tb.Error("it could not be closed in time")
		}
		if started, ended := len(d.of(NoticeStarted)), len(d.of(NoticeEnded)); ended < started {
			tb.Errorf("%d have started and %d have ended", started, ended)
		}
		for _, err := range d.defects {
			tb.Error(err)
		}
	})
	return r, d
}

// do runs a unit that says what the co-process does.
func do(t *testing.T, r Runner, what string, set ...func(*Work)) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	w := Work{Meta: []Meta{{"do", what}}}
	for _, f := range set {
		f(&w)
	}
	result, err := r.Run(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%q hangs: %+v", what, result)
	}
	return result
}

func input(text string) func(*Work) { return func(w *Work) { w.Input = []byte(text) } }

func TestCoprocessEchoes(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"))
	for _, text := range []string{"", "one", "two\nlines", strings.Repeat("x", 1<<20), "three"} {
		result := do(t, r, "echo", input(text))
		if result.Outcome != Success || result.Reason != "" || string(result.Output) != text || result.Memory == 0 || result.Started.IsZero() {
			t.Errorf("%d bytes: %s (%s), %d bytes, %d memory", len(text), result.Outcome, result.Reason, len(result.Output), result.Memory)
		}
	}
	if started := d.of(NoticeStarted); len(started) != 1 || started[0].PID == 0 {
		t.Errorf("%+v", started)
	}
}

// TestCoprocessKeepsBytes: every byte, alone and together, both ways, in both
// encodings.
func TestCoprocessKeepsBytes(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	texts := []string{
		string(all), "\x00", "a\x00b", "\xff\xfe", "ä\xc3", `{"type":"result","id":"1"}` + "\n", `\u0000 "quoted" \ / <&>`,
		"\u2028\u2029😀\ufffd", strings.Repeat("\x00", 100_000), strings.Repeat("\"", 100_001), "\n\r\n",
	}
	for i := range 256 {
		texts = append(texts, string([]byte{byte(i)}))
	}
	for _, child := range []string{"plain", "base64"} {
		r, _ := newTestPool(t, childSpec(t, child))
		for _, text := range texts {
			if result := do(t, r, "echo", input(text)); string(result.Output) != text || result.Outcome != Success {
				t.Errorf("%s: %q came back as %q, %s (%s)", child, short([]byte(text)), short(result.Output), result.Outcome, result.Reason)
			}
			binary := child == "base64" || !utf8.ValidString(text)
			if result := do(t, r, "base64", input(text)); string(result.Output) != text || result.Outcome != Warning || result.Reason != strconv.FormatBool(binary) {
				t.Errorf("%s: %q came back as %q, %s, in base64: %s", child, short([]byte(text)), short(result.Output), result.Outcome, result.Reason)
			}
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		closeHost(t, r)
	}
}

// closeHost makes room for the owner of the children of another pool.
func closeHost(t *testing.T, r Runner) {
	t.Helper()
	p, ok := r.(*pool)
	if !ok {
		t.Fatal("it is no pool")
	}
	if err := p.o.Host.Close(); err != nil {
		t.Error(err)
	}
}

func TestCoprocessLarge(t *testing.T) {
	// A program that the race detector does not slow down.
	const echo = `import sys
out = sys.stdout.buffer
out.write(b'{"type":"hello","protocol":1}\n'); out.flush()
for line in sys.stdin.buffer:
    out.write(line.replace(b'"work"', b'"result"', 1).replace(b'"input', b'"output', 1)); out.flush()`
	r, d := newTestPool(t, func() (proc.Spec, error) { return proc.Spec{Argv: []string{"python3", "-c", echo}}, nil })
	for _, data := range [][]byte{
		bytes.Repeat([]byte(strings.Repeat("0123456789abcdef", 64)[1:]+"\n"), 64<<10),
		bytes.Repeat([]byte("0123456789abcde\xff"), 1<<20),
		[]byte("small"),
	} {
		result := do(t, r, "", func(w *Work) { w.Input, w.MaxOutput, w.Meta = data, len(data), nil })
		if result.Outcome != Success || !bytes.Equal(result.Output, data) {
			t.Errorf("%d bytes came back of %d, %s (%s)", len(result.Output), len(data), result.Outcome, result.Reason)
		}
	}
	if started := d.of(NoticeStarted); len(started) != 1 {
		t.Errorf("%+v", started)
	}
}

func TestCoprocessOutcomes(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"))
	message := func(w *Work) { w.Meta = append(w.Meta, Meta{"message", "why"}) }
	for _, c := range []struct {
		outcome      string
		want         Outcome
		told, untold string
	}{
		{"success", Success, "", ""},
		{"warning", Warning, "why", `its outcome is "warning"`},
		{"retry", Retry, "why", `its outcome is "retry"`},
		{"error", Failed, "why", `its outcome is "error"`},
		{"stop", Stop, "why", `its outcome is "stop"`},
	} {
		for reason, set := range map[string]func(*Work){c.told: message, c.untold: func(*Work) {}} {
			result := do(t, r, "outcome "+c.outcome, set, input("x"))
			if result.Outcome != c.want || result.Reason != reason || string(result.Output) != "x" {
				t.Errorf("%s: %+v", c.outcome, result)
			}
		}
	}
	if started := d.of(NoticeStarted); len(started) != 1 {
		t.Errorf("%+v", started)
	}
}

func TestCoprocessTellsAsItGoes(t *testing.T) {
	r, _ := newTestPool(t, childSpec(t, "plain"))
	var done []uint64
	var messages []string
	do(t, r, "progress", func(w *Work) {
		w.OnProgress = func(p Progress) { done, messages = append(done, p.Done), append(messages, p.Message) }
	})
	if !slices.Equal(done, []uint64{1, 2, 3}) || messages[0] != "step" {
		t.Errorf("progress %v, %q", done, messages)
	}
	if result := do(t, r, "progress"); result.Outcome != Success {
		t.Errorf("with nobody who listens: %+v", result)
	}

	if result := do(t, r, "data"); string(result.Output) != "one two three" {
		t.Errorf("with nobody who wants pieces: %q", result.Output)
	}
	var pieces []string
	var all strings.Builder
	result := do(t, r, "data", func(w *Work) {
		w.OnData = func(b []byte) { pieces = append(pieces, string(b)) }
		w.Output = func(_ proc.Stream, b []byte) { all.Write(b) }
	})
	if !slices.Equal(pieces, []string{"one ", "two "}) || string(result.Output) != "three" || all.String() != "one two three" {
		t.Errorf("pieces %q, output %q, all %q", pieces, result.Output, all.String())
	}
	began := 0
	result = do(t, r, "meta", func(w *Work) {
		w.Meta = append(w.Meta, Meta{"turn", "5"})
		w.OnStart = func() { began++ }
	})
	if string(result.Output) != "map[do:meta turn:5]" || began != 1 {
		t.Errorf("%q, began %d times", result.Output, began)
	}
}

func TestCoprocessResultIsBounded(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"))
	result := do(t, r, "large 1001", func(w *Work) { w.MaxOutput = 1000 })
	if result.Outcome != Failed || result.Reason != "its result is longer than 1000 bytes" || !result.Truncated || len(result.Output) != 1000 {
		t.Errorf("%+v", result)
	}
	if result := do(t, r, "large 1000", func(w *Work) { w.MaxOutput = 1000 }); result.Outcome != Success || len(result.Output) != 1000 {
		t.Errorf("%+v", result)
	}
	told := 0
	result = do(t, r, "large 1000000", func(w *Work) {
		w.MaxOutput, w.Output = -1, func(_ proc.Stream, b []byte) { told += len(b) }
	})
	if result.Outcome != Success || len(result.Output) != 0 || told != 1_000_000 {
		t.Errorf("%+v, %d bytes", result, told)
	}
	if started := d.of(NoticeStarted); len(started) != 1 {
		t.Errorf("%+v", started)
	}
}

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

func TestCoprocessIsCancelled(t *testing.T) {
	hurry := make(chan struct{})
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) { o.Hurry = hurry })
	ctx, cancel := context.WithCancel(t.Context())
	result, err := r.Run(ctx, Work{Meta: []Meta{{"do", "hang"}}, OnStart: cancel})
	if err != nil || result.Outcome != Cancelled || result.Reason != "it was stopped" || result.Exit.Signal != syscall.SIGTERM {
		t.Errorf("%+v, %v", result, err)
	}
	if n := d.await(t, NoticeEnded, 1); n.Cause != CauseCancelled {
		t.Errorf("%+v", n)
	}
	if _, err := r.Run(ctx, Work{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	// One that waits for its turn can go away, too.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	busy := make(chan struct{})
	var units sync.WaitGroup
	units.Go(func() {
		result, err := r.Run(ctx, Work{Meta: []Meta{{"do", "stubborn"}}, OnStart: func() { close(busy) }})
		if err != nil || result.Exit.Signal != syscall.SIGKILL {
			t.Errorf("%+v, %v", result, err)
		}
	})
	<-busy
	waits, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer leave()
	if _, err := r.Run(waits, Work{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that waits: %v", err)
	}
	cancel()
	close(hurry)
	units.Wait()
}

func TestCoprocessDiagnostics(t *testing.T) {
	var stray, all strings.Builder
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) {
		o.Output = func(_ proc.Stream, b []byte) { stray.Write(b) }
	})
	for i := range 50 {
		words := "odd " + strconv.Itoa(i)
		all.Reset()
		result := do(t, r, "stderr "+words, func(w *Work) {
			w.Output = func(s proc.Stream, b []byte) { all.WriteString(s.String() + ":" + string(b)) }
		})
		if result.Diagnostics != words+"\n" || all.String() != "stderr:"+words+"\n" {
			t.Errorf("%q, told %q", result.Diagnostics, all.String())
		}
		if result := do(t, r, "echo"); result.Diagnostics != "" {
			t.Errorf("%q belongs to another unit", result.Diagnostics)
		}
	}
	do(t, r, "stderr "+strings.Repeat("long ", 100_000)+"end")
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	d.await(t, NoticeEnded, 1)
	if stray.Len() > 0 {
		t.Errorf("%q", stray.String())
	}
}

func TestCoprocessIsReplaced(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) { o.Coprocess.MaxUnits = 3 })
	pids := make(map[string]int)
	for range 9 {
		pids[string(do(t, r, "pid").Output)]++
	}
	if len(pids) != 3 {
		t.Errorf("%v", pids)
	}
	n := d.await(t, NoticeEnded, 3)
	if n.Cause != CauseUnits || n.Units != 3 || n.Reason != "it has done 3 units of work" || n.Exit.ShellCode() != 0 || n.Memory == 0 {
		t.Errorf("%+v", n)
	}
	d.await(t, NoticeReady, 4) // without being asked
}

func TestCoprocessMemoryThreshold(t *testing.T) {
	const limit = 100 << 20
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) { o.Coprocess.MemoryThreshold = limit })
	do(t, r, "grow 1000")
	if result := do(t, r, "grow 200000000"); result.Outcome != Success || result.Memory < 200_000_000 {
		t.Errorf("%+v", result)
	}
	n := d.await(t, NoticeEnded, 1)
	if n.Cause != CauseMemory || n.Memory < 200_000_000 || n.Units != 2 || !strings.HasSuffix(n.Reason, " MB of memory, and its threshold is 100.0 MB") {
		t.Errorf("%+v", n)
	}
	if result := do(t, r, "echo"); result.Memory > limit {
		t.Errorf("the fresh one uses %d bytes", result.Memory)
	}
}

func TestCoprocessStartFailures(t *testing.T) {
	missing := func() (proc.Spec, error) { return proc.Spec{Argv: []string{"no-such-program"}}, nil }
	for _, c := range []struct {
		start  func() (proc.Spec, error)
		reason string
	}{
		{missing, `cannot start "no-such-program": not found in its PATH`},
		{func() (proc.Spec, error) { return proc.Spec{}, errors.New("there is no user \"x\"") }, `there is no user "x"`},
		{shSpec("echo 'Fatal: no database' >&2; exit 255"), `cannot start the co-process: it has ended without a hello: 255 Unknown error; it has written "Fatal: no database"`},
		{shSpec("exit 0"), "cannot start the co-process: it has ended without a hello: 0 OK"},
		{shSpec("echo hello; sleep 1000"), `cannot start the co-process: it has written "hello" instead of a hello`},
		{shSpec("printf hell; exit 1"), `cannot start the co-process: it has written "hell" instead of a hello`},
		{shSpec(`printf '{"type":'; exit 1`), `cannot start the co-process: it has written "{\"type\":" instead of a hello`},
		{shSpec(`echo '{"type":"hello","protocol":9}'; sleep 1000`), `cannot start the co-process: it has written "{\"type\":\"hello\",\"protocol\":9}" instead of a hello: it speaks protocol 9, and procops protocol 1`},
		{shSpec(`printf '{"type":"hello","protocol":1}\n{"x'; sleep 1000`), `cannot start the co-process: it has written "{\"x" after its hello, without having work`},
		{shSpec("echo loading >&2; sleep 1000"), `cannot start the co-process: it has said no hello within 200ms; it has written "loading"`},
		{shSpec("exec >&-; sleep 1000"), "cannot start the co-process: it has said no hello"},
	} {
		r, d := newTestPool(t, c.start, func(o *Options) {
			o.Coprocess.StartTimeout, o.Ladder = unit.Duration(patience), quickly()
			if strings.Contains(c.reason, "within") {
				o.Coprocess.StartTimeout = unit.Duration(200 * time.Millisecond)
			}
		})
		if err := r.Warm(t.Context()); err == nil || err.Error() != c.reason {
			t.Errorf("%v, want %s", err, c.reason)
		}
		n := d.await(t, NoticeEnded, 1)
		if n.Cause != CauseStart || n.Pause != 100*time.Millisecond || n.Reason == "" {
			t.Errorf("%+v", n)
		}
		// A unit that needs one is told the same, after the pause.
		if _, err := r.Run(t.Context(), Work{}); err == nil || err.Error() != "cannot run a unit of work: "+c.reason {
			t.Errorf("%v, want %s", err, c.reason)
		}
		if n := d.await(t, NoticeEnded, 2); n.Pause != 200*time.Millisecond {
			t.Errorf("%+v", n)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		closeHost(t, r)
	}
}

// TestCoprocessMany: 50 goroutines share 4 co-processes, some of which die, and each
// gets what belongs to its unit.
func TestCoprocessMany(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) {
		o.Coprocess = Config{Size: 4, MaxUnits: 50, RestartDelay: unit.Duration(time.Millisecond), MaxRestartDelay: unit.Duration(time.Millisecond)}
	})
	var all sync.WaitGroup
	for g := range 50 {
		all.Go(func() {
			for i := range 20 {
				text := strconv.Itoa(g) + "/" + strconv.Itoa(i)
				what := "echo"
				if g == 0 && i%5 == 0 {
					what = "kill"
				}
				result, err := r.Run(t.Context(), Work{Input: []byte(text), Meta: []Meta{{"do", what}}})
				switch {
				case err != nil:
					t.Error(err)
				case what == "kill" && result.Outcome != Unknown:
					t.Errorf("%+v", result)
				case what == "echo" && (result.Outcome != Success || string(result.Output) != text):
					t.Errorf("%s: %+v", text, result)
				}
			}
		})
	}
	all.Wait()
	running, most := 0, 0
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.notices {
		switch n.Kind {
		case NoticeStarted:
			running++
		case NoticeEnded:
			running--
		case NoticeReady:
		}
		most = max(most, running)
	}
	if most > 5 { // one may be told of before the end of the one whose place it takes
		t.Errorf("%d at once", most)
	}
}

// TestCoprocessCloses whatever is under way.
func TestCoprocessCloses(t *testing.T) {
	slow := shSpec("sleep 1000")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		start func() (proc.Spec, error)
		what  string // under way; empty: nothing
		begun bool   // wait until it is
		ctx   context.Context
		want  Outcome // empty: an error
	}{
		"nothing":              {childSpec(t, "plain"), "", false, t.Context(), ""},
		"nothing, at once":     {childSpec(t, "plain"), "", false, ended, ""},
		"a start":              {slow, "echo", false, t.Context(), ""},
		"a start, at once":     {slow, "echo", false, ended, ""},
		"a unit, at once":      {childSpec(t, "plain"), "hang", true, ended, Cancelled},
		"a stubborn, at once":  {childSpec(t, "plain"), "stubborn", true, ended, Cancelled},
		"a unit that ends":     {childSpec(t, "plain"), "grow 10000000", true, t.Context(), Success},
		"a unit that breaks":   {childSpec(t, "plain"), "write-then-exit x", true, t.Context(), Failed},
		"one that stays":       {shSpec(`trap "" TERM; echo '{"type":"hello","protocol":1}'; read -r line; echo '{"type":"result","id":"1"}'; sleep 1000; sleep 1000`), "echo", true, t.Context(), Success},
		"one that will not go": {shSpec(`trap "" TERM; echo '{"type":"hello","protocol":1}'; sleep 1000; sleep 1000`), "warm", true, ended, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, d := newTestPool(t, c.start, func(o *Options) { o.Ladder = quickly() })
			begun := make(chan struct{})
			var under sync.WaitGroup
			switch c.what {
			case "":
			case "warm":
				if err := r.Warm(t.Context()); err != nil {
					t.Error(err)
				}
			default:
				under.Go(func() {
					result, err := r.Run(t.Context(), Work{Meta: []Meta{{"do", c.what}}, OnStart: func() { close(begun) }})
					if result.Outcome != c.want || (c.want == "") != errors.Is(err, ErrClosed) {
						t.Errorf("%+v, %v, want %s", result, err, c.want)
					}
				})
				if c.begun {
					<-begun
				} else {
					d.await(t, NoticeStarted, 1)
				}
			}
			ctx, cancel := context.WithTimeout(c.ctx, patience)
			defer cancel()
			for range 2 {
				if err := r.Close(ctx); err != nil {
					t.Error(err)
				}
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Error("it took too long")
			}
			under.Wait()
			for _, n := range d.of(NoticeStarted) {
				if proc.Runs(n.PID) {
					t.Errorf("process %d is left", n.PID)
				}
			}
			if _, err := r.Run(t.Context(), Work{}); !errors.Is(err, ErrClosed) {
				t.Errorf("after the end: %v", err)
			}
			if err := r.Warm(t.Context()); !errors.Is(err, ErrClosed) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// TestCoprocessClosesInAStorm: units, deaths and starts are under way when it closes.
func TestCoprocessClosesInAStorm(t *testing.T) {
	for range 5 {
		r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) {
			o.Ladder = quickly()
			o.Coprocess = Config{Size: 3, MaxUnits: 2, RestartDelay: unit.Duration(time.Millisecond)}
		})
		var storm sync.WaitGroup
		for g := range 12 {
			storm.Go(func() {
				for i := 0; ; i++ {
					what := []string{"echo", "exit 1", "answer-then-exit", "progress", "write garbage\n"}[(g+i)%5]
					if _, err := r.Run(t.Context(), Work{Meta: []Meta{{"do", what}}}); err != nil {
						if !errors.Is(err, ErrClosed) && !strings.Contains(err.Error(), "could not take it") {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		d.await(t, NoticeEnded, 10)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		storm.Wait()
		closeHost(t, r)
	}
}

// TestCoprocessBackoff: a broken program is not started again and again.
func TestCoprocessBackoff(t *testing.T) {
	c := Config{RestartDelay: unit.Duration(100 * time.Millisecond), MaxRestartDelay: unit.Duration(time.Second)}
	for n, want := range []time.Duration{1: 100, 2: 200, 3: 400, 4: 800, 5: 1000, 6: 1000, 1000: 1000} {
		if got := c.pause(n); n > 0 && want > 0 && got != want*time.Millisecond {
			t.Errorf("pause %d is %v", n, got)
		}
	}
	r, d := newTestPool(t, shSpec("exit 1"), func(o *Options) {
		o.Coprocess = Config{Size: 4, RestartDelay: unit.Duration(20 * time.Millisecond), MaxRestartDelay: unit.Duration(time.Hour)}
	})
	begin := time.Now()
	var units sync.WaitGroup
	for range 20 {
		units.Go(func() {
			for range 2 {
				if _, err := r.Run(t.Context(), Work{}); err == nil {
					t.Error("a unit was done")
				}
			}
		})
	}
	units.Wait()
	took := time.Since(begin)
	starts := len(d.of(NoticeStarted))
	// Four at first; then one at a time, each after twice the time.
	if most := 4 + bits.Len64(uint64(took/(20*time.Millisecond))); starts > most {
		t.Errorf("%d starts in %v", starts, took)
	}
}

func TestCommandAsRunner(t *testing.T) {
	h := newHost(t)
	r := New(Options{Host: h, Start: func() (proc.Spec, error) {
		return proc.Spec{Argv: sh(`echo "$PROCOPS_TURN $A"; cat; [ -z "$HANG" ] || sleep 1000`), Env: []string{"A=1", "PATH=" + os.Getenv("PATH"), "HANG=" + os.Getenv("HANG")}}, nil
	}})
	if err := r.Warm(t.Context()); err != nil {
		t.Error(err)
	}
	result, err := r.Run(t.Context(), Work{Input: []byte("in"), Meta: []Meta{{"turn", "5"}}})
	if err != nil || string(result.Output) != "5 1\nin" || result.Outcome != Success || result.Memory == 0 {
		t.Errorf("%+v, %q, %v", result, result.Output, err)
	}
	t.Setenv("HANG", "1")
	begun := make(chan struct{})
	var under sync.WaitGroup
	under.Go(func() {
		if result, err := r.Run(t.Context(), Work{OnStart: func() { close(begun) }}); err != nil || result.Outcome != Cancelled {
			t.Errorf("%+v, %v", result, err)
		}
	})
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
	under.Wait()
	if _, err := r.Run(t.Context(), Work{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestConfigCheck(t *testing.T) {
	var said []string
	report := func(err error, path ...string) { said = append(said, strings.Join(path, ".")+": "+err.Error()) }
	Config{RestartDelay: 2, MaxRestartDelay: 1}.Check(report)
	Config{}.filled().Check(report)
	if len(said) != 1 || said[0] != "restart_delay: restart_delay (2ns) is longer than max_restart_delay (1ns)" {
		t.Errorf("%q", said)
	}
}
