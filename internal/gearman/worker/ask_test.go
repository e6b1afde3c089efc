package worker

import (
	"bytes"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"procops/internal/event"
	"procops/internal/gearman"
	"procops/internal/gearman/wire"
)

// TestPlacesGoRound: three connections share two places, and each always has a job. None of
// them keeps a place while another one waits for it.
func TestPlacesGoRound(t *testing.T) {
	f := coprocess(`"type":"result","output":"out"`)
	f.Coprocess.Size, f.Concurrency = 1, 1
	w := start(t, gearman.Config{Concurrency: 2, Functions: map[string]gearman.Function{"f": f, "g": f, "h": f}})
	const enough = 50
	var (
		counts [3]atomic.Int64
		done   = make(chan struct{}, len(counts)*enough)
	)
	for i := range counts {
		p := w.accept()
		p.want(wire.CanDo)
		go func() {
			for {
				packet, err := p.reader.Next()
				if err != nil {
					return
				}
				if packet.Type != wire.GrabJobAll {
					continue
				}
				if counts[i].Add(1) == enough {
					done <- struct{}{}
				}
				assign, err := wire.Append(nil, wire.Response, wire.JobAssignUniq, "H:1", []string{"f", "g", "h"}[i], "", "")
				if err != nil {
					return
				}
				if _, err := p.Write(assign); err != nil {
					return
				}
			}
		}()
	}
	for range counts {
		select {
		case <-done:
		case <-time.After(deadline):
			t.Fatal("a connection gets no place")
		}
	}
	var most []int64
	for i := range counts {
		most = append(most, counts[i].Load())
	}
	if slices.Max(most) > 20*slices.Min(most) {
		t.Errorf("jobs of the connections: %d", most)
	}
	w.cancel()
	w.wait()
}

// TestAsksWithItsAnswer: while there is work the answer to a job and the question for the
// next come in one piece, and nobody is asked twice before the worker sleeps.
func TestAsksWithItsAnswer(t *testing.T) {
	w := start(t, one(coprocess(`"type":"result","output":"out"`)))
	p := w.accept("f")
	p.give("H:1", "f", "in")
	both := make([]byte, 4096)
	n, err := p.Read(both)
	if err != nil {
		t.Fatal(err)
	}
	want, err := wire.Append(nil, wire.Request, wire.WorkComplete, "H:1", "out")
	if err == nil {
		want, err = wire.Append(want, wire.Request, wire.GrabJobAll)
	}
	if err != nil || !bytes.Equal(both[:n], want) {
		t.Errorf("the server gets %q, wants %q (%v)", both[:n], want, err)
	}
	p.say(wire.NoJob)
	p.want(wire.PreSleep)
	p.say(wire.Noop)
	p.sleep()
}

// TestOneOfManyFailures: while a server is not there the worker goes on to try, and says so
// once.
func TestOneOfManyFailures(t *testing.T) {
	w := start(t, one(shell("cat")))
	tries := make(chan struct{}, 1000)
	w.bus.Subscribe(eventConnect.Name(), func(event.Event) { tries <- struct{}{} })
	if err := w.listener.Close(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		select {
		case <-tries:
		case <-time.After(deadline):
			t.Fatalf("the worker gives up: %q", w.types())
		}
	}
	w.cancel()
	w.wait()
	var told int
	for _, typ := range w.types() {
		if typ == "failed" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d failures are told", told)
	}
}
