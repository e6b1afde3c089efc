package event

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bus carries the events of one procops process. The zero value is not usable;
// use NewBus. All methods may be called from any goroutine.
type Bus struct {
	source    string
	mu        sync.Mutex // held to change listeners, not to publish
	listeners atomic.Pointer[[]*listener]
}

type listener struct {
	pattern string
	call    func(Event)
}

// NewBus returns a bus whose events carry source, such as "supervise[4711]",
// unless they name their own.
func NewBus(source string) *Bus {
	return &Bus{source: source}
}

// Subscribe calls fn for each event whose type matches pattern (see Match), in
// the publisher's goroutine and before Publish returns. fn must not block, and
// must not wait for the publisher. The returned function ends the subscription;
// a call of fn that is under way may still finish after it.
func (b *Bus) Subscribe(pattern string, fn func(Event)) (cancel func()) {
	l := &listener{pattern: pattern, call: fn}
	b.change(func(now []*listener) []*listener { return append(now, l) })
	return func() {
		b.change(func(now []*listener) []*listener {
			return slices.DeleteFunc(now, func(x *listener) bool { return x == l })
		})
	}
}

// Publish hands e to everyone who listens to its type. A missing time or
// source is filled in. It returns when all subscribers have returned.
func (b *Bus) Publish(e Event) {
	if !b.listening(e.Type) {
		return
	}
	now := b.listeners.Load()
	e = b.Stamp(e)
	for _, l := range *now {
		if Match(l.pattern, e.Type) {
			l.call(e)
		}
	}
}

// Stamp fills in the time, to the microsecond, and the source where they are missing.
func (b *Bus) Stamp(e Event) Event {
	if e.Time.IsZero() {
		e.Time = time.Now().Truncate(time.Microsecond) // as fine as the log keeps it
	}
	if e.Source == "" {
		e.Source = b.source
	}
	return e
}

// listening reports whether anybody listens to a type.
func (b *Bus) listening(typ string) bool {
	now := b.listeners.Load()
	if now == nil {
		return false
	}
	for _, l := range *now {
		if Match(l.pattern, typ) {
			return true
		}
	}
	return false
}

// change swaps in a changed copy, so that Publish needs no lock.
func (b *Bus) change(edit func([]*listener) []*listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var now []*listener
	if p := b.listeners.Load(); p != nil {
		now = slices.Clone(*p)
	}
	now = edit(now)
	b.listeners.Store(&now)
}

// Match reports whether an event type matches a pattern. "*" stands for any
// run of characters, dots included; an empty pattern matches everything. So
// "supervise.*" matches "supervise.process.exited".
func Match(pattern, typ string) bool {
	if pattern == "" || pattern == "*" || pattern == typ {
		return true
	}
	star := strings.IndexByte(pattern, '*')
	switch {
	case star < 0:
		return false
	case star == len(pattern)-1: // most are, and publishing is to cost little
		return strings.HasPrefix(typ, pattern[:star])
	}
	parts := strings.Split(pattern, "*")
	if !strings.HasPrefix(typ, parts[0]) {
		return false
	}
	rest := typ[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, middle := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, middle)
		if i < 0 {
			return false
		}
		rest = rest[i+len(middle):]
	}
	return strings.HasSuffix(rest, last)
}
