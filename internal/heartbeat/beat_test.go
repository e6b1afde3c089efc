package heartbeat

import (
	"errors"
	"maps"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/internal/fault"
	"procops/internal/unit"
)

func TestBeatIsRecorded(t *testing.T) {
	w := newWorld(t, Config{})
	w.must(w.Attach(t.Context(), "x", Target{}))
	sign := Sign{
		Client: Client{PID: 42, Uptime: 1500 * time.Millisecond, Memory: 1 << 20},
		Data:   map[string]any{"rows": "12", "ok": true},
	}
	for number := int64(1); number <= 3; number++ {
		receipt, err := w.Beat(t.Context(), "x", sign)
		w.must(err)
		if receipt.Number != number || receipt.Coalesced || receipt.Created || !receipt.Time.Equal(w.clock.now) {
			t.Errorf("receipt %+v", receipt)
		}
		w.clock.move(time.Minute)
	}
	all, err := w.All(t.Context(), nil)
	w.must(err)
	last := all[0].Last
	if last.Number != 3 || last.Client != sign.Client || last.Outcome != Good || !maps.Equal(last.Data, sign.Data) ||
		!last.Time.Equal(w.clock.now.Add(-time.Minute)) {
		t.Errorf("last beat %+v", last)
	}
	// A later beat without data has none of the earlier one's.
	w.beat("x")
	all, err = w.All(t.Context(), nil)
	w.must(err)
	if last := all[0].Last; last.Data != nil || last.Client != (Client{}) {
		t.Errorf("last beat %+v", last)
	}
}

func TestBeatOfUnknownName(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"backup": {}}})
	_, err := w.Beat(t.Context(), "bakcup", Sign{})
	wantFault(t, err, fault.NotFound, `did you mean "backup"?`)
	_, err = w.Beat(t.Context(), "../x", Sign{Create: true})
	wantFault(t, err, fault.Usage)
	receipt, err := w.Beat(t.Context(), "new", Sign{Create: true})
	w.must(err)
	if !receipt.Created || receipt.Number != 1 {
		t.Errorf("receipt %+v", receipt)
	}
	receipt, err = w.Beat(t.Context(), "new", Sign{Create: true})
	w.must(err)
	if receipt.Created || receipt.Number != 2 {
		t.Errorf("receipt %+v", receipt)
	}
}

func TestFastBeats(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{
		"soft": {MinInterval: unit.Duration(time.Second), OnFast: Coalesce},
		"hard": {MinInterval: unit.Duration(time.Second), OnFast: Refuse},
	}})
	w.beat("soft")
	w.beat("hard")
	first := w.clock.now
	w.clock.move(999 * time.Millisecond)
	receipt, err := w.Beat(t.Context(), "soft", Sign{})
	w.must(err)
	if !receipt.Coalesced || receipt.Number != 1 || !receipt.Time.Equal(first) {
		t.Errorf("receipt %+v", receipt)
	}
	_, err = w.Beat(t.Context(), "hard", Sign{})
	wantFault(t, err, fault.Conflict, `cannot beat "hard": the last beat was only 999ms ago, min_interval is 1s`)
	w.clock.move(time.Millisecond)
	if n := w.beat("soft"); n != 2 {
		t.Errorf("number %d", n)
	}
	if n := w.beat("hard"); n != 2 {
		t.Errorf("number %d", n)
	}
	// A clock that was set back must not refuse beats until it has caught up.
	w.clock.move(-time.Hour)
	if n := w.beat("hard"); n != 3 {
		t.Errorf("number %d", n)
	}
	all, err := w.All(t.Context(), nil)
	w.must(err)
	if soft := all[1]; soft.Coalesced != 1 {
		t.Errorf("%d beats were counted as too fast", soft.Coalesced)
	}
}

// TestBeatsAreNumberedOnce beats from many goroutines.
func TestBeatsAreNumberedOnce(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"x": {}}})
	const goroutines, each = 8, 50
	var (
		mu   sync.Mutex
		seen = map[int64]bool{}
		wg   sync.WaitGroup
	)
	for range goroutines {
		wg.Go(func() {
			for range each {
				receipt, err := w.Beat(t.Context(), "x", Sign{})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				seen[receipt.Number] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != goroutines*each {
		t.Errorf("%d different numbers for %d beats", len(seen), goroutines*each)
	}
}

func TestReadClient(t *testing.T) {
	client, err := ReadClient(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if client.PID != os.Getpid() || client.Memory < 1<<20 || client.Uptime < 0 || client.Uptime > time.Hour {
		t.Errorf("%+v", client)
	}
	machine, err := ReadClient(1)
	if err != nil {
		t.Fatal(err)
	}
	if machine.Uptime < client.Uptime {
		t.Errorf("process 1 has run for %s, this one for %s", machine.Uptime, client.Uptime)
	}
	if _, err := ReadClient(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v, want one that says that there is no such process", err)
	}
}

// TestReadClientWithOddName reads a process whose name looks like the fields
// that follow it.
func TestReadClientWithOddName(t *testing.T) {
	var name [16]byte
	copy(name[:], "a) S 1 2 (b")
	setName(t, name)
	client, err := ReadClient(os.Getpid())
	if err != nil || client.Memory < 1<<20 {
		t.Errorf("%+v, %v", client, err)
	}
}

// setName names the main thread of this process until the end of the test.
func setName(t *testing.T, name [16]byte) {
	t.Helper()
	path := "/proc/self/comm"
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text []byte) {
		f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(text)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write(name[:])
	t.Cleanup(func() { write(before) })
}

func BenchmarkBeat(b *testing.B) {
	w := newWorld(b, Config{Heartbeats: map[string]Target{"x": {}}})
	client, err := ReadClient(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := w.Beat(b.Context(), "x", Sign{Client: client}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestBeatOfAFailure(t *testing.T) {
	w := newWorld(t, Config{Heartbeats: map[string]Target{"a": {MinInterval: unit.Duration(time.Hour), OnFast: Refuse}}})
	w.beat("a")
	for why, want := range map[string]string{"": "said that it failed, 0s ago", "no database": "no database, 0s ago"} {
		receipt, err := w.Beat(t.Context(), "a", Sign{Failed: true, Why: why})
		w.must(err)
		if receipt.Coalesced {
			t.Error("a failure came too fast")
		}
		if k := w.knockOne("a"); k.Status != Critical || k.Message != want {
			t.Errorf("%s %q, want %q", k.Status, k.Message, want)
		}
	}
	_, err := w.Beat(t.Context(), "a", Sign{Failed: true, Why: strings.Repeat("é", 100_000)})
	w.must(err)
	if k := w.knockOne("a"); k.Message != strings.Repeat("é", messageKept/2)+", 0s ago" {
		t.Errorf("%d bytes of a message are kept", len(k.Message))
	}
	w.clock.move(time.Hour)
	w.beat("a")
	if k := w.knockOne("a"); k.Status != OK {
		t.Errorf("%s %q after a beat", k.Status, k.Message)
	}
}
