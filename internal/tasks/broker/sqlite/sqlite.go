// Package sqlite is the broker that needs no server: a table in the state
// store, for the processes of one host.
package sqlite

import (
	"cmp"
	"context"
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

// claim takes the first of what is ready of all types together.
func claim(tx *store.Tx, ask broker.Ask) ([]broker.Lease, error) {
	var heads []head
	for _, t := range ask.Types {
		if err := makeReady(tx, t, ask.Max); err != nil {
			return nil, err
		}
		ready, err := readyHeads(tx, t, ask.Max)
		if err != nil {
			return nil, err
		}
		heads = append(heads, ready...)
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
	err = b.store.Update(ctx, func(tx *store.Tx) error {
		lost = nil
		for i := range leases {
			held, err := extend(tx, &leases[i], tx.Now().Add(by))
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

// Ack removes a message.
func (b *Broker) Ack(ctx context.Context, l broker.Lease) error {
	return b.settle(ctx, func(tx *store.Tx) (bool, error) { return remove(tx, &l) })
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
