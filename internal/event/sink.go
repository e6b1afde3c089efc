package event

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// Sink listens to a bus without ever blocking it: events wait in a bounded
// queue for one goroutine, the sink's own; when the queue is full they are
// dropped and counted.
type Sink struct {
	cancel  func()
	mu      sync.RWMutex // guards closing the queue against a late send
	queue   chan Event
	closed  bool
	done    chan struct{}
	dropped atomic.Uint64
}

// NewSink starts a sink that calls handle once with each event whose type matches one of
// the patterns, one at a time and in order. capacity is the length of the queue, at
// least 1. Close ends it.
func NewSink(bus *Bus, patterns []string, capacity int, handle func(Event)) *Sink {
	s := &Sink{queue: make(chan Event, max(1, capacity)), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for e := range s.queue {
			handle(e)
		}
	}()
	var cancels []func()
	for i, pattern := range patterns {
		cancels = append(cancels, bus.Subscribe(pattern, func(e Event) {
			// The first that matches counts: an event is heard once.
			if !slices.ContainsFunc(patterns[:i], func(p string) bool { return Match(p, e.Type) }) {
				s.offer(e)
			}
		}))
	}
	s.cancel = func() {
		for _, cancel := range cancels {
			cancel()
		}
	}
	return s
}

// Done is closed when the sink has been closed and its handler has returned for the last
// time.
func (s *Sink) Done() <-chan struct{} { return s.done }

// Dropped returns how many events found the queue full.
func (s *Sink) Dropped() uint64 { return s.dropped.Load() }

// Close stops listening and waits until what is queued has been handled, or
// until ctx ends; then it returns ctx's error and the goroutine ends as soon as
// its handler returns. Close may be called twice.
func (s *Sink) Close(ctx context.Context) error {
	s.cancel()
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.queue)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Sink) offer(e Event) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return
	}
	select {
	case s.queue <- e:
	default:
		s.dropped.Add(1)
	}
}
