package store

import (
	"context"
	"errors"
	"testing"
	"time"
)

// anyEvent looks for a recorded event.
func anyEvent(tx *Tx) (bool, error) {
	id, err := newestEvent(tx)
	return id > 0, err
}

// TestAwait: it sees what another store has written, long before its patience
// ends.
func TestAwait(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		s, err := Open(t.Context(), dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	here, there := open(), open()
	type answer struct {
		found bool
		err   error
	}
	got, looked := make(chan answer, 1), make(chan struct{}, 1000)
	go func() {
		found, err := here.Await(t.Context(), time.Hour, func(tx *Tx) (bool, error) {
			select {
			case looked <- struct{}{}:
			default:
			}
			return anyEvent(tx)
		})
		got <- answer{found, err}
	}()
	<-looked // it has seen that there is none
	err := there.Update(t.Context(), func(tx *Tx) error {
		_, err := tx.Exec("INSERT INTO events (time, type, source, subject) VALUES (1, 'a.b', '', '')")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case a := <-got:
		if !a.found || a.err != nil {
			t.Errorf("found %v, %v", a.found, a.err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it has not seen the write")
	}
}

// TestAwaitEnds: with its patience, with ctx and with an error of the look.
func TestAwaitEnds(t *testing.T) {
	s, err := Open(t.Context(), t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if found, err := s.Await(t.Context(), time.Millisecond, anyEvent); found || err != nil {
		t.Errorf("after its patience: %v, %v", found, err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := s.Await(ctx, time.Hour, anyEvent); !errors.Is(err, enough) {
		t.Errorf("after the end of ctx: %v", err)
	}
	if _, err := s.Await(t.Context(), time.Hour, func(*Tx) (bool, error) { return false, enough }); !errors.Is(err, enough) {
		t.Errorf("after an error: %v", err)
	}
}
