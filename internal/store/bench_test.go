package store

import (
	"errors"
	"sync"
	"testing"

	"procops/internal/event"
)

type benchData struct {
	PID int `json:"pid"`
}

var benchType = event.Define[benchData]("bench.done", "a benchmark's event")

const benchWriters = 8

// each shares b.N calls of fn among benchWriters goroutines.
func each(b *testing.B, fn func() error) {
	var wg sync.WaitGroup
	for i := range benchWriters {
		n := b.N / benchWriters
		if i < b.N%benchWriters {
			n++
		}
		wg.Go(func() {
			for range n {
				if err := fn(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func reportRate(b *testing.B) {
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkUpdate records one event in each update and waits for its commit.
func BenchmarkUpdate(b *testing.B) {
	s := openTest(b, Options{})
	b.ResetTimer()
	each(b, func() error {
		return s.Update(b.Context(), func(tx *Tx) error {
			tx.Emit(benchType.New("x", benchData{PID: 1}))
			return nil
		})
	})
	reportRate(b)
}

// BenchmarkEnqueue records one event in each update and waits for all at the
// end, and for the writer when it is too far behind.
func BenchmarkEnqueue(b *testing.B) {
	s := openTest(b, Options{})
	b.ResetTimer()
	each(b, func() error {
		emit := func(tx *Tx) error {
			tx.Emit(benchType.New("x", benchData{PID: 1}))
			return nil
		}
		err := s.Enqueue(emit, nil)
		if errors.Is(err, ErrBehind) {
			return s.Update(b.Context(), emit)
		}
		return err
	})
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	reportRate(b)
}

// BenchmarkOpen opens and closes a state directory that exists.
func BenchmarkOpen(b *testing.B) {
	dir := openTest(b, Options{}).path
	dir = dir[:len(dir)-len(File)]
	for b.Loop() {
		s, err := Open(b.Context(), dir, Options{})
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
