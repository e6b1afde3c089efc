// Package sqlite is the broker that needs no server: a table in the state
// store, for the processes of one host.
package sqlite

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"procops/internal/store"
	"procops/internal/tasks/broker"
)

// Broker is the queue in a state store.
type Broker struct{ store *store.Store }

// New returns the queue in st.
func New(st *store.Store) *Broker { return &Broker{store: st} }

// Push queues messages.
func (b *Broker) Push(ctx context.Context, messages []broker.Message) error {
	return b.store.Update(ctx, func(tx *store.Tx) error {
		for i := range messages {
			if err := insert(tx, &messages[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

// Claim leases messages.
func (b *Broker) Claim(ctx context.Context, ask broker.Ask) (leases []broker.Lease, err error) {
	err = b.store.Update(ctx, func(tx *store.Tx) error {
		leases, err = claim(tx, ask)
		return err
	})
	return leases, err
}

// claim takes the first of what is there of all types together.
func claim(tx *store.Tx, ask broker.Ask) ([]broker.Lease, error) {
	heads, err := find(tx, ask)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(heads, func(x, y head) int {
		return cmp.Or(cmp.Compare(x.priority, y.priority), cmp.Compare(x.runAt, y.runAt), cmp.Compare(x.seq, y.seq))
	})
	var leases []broker.Lease
	for _, h := range heads[:min(len(heads), ask.Max)] {
		l, err := lease(tx, h.seq, tx.Now().Add(ask.Lease))
		if err != nil {
			return nil, err
		}
		leases = append(leases, l)
	}
	return leases, nil
}

// find returns what can be claimed; of each type at most as many as are asked for.
func find(tx *store.Tx, ask broker.Ask) (heads []head, err error) {
	from := cmp.Or(ask.From, broker.StateReady)
	add := func(more []head, err error) error {
		heads = append(heads, more...)
		return err
	}
	for _, id := range ask.IDs {
		if err := add(headOf(tx, id, from)); err != nil {
			return nil, err
		}
	}
	if len(ask.IDs) > 0 {
		return heads, nil
	}
	types, err := typesOr(tx, ask.Types)
	if err != nil {
		return nil, err
	}
	for _, t := range types {
		if err := makeReady(tx, t, ask.Max); err != nil {
			return nil, err
		}
		if err := add(headsOf(tx, t, from, ask.Max)); err != nil {
			return nil, err
		}
	}
	return heads, nil
}

// typesOr returns types; all that there are when it is empty.
func typesOr(tx *store.Tx, types []string) ([]string, error) {
	if len(types) > 0 {
		return types, nil
	}
	return allTypes(tx)
}

// Await waits for what any process of the host pushes or gives back.
func (b *Broker) Await(ctx context.Context, types []string, patience time.Duration) (bool, error) {
	return b.store.Await(ctx, patience, func(tx *store.Tx) (bool, error) {
		for _, t := range types {
			if found, err := claimable(tx, t); found || err != nil {
				return found, err
			}
		}
		return false, nil
	})
}

// Extend makes leases end later.
func (b *Broker) Extend(ctx context.Context, leases []broker.Lease, by time.Duration) (lost []broker.Lease, err error) {
	return b.each(ctx, leases, func(tx *store.Tx, l *broker.Lease) (bool, error) {
		return extend(tx, l, tx.Now().Add(by))
	})
}

// Ack removes messages.
func (b *Broker) Ack(ctx context.Context, leases []broker.Lease) (lost []broker.Lease, err error) {
	return b.each(ctx, leases, remove)
}

// each does something with all leases in one transaction, and returns those that are lost.
func (b *Broker) each(ctx context.Context, leases []broker.Lease, do func(*store.Tx, *broker.Lease) (held bool, err error)) (lost []broker.Lease, err error) {
	err = b.store.Update(ctx, func(tx *store.Tx) error {
		lost = nil
		for i := range leases {
			held, err := do(tx, &leases[i])
			if err != nil {
				return err
			}
			if !held {
				lost = append(lost, leases[i])
			}
		}
		return nil
	})
	return lost, err
}

// Nack gives a message back.
func (b *Broker) Nack(ctx context.Context, l broker.Lease, again broker.Again) error {
	return b.settle(ctx, func(tx *store.Tx) (bool, error) { return giveBack(tx, &l, again) })
}

// Bury puts a message aside.
func (b *Broker) Bury(ctx context.Context, l broker.Lease) error {
	return b.settle(ctx, func(tx *store.Tx) (bool, error) { return bury(tx, &l) })
}

// settle ends a lease, if it is still held.
func (b *Broker) settle(ctx context.Context, how func(*store.Tx) (held bool, err error)) error {
	return b.store.Update(ctx, func(tx *store.Tx) error {
		held, err := how(tx)
		if err == nil && !held {
			return broker.ErrLost
		}
		return err
	})
}

// Count counts the messages of some types.
func (b *Broker) Count(ctx context.Context, types []string) (total broker.Counts, err error) {
	err = b.store.View(ctx, func(tx *store.Tx) error {
		total = broker.Counts{}
		types, err := typesOr(tx, types)
		if err != nil {
			return err
		}
		for _, t := range types {
			n, err := count(tx, t)
			if err != nil {
				return err
			}
			total.Ready += n.Ready
			total.Scheduled += n.Scheduled
			total.Leased += n.Leased
			total.Buried += n.Buried
		}
		return nil
	})
	return total, err
}

// pageLength is how many messages are read at once.
const pageLength = 500

// List goes through the messages, in the order of their push.
func (b *Broker) List(ctx context.Context, types []string) iter.Seq2[broker.Entry, error] {
	return func(yield func(broker.Entry, error) bool) {
		for after := int64(0); ; {
			var entries []broker.Entry
			err := b.store.View(ctx, func(tx *store.Tx) (err error) {
				entries, after, err = page(tx, after, pageLength)
				return err
			})
			if err != nil {
				yield(broker.Entry{}, err)
				return
			}
			for _, e := range entries {
				if (len(types) == 0 || slices.Contains(types, e.Type)) && !yield(e, nil) {
					return
				}
			}
			if len(entries) < pageLength {
				return
			}
		}
	}
}
