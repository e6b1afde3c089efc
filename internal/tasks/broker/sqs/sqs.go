package sqs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"procops/internal/fault"
	"procops/internal/tasks/broker"
)

// Broker is a queue in SQS.
type Broker struct {
	main, dead *box
	format     Format
	maxDelay   time.Duration
	patience   time.Duration // of a claim

	inbox *inbox
	stop  context.CancelFunc
	idle  func() // ends the connections that nobody uses
}

// New returns a queue. It asks the service when that is first needed; the error says what
// is wrong with the options.
func New(o Options) (*Broker, error) {
	o, err := o.complete()
	if err != nil {
		return nil, err
	}
	client, idle := o.client()
	ctx, stop := context.WithCancel(context.Background())
	b := &Broker{
		main: &box{client: client, name: o.Queue, create: o.Create}, dead: &box{client: client, name: o.Dead, create: o.Create},
		format: o.Format, maxDelay: o.MaxDelay, patience: proof, stop: stop, idle: idle,
	}
	if o.NoWait {
		b.patience = 0
	}
	b.inbox = &inbox{
		box: b.main, format: o.Format, resend: b.resend, reject: b.reject, lease: o.Lease,
		stop: ctx, known: map[string]bool{}, room: make(chan struct{}, 1),
	}
	return b, nil
}

// Close gives back what has arrived and was not claimed, and ends the connections.
func (b *Broker) Close() error {
	b.stop()
	b.inbox.work.Wait()
	b.idle()
	return nil
}

// Push queues messages.
func (b *Broker) Push(ctx context.Context, messages []broker.Message) error {
	letters := map[*box][]letter{}
	for i := range messages {
		l, err := b.letter(messages[i], "", time.Until(messages[i].RunAt))
		if err != nil {
			return err
		}
		to := b.boxOf(messages[i])
		letters[to] = append(letters[to], l)
	}
	return pushed(append(b.main.send(ctx, letters[b.main]), b.dead.send(ctx, letters[b.dead])...))
}

// boxOf returns the queue in which a message is.
func (b *Broker) boxOf(m broker.Message) *box {
	if m.Buried {
		return b.dead
	}
	return b.main
}

// letter writes a message, which had a text before, or is new or changed. The error says that
// it is too large; one that is new must leave room for what will become of it.
func (b *Broker) letter(m broker.Message, had string, delay time.Duration) (letter, error) {
	text, attributes, err := b.format.Encode(m, had)
	if err != nil {
		return letter{}, fmt.Errorf("cannot write task %q: %w", m.ID, err)
	}
	l := letter{text: text, attributes: attributes}
	if !m.Buried {
		l.delay = min(max(0, delay), b.maxDelay)
	}
	most := MaxMessage
	if m.Number == 0 {
		most -= reserve
	}
	if l.size() > most {
		return letter{}, fault.New(fault.Usage, "task %q is too large for SQS: %d bytes, and %d is the most", m.ID, l.size(), most).
			WithHint("put what is large into a file or a bucket, and its name into the task")
	}
	return l, nil
}

// pushed returns the error of a push.
func pushed(results []error) error {
	failed := 0
	for _, err := range results {
		if err != nil {
			failed++
		}
	}
	switch first := firstOf(results); failed {
	case 0:
		return nil
	case len(results):
		return fmt.Errorf("cannot queue tasks: %w", first)
	default:
		return fmt.Errorf("cannot queue tasks: %d of %d are queued all the same: %w", len(results)-failed, len(results), first)
	}
}

// Claim leases messages that have arrived. Where there are none it lets the poll wait for
// them, but not for longer than it takes to prove that the queue is empty.
func (b *Broker) Claim(ctx context.Context, ask broker.Ask) ([]broker.Lease, error) {
	switch {
	case ask.From == broker.StateBuried:
		return b.claimBuried(ctx, ask)
	case len(ask.IDs) > 0:
		return nil, fmt.Errorf("a queue of SQS cannot be asked for IDs: %w", errors.ErrUnsupported)
	case ask.From != "" && ask.From != broker.StateReady:
		return nil, fmt.Errorf("SQS hands out no messages that are %s: %w", ask.From, errors.ErrUnsupported)
	}
	b.inbox.learn(ask.Types)
	for {
		if taken, err := b.renew(ctx, b.inbox.take(ask), ask.Lease); len(taken) > 0 || err != nil {
			return taken, err
		}
		found, err := b.inbox.search(ctx, ask, b.patience)
		if err != nil {
			return nil, fmt.Errorf("cannot claim tasks: %w", err)
		}
		if !found {
			return nil, nil
		}
	}
}

// renew makes leases last for as long as was asked for, and drops those that are lost: they
// may have waited a while to be claimed.
func (b *Broker) renew(ctx context.Context, taken []broker.Lease, length time.Duration) ([]broker.Lease, error) {
	now := time.Now()
	if !slices.ContainsFunc(taken, func(l broker.Lease) bool { return l.Until.Sub(now) < length-fresh }) {
		return taken, nil
	}
	lost, err := b.Extend(ctx, taken, length)
	if err != nil {
		return nil, err
	}
	held := slices.DeleteFunc(taken, func(l broker.Lease) bool {
		return slices.ContainsFunc(lost, func(x broker.Lease) bool { return x.Handle == l.Handle })
	})
	for i := range held {
		held[i].Until = now.Add(length)
	}
	return held, nil
}

// Await returns true when something has arrived.
func (b *Broker) Await(ctx context.Context, types []string, patience time.Duration) (bool, error) {
	b.inbox.learn(types)
	end := time.Now().Add(patience)
	for b.inbox.has(types) == 0 {
		p := b.inbox.wait(broker.Ask{Types: types, Max: 1})
		found, err := p.await(ctx, p.done, time.Until(end))
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case err != nil:
			return false, fmt.Errorf("cannot wait for tasks: %w", err)
		case !found && !time.Now().Before(end):
			return b.inbox.has(types) > 0, nil
		}
	}
	return true, nil
}
