package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"procops/internal/event"
)

func TestRetentionKeepsTheNewest(t *testing.T) {
	const keep = 500
	s := openTest(t, Options{KeepEvents: keep})
	const n = 3*pruneEvery + 10
	for range n {
		if err := s.Enqueue(func(tx *Tx) error { tx.Emit(event.Event{Type: "test.done"}); return nil }, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := emit(s, "last"); err != nil {
		t.Fatal(err)
	}
	err := s.View(t.Context(), func(tx *Tx) error {
		events, err := Events(tx, EventFilter{})
		if len(events) < keep || len(events) > keep+pruneEvery {
			t.Errorf("%d events are kept", len(events))
		}
		if last := events[len(events)-1]; last.ID != n+1 || last.Subject != "last" {
			t.Errorf("the newest is %+v", last)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestEventFilter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := openTest(t, Options{})
	err := s.Update(t.Context(), func(tx *Tx) error {
		for i, typ := range []string{"a.one", "a.two", "b.one", "b.two.three"} {
			tx.Emit(event.Event{Type: typ, Subject: fmt.Sprint(i % 2), Time: now.Add(time.Duration(i) * time.Minute)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		filter EventFilter
		want   []int64
	}{
		{EventFilter{}, []int64{1, 2, 3, 4}},
		{EventFilter{AfterID: 2}, []int64{3, 4}},
		{EventFilter{Types: []string{"a.*"}}, []int64{1, 2}},
		{EventFilter{Types: []string{"*.one", "b.two.three"}}, []int64{1, 3, 4}},
		{EventFilter{Types: []string{"[ab].one"}}, nil},
		{EventFilter{Types: []string{"?.one"}}, nil},
		{EventFilter{Subject: "1"}, []int64{2, 4}},
		{EventFilter{Since: now.Add(2 * time.Minute)}, []int64{3, 4}},
		{EventFilter{Limit: 2}, []int64{1, 2}},
		{EventFilter{Limit: 2, Last: true}, []int64{3, 4}},
		{EventFilter{Limit: 1, Last: true, Types: []string{"a.*"}}, []int64{2}},
	} {
		err := s.View(t.Context(), func(tx *Tx) error {
			events, err := Events(tx, test.filter)
			var ids []int64
			for _, e := range events {
				ids = append(ids, e.ID)
			}
			if !slices.Equal(ids, test.want) {
				t.Errorf("%+v selects %v, want %v", test.filter, ids, test.want)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestFollowStartsWithTheNewest follows from the newest events on, and in a
// filter that most events do not match.
func TestFollowStartsWithTheNewest(t *testing.T) {
	s := openTest(t, Options{})
	for i := range 2500 {
		subject := fmt.Sprint(i % 10)
		if err := s.Enqueue(func(tx *Tx) error { tx.Emit(event.Event{Type: "test.done", Subject: subject}); return nil }, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := emit(s, "3"); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	var got []int64
	err := s.Follow(t.Context(), EventFilter{Subject: "3", Limit: 2, Last: true}, func(events []event.Event) error {
		for _, e := range events {
			got = append(got, e.ID)
		}
		if len(got) > 3 {
			return enough
		}
		return errors.Join(emit(s, "4"), emit(s, "3"))
	})
	if !errors.Is(err, enough) || !slices.Equal(got, []int64{2494, 2501, 2503, 2505}) {
		t.Errorf("followed %v, ended with %v", got, err)
	}
}

func TestFollowDeliversALongLogInChunks(t *testing.T) {
	s := openTest(t, Options{})
	const n = 2*followChunk + 5
	for range n {
		if err := s.Enqueue(func(tx *Tx) error { tx.Emit(event.Event{Type: "test.done"}); return nil }, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := emit(s, "last"); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	next := int64(1)
	err := s.Follow(t.Context(), EventFilter{}, func(events []event.Event) error {
		for _, e := range events {
			if e.ID != next {
				t.Errorf("event %d came instead of %d", e.ID, next)
			}
			next = e.ID + 1
		}
		if next > n+1 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Error(err)
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	s := openTest(t, Options{})
	cause := errors.New("that will do")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Follow(ctx, EventFilter{}, func([]event.Event) error { return nil }) }()
	cancel(cause)
	select {
	case err := <-ended:
		if !errors.Is(err, cause) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("following went on")
	}
}
