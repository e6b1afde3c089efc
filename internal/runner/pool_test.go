package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"procops/internal/proc"
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

// TestCoprocessMeta: what a co-process says about a unit beside its result.
func TestCoprocessMeta(t *testing.T) {
	for more, want := range map[string]string{
		`"meta":{"pages":3,"a":{"b":[1]}}`: `success  map[a:{"b":[1]} pages:3]`,
		`"meta":null`:                      "success  map[]",
		`"m":1`:                            "success  map[]",
		`"meta":"pages"`:                   `error its co-process has written "{\"type\":\"result\",\"id\":\"1\",\"meta\":\"pages\"}": its meta is no JSON object map[]`,
	} {
		t.Run(more, func(t *testing.T) {
			r, _ := newTestPool(t, shSpec(`echo '{"type":"hello","protocol":1}'; read -r x; echo '{"type":"result","id":"1",`+more+`}'; read -r x`))
			got := do(t, r, "")
			if text := fmt.Sprintf("%s %s %s", got.Outcome, got.Reason, got.Meta); text != want {
				t.Errorf("got %s, want %s", text, want)
			}
		})
	}
}
