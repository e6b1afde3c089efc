package logging

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a writer that blocks until it is opened.
type gate struct {
	entered chan struct{} // gets one for each write that has begun
	open    chan struct{}
	mu      sync.Mutex
	got     bytes.Buffer
}

func newGate() *gate {
	return &gate{entered: make(chan struct{}, 1000), open: make(chan struct{})}
}

func (g *gate) Write(p []byte) (int, error) {
	g.entered <- struct{}{}
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got.Write(p)
}

func line(text string) func([]byte) []byte {
	return func(dst []byte) []byte { return append(append(dst, text...), '\n') }
}

func gapNotice(dst []byte, dropped uint64) []byte {
	return fmt.Appendf(dst, "gap %d\n", dropped)
}

func closeQueue(t *testing.T, q *Queue) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return q.Close(ctx)
}

func TestQueueWritesAllInOrder(t *testing.T) {
	var out bytes.Buffer
	q := NewQueue(&out, 1<<20)
	var want strings.Builder
	for i := range 10_000 {
		text := strconv.Itoa(i)
		for !q.Append(line(text)) {
			t.Fatalf("record %d was dropped although there is room", i)
		}
		fmt.Fprintln(&want, text)
	}
	if err := closeQueue(t, q); err != nil {
		t.Fatal(err)
	}
	if out.String() != want.String() {
		t.Errorf("got %d bytes, want %d, in order", out.Len(), want.Len())
	}
	if q.Dropped() != 0 {
		t.Errorf("dropped %d", q.Dropped())
	}
}

func TestQueueKeepsTheOrderOfEachOfManyWriters(t *testing.T) {
	var out bytes.Buffer
	q := NewQueue(&out, 64<<20)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := range 5_000 {
				q.Append(func(dst []byte) []byte { return fmt.Appendf(dst, "%d %d\n", w, i) })
			}
		})
	}
	writers.Wait()
	if err := closeQueue(t, q); err != nil {
		t.Fatal(err)
	}
	var next [8]int
	for text := range strings.Lines(out.String()) {
		var w, i int
		if _, err := fmt.Sscanf(text, "%d %d\n", &w, &i); err != nil || i != next[w] {
			t.Fatalf("line %q: want number %d (%v)", text, next[w], err)
		}
		next[w]++
	}
	for w, n := range next {
		if n != 5_000 {
			t.Errorf("writer %d: %d lines arrived", w, n)
		}
	}
}

func TestQueueNeverBlocksOnAStoppedReader(t *testing.T) {
	g := newGate()
	q := NewQueue(g, 1000)
	q.OnGap = gapNotice
	q.Append(line("first"))
	<-g.entered // "first" is on its way and stuck
	kept := 0
	for i := range 500 {
		if q.Append(line(fmt.Sprintf("record %03d", i))) {
			kept++
		}
	}
	if want := (1000 - len("first\n")) / len("record 000\n"); kept != want {
		t.Errorf("kept %d records in 1000 bytes, want %d", kept, want)
	}
	if q.Dropped() != uint64(500-kept) {
		t.Errorf("dropped %d, want %d", q.Dropped(), 500-kept)
	}
	close(g.open)
	<-g.entered
	if err := closeQueue(t, q); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(g.got.String()), "\n")
	if lines[0] != "first" || len(lines) != kept+2 {
		t.Fatalf("got %d lines, want first, %d records and a notice", len(lines), kept)
	}
	if want := fmt.Sprintf("gap %d", 500-kept); lines[len(lines)-1] != want {
		t.Errorf("last line %q, want %q", lines[len(lines)-1], want)
	}
}

func TestQueueTellsOfAGapWhereItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		q := NewQueue(g, 12)
		q.OnGap = gapNotice
		q.Append(line("a"))
		synctest.Wait()
		for _, text := range []string{"bbbb", "cccc", "dddd", "e"} {
			q.Append(line(text)) // a and b and c are 12 bytes
		}
		close(g.open)
		synctest.Wait()
		q.Append(line("f"))
		if err := q.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := g.got.String(), "a\nbbbb\ncccc\ngap 2\nf\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

func TestQueueDropsARecordLargerThanItself(t *testing.T) {
	var out bytes.Buffer
	q := NewQueue(&out, 10)
	q.OnGap = gapNotice
	if q.Append(line("this is too long")) {
		t.Error("accepted")
	}
	if err := closeQueue(t, q); err != nil {
		t.Fatal(err)
	}
	if out.String() != "gap 1\n" {
		t.Errorf("got %q", out.String())
	}
}

// shortWriter takes the given number of bytes, then fails; when room grows it
// goes on.
type shortWriter struct {
	room int
	got  bytes.Buffer
	err  error
}

func (w *shortWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	w.got.Write(p[:n])
	if n < len(p) {
		return n, w.err
	}
	return n, nil
}

func TestQueueKeepsLinesWholeWhenTheDiskIsFull(t *testing.T) {
	for room := range 40 {
		synctest.Test(t, func(t *testing.T) {
			w := &shortWriter{room: room, err: syscall.ENOSPC}
			q := NewQueue(w, 1<<20)
			q.OnGap = gapNotice
			var failures []error
			q.OnError = func(err error) { failures = append(failures, err) }
			for i := range 6 {
				q.Append(line(fmt.Sprintf("line %d", i)))
				synctest.Wait()
			}
			if !errors.Is(q.Err(), syscall.ENOSPC) {
				t.Fatalf("room %d: error %v", room, q.Err())
			}
			lost := q.Dropped()
			w.room = 1 << 20
			q.Append(line("line 6"))
			synctest.Wait()
			q.Append(line("line 7"))
			if err := q.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			whole, told := 0, uint64(0)
			for text := range strings.Lines(w.got.String()) {
				var n uint64
				if _, err := fmt.Sscanf(text, "gap %d\n", &n); err == nil {
					told += n
				} else if len(text) != len("line 0\n") || !strings.HasPrefix(text, "line ") {
					t.Errorf("room %d: torn line %q in %q", room, text, w.got.String())
				} else {
					whole++
				}
			}
			if whole+int(lost) != 8 || told != lost || len(failures) != 1 {
				t.Errorf("room %d: %d whole, %d lost, %d told, %d failures told in %q", room, whole, lost, told, len(failures), w.got.String())
			}
		})
	}
}

func TestQueueGivesUpOnAReaderThatIsGone(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	told := make(chan error, 10)
	q := NewQueue(w, 1<<20)
	q.OnError = func(err error) { told <- err }
	q.Append(line("x"))
	if err := <-told; !errors.Is(err, syscall.EPIPE) {
		t.Errorf("told of %v", err)
	}
	for range 100 {
		if q.Append(line("y")) {
			t.Fatal("accepted a record for nobody")
		}
	}
	if q.Dropped() != 101 {
		t.Errorf("dropped %d", q.Dropped())
	}
	if err := closeQueue(t, q); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("close: %v", err)
	}
}

func TestQueueCloseGivesUpWithItsContext(t *testing.T) {
	g := newGate()
	q := NewQueue(g, 1000)
	q.Append(line("stuck"))
	<-g.entered
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := q.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close of a stuck queue: %v", err)
	}
	if q.Append(line("late")) {
		t.Error("a closed queue took a record")
	}
	close(g.open)
	if err := closeQueue(t, q); err != nil {
		t.Errorf("second close: %v", err)
	}
	if g.got.String() != "stuck\n" {
		t.Errorf("got %q", g.got.String())
	}
}

func TestQueueAtRestHasNoGoroutineAndNoLargeBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := NewQueue(io.Discard, 1<<20)
		for range 1000 {
			q.Append(line(strings.Repeat("x", 500)))
		}
		synctest.Wait()
		// The bubble ends only when all goroutines in it have ended, although
		// the queue is never closed.
		if n := cap(q.pending) + cap(q.spare); n > 2*keptIdle {
			t.Errorf("keeps %d bytes", n)
		}
	})
}

// TestQueueHoldsUpForAMoment has a writer stand still while somebody who is
// patient appends.
func TestQueueHoldsUpForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		q := NewQueue(g, 1000)
		const patience = time.Second
		waits := func(want time.Duration) {
			t.Helper()
			begun := time.Now()
			q.Await(patience)
			if took := time.Since(begun); took != want {
				t.Errorf("waited %v, want %v", took, want)
			}
		}
		fill := func(n int) { q.Append(line(strings.Repeat("x", n-1))) }
		fill(500)
		waits(0) // half of it is free
		fill(1)
		waits(patience)
		waits(0)             // not again
		g.open <- struct{}{} // 500 bytes are written, 1 is left
		synctest.Wait()
		fill(600)
		time.AfterFunc(patience/2, func() { close(g.open) })
		waits(patience / 2)
		if q.Dropped() != 0 || q.AppendAll(3, func(dst []byte, i int) []byte { return fmt.Appendln(dst, i) }) != 3 {
			t.Errorf("dropped %d", q.Dropped())
		}
		if err := q.Close(t.Context()); err != nil || !strings.HasSuffix(g.got.String(), "x\n0\n1\n2\n") {
			t.Errorf("got %q, %v", g.got.String(), err)
		}
		waits(0)
	})
}

// TestQueueLetsGoWhoWaits has the writer break, and the queue closed, while
// somebody waits for room.
func TestQueueLetsGoWhoWaits(t *testing.T) {
	for name, end := range map[string]func(*Queue, *io.PipeReader){
		"the reader goes": func(_ *Queue, r *io.PipeReader) { _ = r.CloseWithError(syscall.EPIPE) },
		"it is closed":    func(q *Queue, _ *io.PipeReader) { q.close() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				q := NewQueue(w, 10)
				q.Append(line("12345678"))
				begun := time.Now()
				time.AfterFunc(time.Second, func() { end(q, r) })
				q.Await(time.Hour)
				if took := time.Since(begun); took != time.Second {
					t.Errorf("waited %v", took)
				}
				_ = r.Close()
				synctest.Wait()
			})
		})
	}
}

func TestQueueAppendDoesNotAllocate(t *testing.T) {
	q := NewQueue(io.Discard, 1<<20)
	text := bytes.Repeat([]byte("x"), 100)
	average := testing.AllocsPerRun(20_000, func() {
		q.Append(func(dst []byte) []byte { return append(append(dst, text...), '\n') })
	})
	if average > 0 {
		t.Errorf("%v allocations a record", average)
	}
	if err := closeQueue(t, q); err != nil {
		t.Fatal(err)
	}
}

func benchmarkQueue(b *testing.B, w io.Writer) {
	b.Helper()
	text := bytes.Repeat([]byte("x"), 100)
	q := NewQueue(w, 8<<20)
	b.SetBytes(101)
	b.ReportAllocs()
	for b.Loop() {
		for !q.Append(func(dst []byte) []byte { return append(append(dst, text...), '\n') }) {
			runtime.Gosched()
		}
	}
	if err := q.Close(context.Background()); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkQueueToNowhere(b *testing.B) { benchmarkQueue(b, io.Discard) }

func BenchmarkQueueToRotatingFile(b *testing.B) {
	f, err := OpenFile(b.TempDir()+"/x.log", Rotation{MaxSize: 100 << 20, MaxFiles: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	benchmarkQueue(b, f)
}
