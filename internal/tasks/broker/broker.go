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
	"iter"
	"time"
)

// ErrLost says that a lease has ended and the message belongs to somebody else,
// or to nobody any more.
var ErrLost = errors.New("the lease of the task has ended")

// ErrRefused says that a broker takes no new messages, but does the rest: it is full, for
// instance. It has queued none.
var ErrRefused = errors.New("it takes no new tasks")

// ErrDenied says that a broker has answered and done nothing: it does not know the password,
// for instance.
var ErrDenied = errors.New("it does nothing for us")

// ErrUnfit says that a broker cannot take such a message, however it does: it is too large,
// for instance.
var ErrUnfit = errors.New("it cannot take such a task")

// PartialError says that something could not be done with some messages; with the others it
// was.
type PartialError struct {
	IDs []string // of those with which it was not done
	Err error    // why
}

// Error returns why.
func (e *PartialError) Error() string { return e.Err.Error() }

// Unwrap returns why.
func (e *PartialError) Unwrap() error { return e.Err }

// Message is what a broker keeps.
type Message struct {
	ID       string    // unique; a message whose ID is queued already is not queued again
	Type     string    // whoever claims names the types that he can work off
	Priority int       // lower comes first
	RunAt    time.Time // not before this; messages of one priority come in this order
	Body     []byte    // nothing that the broker looks into

	// What has become of it so far. A new one has none of it; one that comes from another
	// broker brings it along.
	Number   int64 // how often it was claimed
	Attempts int   // how often it came back by Nack with Failed
	Crashes  int   // how often its lease ended without a word
	Buried   bool  // it was put aside, and is queued as such
}

// Lease is a message that was claimed. Only its holder may work it off. Its Number is
// that of this claim, from 1: the holder of a lower one has lost the message. Buried says
// where it was claimed from.
type Lease struct {
	Message
	Until  time.Time // the end of the lease, unless it is extended, by the clock of the broker
	Broker string    // where it comes from, if there are several
	Handle string    // what the broker calls this claim, where it has a name of its own
	Asked  time.Time // if not zero: when it was asked for, by the clock of this host
}

// State is where a message is in its broker.
type State string

// The states of a message.
const (
	StateReady     State = "ready"     // it can be claimed now
	StateScheduled State = "scheduled" // it waits for its time
	StateLeased    State = "leased"    // somebody has it
	StateBuried    State = "buried"    // it was put aside
)

// Ask says what to claim.
type Ask struct {
	Types []string      // only these; none: any
	Max   int           // at most so many; at least one
	Lease time.Duration // how long nobody else gets them

	// From says from which messages: those that are ready (also when it is empty), scheduled
	// or buried. One that was scheduled or buried is so again when its lease ends without a
	// word; that is no crash.
	From State
	IDs  []string // only these, whatever their types; none: any
}

// Again says when a message comes back, and why.
type Again struct {
	At     time.Time // not before this; the zero time: at once
	Failed bool      // an attempt has failed; otherwise it was not the message's fault
	Fresh  bool      // its attempts and crashes are forgotten
}

// Entry is a message as List shows it.
type Entry struct {
	Message
	State State
}

// Counts are numbers of messages.
type Counts struct {
	Ready     int // can be claimed now
	Scheduled int // wait for their time
	Leased    int // claimed
	Buried    int // given up
}

// Broker is a queue. Where a server cannot do it List, and Claim with From or IDs, are
// errors.ErrUnsupported. Its methods may be called from any goroutine, and the same
// queue may be open in many processes, on as many hosts as the broker reaches.
type Broker interface {
	// Push queues messages, all or none, and returns when they survive the end of
	// the process.
	Push(ctx context.Context, messages []Message) error
	// Claim leases messages, in order of priority and time. It does not wait: where there
	// are none it returns none.
	Claim(ctx context.Context, ask Ask) ([]Lease, error)
	// Await returns true when there may be something to claim, and false after
	// patience. It costs next to nothing while nothing happens.
	Await(ctx context.Context, types []string, patience time.Duration) (bool, error)
	// Extend makes leases end so long from now, and returns those that are lost.
	Extend(ctx context.Context, leases []Lease, by time.Duration) (lost []Lease, err error)
	// Ack removes messages that are done with, and returns those whose lease is lost.
	Ack(ctx context.Context, leases []Lease) (lost []Lease, err error)
	// Nack gives a message back, also one that was buried: it can be claimed again.
	Nack(ctx context.Context, l Lease, again Again) error
	// Bury puts a message aside: nobody gets it any more who does not ask for what is
	// buried.
	Bury(ctx context.Context, l Lease) error
	// Count counts the messages of some types; none: of all.
	Count(ctx context.Context, types []string) (Counts, error)
	// List goes through the messages of some types, none: of all, in no order. What is there
	// all the time comes once; what comes or goes meanwhile may be missing.
	List(ctx context.Context, types []string) iter.Seq2[Entry, error]
}
