// Package broker says what a queue of tasks must be able to do. A message is
// claimed under a lease: while that is extended nobody else gets the message, and
// when it ends, because the worker has died, the message comes back. So each
// message is worked off at least once.
//
// Package conformance checks that a broker keeps these promises.
package broker

import (
	"context"
	"errors"
	"time"
)

// ErrLost says that a lease has ended and the message belongs to somebody else,
// or to nobody any more.
var ErrLost = errors.New("the lease of the task has ended")

// Message is what a broker keeps.
type Message struct {
	ID       string    // unique; a message whose ID is queued already is not queued again
	Type     string    // whoever claims names the types that he can work off
	Priority int       // lower comes first
	RunAt    time.Time // not before this; messages of one priority come in this order
	Body     []byte    // nothing that the broker looks into
}

// Lease is a message that was claimed. Only its holder may work it off.
type Lease struct {
	Message
	// Number counts the claims of the message, from 1. The holder of a lower number
	// has lost the message.
	Number   int64
	Until    time.Time // the end of the lease, unless it is extended
	Attempts int       // how often it came back by Nack with Failed
	Crashes  int       // how often its lease ended without a word
}

// Ask says what to claim.
type Ask struct {
	Types []string      // only these; at least one
	Max   int           // at most so many; at least one
	Lease time.Duration // how long nobody else gets them
}

// Again says when a message comes back, and why.
type Again struct {
	At     time.Time // not before this; the zero time: at once
	Failed bool      // an attempt has failed; otherwise it was not the message's fault
}

// Counts are numbers of messages.
type Counts struct {
	Ready     int // can be claimed now
	Scheduled int // wait for their time
	Leased    int // claimed
	Buried    int // given up
}

// Broker is a queue. Its methods may be called from any goroutine, and the same
// queue may be open in many processes, on as many hosts as the broker reaches.
type Broker interface {
	// Push queues messages, all or none, and returns when they survive the end of
	// the process.
	Push(ctx context.Context, messages []Message) error
	// Claim leases messages that are ready, in order of priority and time. It does
	// not wait: where nothing is ready it returns none.
	Claim(ctx context.Context, ask Ask) ([]Lease, error)
	// Await returns true when there may be something to claim, and false after
	// patience. It costs next to nothing while nothing happens.
	Await(ctx context.Context, types []string, patience time.Duration) (bool, error)
	// Extend makes leases end so long from now, and returns those that are lost.
	Extend(ctx context.Context, leases []Lease, by time.Duration) (lost []Lease, err error)
	// Ack removes a message that is done with.
	Ack(ctx context.Context, l Lease) error
	// Nack gives a message back.
	Nack(ctx context.Context, l Lease, again Again) error
	// Bury puts a message aside: nobody can claim it any more.
	Bury(ctx context.Context, l Lease) error
	// Count counts the messages of some types.
	Count(ctx context.Context, types []string) (Counts, error)
}
