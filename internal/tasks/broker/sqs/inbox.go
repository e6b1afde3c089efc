package sqs

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"procops/internal/tasks/broker"
)

const (
	// proof is how long a poll must have been waiting to prove that the queue is empty: a
	// shorter one asks some of SQS's servers, and not all.
	proof = time.Second
	// longestHold is how long a message is kept that nobody claims after it has arrived.
	longestHold = 2 * time.Second
	// fresh is how old a lease may be that is claimed without being extended first.
	fresh = 200 * time.Millisecond
	// longestBounce is the longest time until a message of a foreign type comes again.
	longestBounce = 5 * time.Minute
)

// inbox receives messages from one queue: one poll at a time, for all who wait.
type inbox struct {
	box    *box
	format Format
	lease  time.Duration // when nobody has said another
	resend func(ctx context.Context, arrived []arrival, delays []time.Duration) error
	reject func(ctx context.Context, m *types.Message, why error) error

	stop context.Context // its end ends what runs
	work sync.WaitGroup

	mu      sync.Mutex
	arrived []arrival       // and not claimed yet
	poll    *poll           // nil: there is none
	known   map[string]bool // the types that somebody here has ever asked for; "" for any
	room    chan struct{}   // told when fewer have arrived
}

// arrival is a message that has arrived, and the text that it had.
type arrival struct {
	broker.Lease
	text string
}

// poll is a call that waits for messages.
type poll struct {
	ask     broker.Ask
	begin   sync.Once
	started chan struct{} // closed when the queue is known, or the poll has ended
	since   time.Time     // when the newest call began then; long ago, where there is no room for messages
	done    chan struct{} // closed at its end
	found   bool          // then: something has arrived
	err     error
}

// take returns what has arrived and was asked for.
func (in *inbox) take(ask broker.Ask) (taken []broker.Lease) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.arrived = slices.DeleteFunc(in.arrived, func(a arrival) bool {
		if len(taken) == ask.Max || !wanted(ask.Types, a.Type) {
			return false
		}
		taken = append(taken, a.Lease)
		return true
	})
	in.tellRoom()
	return taken
}

// tellRoom tells a poll that waits for room to look again.
func (in *inbox) tellRoom() {
	select {
	case in.room <- struct{}{}:
	default:
	}
}

// has returns how many messages of the types have arrived.
func (in *inbox) has(types []string) (n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, a := range in.arrived {
		if wanted(types, a.Type) {
			n++
		}
	}
	return n
}

func wanted(types []string, typ string) bool { return len(types) == 0 || slices.Contains(types, typ) }

// wait returns the poll that waits now; it begins one where there is none.
func (in *inbox) wait(ask broker.Ask) *poll {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.poll != nil {
		return in.poll
	}
	if ask.Lease == 0 {
		ask.Lease = in.lease
	}
	p := &poll{ask: ask, started: make(chan struct{}), done: make(chan struct{})}
	in.poll = p
	in.work.Go(func() { in.run(p) })
	return p
}

// learn notes which types are asked for here.
func (in *inbox) learn(types []string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(types) == 0 {
		types = []string{""}
	}
	for _, t := range types {
		in.known[t] = true
	}
}

// used reports whether anything was ever asked for here.
func (in *inbox) used() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.known) > 0
}

// knows reports whether somebody here works off a type, if perhaps not now.
func (in *inbox) knows(typ string) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.known[""] || in.known[typ]
}

// search lets a poll wait until something arrives, or the queue is proven to be empty, but
// for no longer than patience.
func (in *inbox) search(ctx context.Context, ask broker.Ask, patience time.Duration) (found bool, err error) {
	if patience <= 0 {
		in.wait(ask)
		return false, nil
	}
	p := in.wait(ask)
	if _, err := p.await(ctx, p.started, callTimeout); err != nil {
		return false, err
	}
	in.mu.Lock()
	empty := p.since.Add(min(proof, patience))
	in.mu.Unlock()
	return p.await(ctx, p.done, time.Until(empty))
}

// await waits for something of a poll to be closed. It returns true when that was the end
// of a poll which has brought something; the error is that of the poll.
func (p *poll) await(ctx context.Context, closed <-chan struct{}, patience time.Duration) (found bool, err error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	select {
	case <-p.done:
		return p.found, p.err
	default:
		return false, nil
	}
}

// run looks for the queue, lets the poll wait, and ends it.
func (in *inbox) run(p *poll) {
	if _, p.err = in.box.address(in.stop); p.err == nil {
		for in.turn(p) {
		}
	}
	in.mu.Lock()
	in.poll = nil
	in.mu.Unlock()
	close(p.done)
	p.begin.Do(func() { close(p.started) }) // after the end, which who waits for a beginning must not miss
}

// turn waits until something arrives, or nothing for the longest time that there is; again
// says that what has arrived was not for us.
func (in *inbox) turn(p *poll) (again bool) {
	room := in.makeRoom(p)
	if room == 0 {
		return false
	}
	messages, err := in.box.receive(in.stop, room, p.ask.Lease, longestPoll)
	mine, failed := in.sort(messages, p.ask.Lease)
	p.err = errors.Join(err, failed)
	if p.found = len(mine) > 0; p.found {
		in.mu.Lock()
		in.arrived = append(in.arrived, mine...)
		in.mu.Unlock()
		in.work.Go(func() { in.handBack(mine, min(longestHold, p.ask.Lease/2)) })
	}
	return p.err == nil && !p.found && len(messages) > 0
}

// makeRoom waits until fewer messages have arrived than the poll asks for, and returns how
// many fewer; 0 when in has stopped.
func (in *inbox) makeRoom(p *poll) (room int) {
	for {
		in.mu.Lock()
		if room = p.ask.Max - len(in.arrived); room > 0 {
			p.since = time.Now()
		}
		in.mu.Unlock()
		p.begin.Do(func() { close(p.started) })
		if room > 0 {
			return room
		}
		select {
		case <-in.room:
		case <-in.stop.Done():
			return 0
		}
	}
}

// sort returns the messages that can be worked off, and sends the others again: those that
// are early, and those of types that nobody here works off. What is no message of ours is
// rejected.
func (in *inbox) sort(messages []types.Message, lease time.Duration) (mine []arrival, err error) {
	var (
		others []arrival
		delays []time.Duration
		until  = time.Now().Add(lease)
	)
	for i := range messages {
		a, bad := read(in.format, &messages[i], until)
		switch {
		case bad != nil:
			err = errors.Join(err, in.reject(in.stop, &messages[i], bad))
		case time.Until(a.RunAt) > 0:
			others, delays = append(others, a), append(delays, time.Until(a.RunAt))
		case !in.knows(a.Type):
			others, delays = append(others, a), append(delays, bounce(a.Number))
		default:
			mine = append(mine, a)
		}
	}
	if len(others) > 0 {
		err = errors.Join(err, in.resend(in.stop, others, delays))
	}
	return mine, err
}

// bounce returns when a message of a foreign type comes again that was received so often.
func bounce(received int64) time.Duration {
	return min(longestBounce, time.Second<<min(max(0, received-1), 16))
}

// handBack gives messages back that nobody has claimed for a while.
func (in *inbox) handBack(arrived []arrival, hold time.Duration) {
	timer := time.NewTimer(hold)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-in.stop.Done():
	}
	if left := in.leave(arrived); len(left) > 0 {
		// Where that fails they come back at the end of the lease.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(in.stop), callTimeout)
		defer cancel()
		_ = in.resend(ctx, left, make([]time.Duration, len(left)))
	}
}

// leave takes what is still there of some arrivals.
func (in *inbox) leave(arrived []arrival) (left []arrival) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.arrived = slices.DeleteFunc(in.arrived, func(a arrival) bool {
		mine := slices.ContainsFunc(arrived, func(b arrival) bool { return a.Handle == b.Handle })
		if mine {
			left = append(left, a)
		}
		return mine
	})
	in.tellRoom()
	return left
}
