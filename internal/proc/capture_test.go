package proc

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestLongLine(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	const size = 10 << 20
	var total, pieces int
	var last Line
	s := Spec{Argv: []string{"perl", "-e", `print "x" x (10 << 20), "\nend\nrest"`}, Output: func(l Line) {
		if l.Partial || total > 0 && total < size {
			pieces++
			if len(l.Text) > MaxLine {
				t.Errorf("a piece of %d bytes", len(l.Text))
			}
		}
		if strings.Trim(string(l.Text), "x") == "" {
			total += len(l.Text)
			return
		}
		last = l
		last.Text = bytes.Clone(l.Text)
	}}
	p := mustStart(t, h, s)
	await(t, "gone", p.Gone())
	if total != size || pieces < size/MaxLine || string(last.Text) != "rest" || !last.Partial {
		t.Errorf("%d bytes in %d pieces, last %q", total, pieces, last.Text)
	}
}

func TestEveryByteArrives(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	out := newOutput()
	argv := []string{"perl", "-e", `srand(1); for (1..3000) { my $s = ""; $s .= chr(int(rand(256))) for 1..int(rand(300)); syswrite(STDOUT, $s) }`}
	p := mustStart(t, h, Spec{Argv: argv, Output: out.add})
	raw := sha256.New()
	q := mustStart(t, h, Spec{
		Argv: argv,
		Raw:  func(_ Stream, b []byte) { raw.Write(b) },
	})
	await(t, "gone", p.Gone())
	await(t, "gone", q.Gone())
	lines := sha256.Sum256([]byte(out.get(Stdout)))
	if !bytes.Equal(lines[:], raw.Sum(nil)) {
		t.Errorf("lines and bytes differ: %d bytes of lines", len(out.get(Stdout)))
	}
}

func TestSlowWriterOfOneLine(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	out := newOutput()
	// Longer than what is kept without a buffer, in small pieces.
	p := mustStart(t, h, Spec{Argv: []string{"perl", "-e", `$| = 1; for (1..9000) { syswrite(STDOUT, "y") } print "\n"`}, Output: out.add})
	await(t, "gone", p.Gone())
	if got := out.get(Stdout); got != strings.Repeat("y", 9000)+"\n" {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestAFloodIntoATail(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	tail := NewTail(64 << 10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	p := mustStart(t, h, Spec{Argv: []string{"sh", "-c", "yes 0123456789012345678901234567890123456789 | head -c 100000000"}, Output: tail.Add})
	await(t, "gone", p.Gone())
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 32<<20 {
		t.Errorf("memory has grown by %d bytes", grown)
	}
	if text := tail.Text(Stdout); len(text) > 64<<10 || !strings.HasPrefix(text, "0123456789") {
		t.Errorf("tail of %d bytes begins with %.20q", len(text), text)
	}
	t.Logf("%.0f MB/s into a tail", 100/time.Since(p.Started()).Seconds())
}

func TestASlowConsumerHoldsUpOnlyItsProgram(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	release := make(chan struct{})
	var once sync.Once
	blocked := make(chan struct{})
	p := mustStart(t, h, Spec{Argv: []string{"yes"}, Output: func(Line) {
		once.Do(func() { close(blocked) })
		<-release
	}})
	await(t, "first line", blocked)
	// The program waits for us, and can be ended all the same.
	stopped := make(chan error, 1)
	go func() { stopped <- p.Stop(t.Context(), Ladder{}) }()
	await(t, "end", p.Exited())
	close(release)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAPipeHeldOutsideTheGroupIsAbandoned(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true})
	out := newOutput()
	begin := time.Now()
	s := shSpec(`setsid sleep 1000 & echo done`)
	s.Output = out.add
	p := mustStart(t, h, s)
	await(t, "gone", p.Gone())
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	if got := out.get(Stdout); got != "done\n" {
		t.Errorf("got %q", got)
	}
}

func TestAFloodFromOutsideTheGroupIsAbandoned(t *testing.T) {
	h := newTestHost(t, HostOptions{Guard: true})
	p := mustStart(t, h, shSpec(`setsid yes & exit 0`))
	await(t, "gone", p.Gone())
}

func TestASlowConsumerGetsAllThereIs(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	n := 0
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	// More lines than can be consumed within abandonDelay, all in the pipe when the
	// program ends.
	p := mustStart(t, h, Spec{Argv: []string{"seq", "600"}, Output: func(Line) {
		<-tick.C
		n++
	}})
	await(t, "gone", p.Gone())
	if n != 600 {
		t.Errorf("got %d lines of 600", n)
	}
}

func TestTail(t *testing.T) {
	tail := NewTail(12)
	for _, text := range []string{"one", "two", "three", "four"} {
		tail.Add(Line{Stream: Stdout, Text: []byte(text)})
	}
	if got := tail.Text(Stdout); got != "three\nfour\n" {
		t.Errorf("got %q", got)
	}
	if got := tail.Lines(Stdout, 1); len(got) != 1 || got[0] != "four" {
		t.Errorf("last line %q", got)
	}
	if got := tail.Text(Stderr); got != "" || tail.Lines(Stderr, 0) != nil {
		t.Errorf("stderr %q", got)
	}
	tail.Add(Line{Stream: Stderr, Text: []byte(strings.Repeat("x", 100) + "end"), Partial: true})
	if got := tail.Text(Stderr); got != "xxxxxxxxxend" {
		t.Errorf("long line %q", got)
	}
	tail.Write(Stderr, []byte("0123456789ab\nc"))
	if got := tail.Text(Stderr); got != "c" {
		t.Errorf("after the cut %q", got)
	}
	var none Tail
	none.Add(Line{Stream: Stdout, Text: []byte("x")})
	if got := none.Text(Stdout); got != "" {
		t.Errorf("zero tail kept %q", got)
	}
}

// TestManyLinesAtOnce has the lines of a read delivered together: the same lines.
func TestManyLinesAtOnce(t *testing.T) {
	h := newTestHost(t, HostOptions{})
	var (
		mu     sync.Mutex
		got    = map[Stream][]byte{}
		calls  int
		lines  int
		script = `seq 1 100000; printf '\n\nno newline'; head -c 100000 /dev/zero >&2; echo >&2`
	)
	p := mustStart(t, h, Spec{
		Argv:   []string{"sh", "-c", script},
		Output: func(Line) { t.Error("a line came alone") },
		Lines: func(batch []Line) {
			mu.Lock()
			defer mu.Unlock()
			calls, lines = calls+1, lines+len(batch)
			for _, l := range batch {
				got[l.Stream] = append(got[l.Stream], l.Text...)
				if !l.Partial {
					got[l.Stream] = append(got[l.Stream], '\n')
				}
			}
		},
	})
	<-p.Gone()
	var want bytes.Buffer
	for i := range 100000 {
		fmt.Fprintln(&want, i+1)
	}
	want.WriteString("\n\nno newline")
	if !bytes.Equal(got[Stdout], want.Bytes()) {
		t.Errorf("stdout differs: %d bytes, want %d", len(got[Stdout]), want.Len())
	}
	if zeros := append(make([]byte, 100000), '\n'); !bytes.Equal(got[Stderr], zeros) {
		t.Errorf("stderr differs: %d bytes, want %d", len(got[Stderr]), len(zeros))
	}
	if calls*4 > lines {
		t.Errorf("%d lines in %d calls", lines, calls)
	}
}
