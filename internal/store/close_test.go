package store

import (
	"testing"
	"time"
)

// TestCloseWaitsOnceForAHeldState: what is queued is not tried batch by batch
// when another process holds the state.
func TestCloseWaitsOnceForAHeldState(t *testing.T) {
	const patience = 500 * time.Millisecond
	dir := t.TempDir()
	s := openIn(t, dir, Options{BusyTimeout: patience})
	release := startHolder(t, dir)
	defer release()
	answers := make(chan error, queueLength)
	for range queueLength { // eight batches
		if err := s.Enqueue(func(*Tx) error { return nil }, func(err error) { answers <- err }); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 4*patience {
		t.Errorf("Close took %v beside a state that is held, want about %v", took, patience)
	}
	for range queueLength {
		if err := <-answers; err == nil {
			t.Fatal("an update was committed although the state was held")
		}
	}
}
