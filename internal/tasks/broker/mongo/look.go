package mongo

import (
	"context"
	"errors"
	"iter"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"procops/internal/tasks/broker"
)

// Await returns true when there may be something to claim. A server that stands alone has
// nobody told of a change, so this looks again and again, every Options.Poll.
func (b *Broker) Await(ctx context.Context, types []string, patience time.Duration) (bool, error) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(b.opt.Poll)
	defer again.Stop()
	for {
		heard := b.woken.heard()
		found, err := b.look(ctx, types)
		if found || err != nil {
			return found, cannot(ctx, err, "cannot wait for tasks")
		}
		select {
		case <-heard:
		case <-again.C:
		case <-deadline.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// look reports whether anything can be claimed.
func (b *Broker) look(ctx context.Context, types []string) (bool, error) {
	c, err := b.collection()
	if err != nil {
		return false, err
	}
	now, err := b.now(ctx)
	if err != nil {
		return false, err
	}
	either := is("$or", []bson.D{and(due(now), ofTypes(types)), and(ended(now), ofTypes(types))})
	err = c.FindOne(ctx, either, options.FindOne().SetProjection(is("_id", 1))).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		if b.beside != nil {
			return b.beside(ctx, types)
		}
		return false, nil
	}
	return err == nil, err
}

// Count counts the messages of some types.
func (b *Broker) Count(ctx context.Context, types []string) (broker.Counts, error) {
	n, err := b.count(ctx, types)
	return n, cannot(ctx, err, "cannot count tasks")
}

func (b *Broker) count(ctx context.Context, types []string) (n broker.Counts, err error) {
	c, err := b.collection()
	if err != nil {
		return n, err
	}
	now, err := b.now(ctx)
	if err != nil {
		return n, err
	}
	leased := and(is("state", stateLeased), is("until", is("$gt", now.UnixMicro())))
	for state, which := range map[broker.State]bson.D{
		broker.StateReady: due(now), broker.StateScheduled: later(now), broker.StateLeased: leased, broker.StateBuried: is("state", stateBuried),
	} {
		found, err := c.CountDocuments(ctx, and(which, ofTypes(types)))
		if err != nil {
			return n, err
		}
		add(&n, state, int(found))
	}
	// Leases that have ended: there are few, and as soon as somebody claims anything, none.
	found, err := c.Find(ctx, and(ended(now), ofTypes(types)), options.Find().SetProjection(is("body", 0)))
	if err != nil {
		return n, err
	}
	var over []document
	if err := found.All(ctx, &over); err != nil {
		return n, err
	}
	for i := range over {
		add(&n, over[i].stateAt(now), 1)
	}
	return n, nil
}

func add(n *broker.Counts, state broker.State, more int) {
	switch state {
	case broker.StateReady:
		n.Ready += more
	case broker.StateScheduled:
		n.Scheduled += more
	case broker.StateLeased:
		n.Leased += more
	case broker.StateBuried:
		n.Buried += more
	}
}

// pageLength is how many messages are read at once.
const pageLength = 500

// List goes through the messages, in the order of their IDs.
func (b *Broker) List(ctx context.Context, types []string) iter.Seq2[broker.Entry, error] {
	return func(yield func(broker.Entry, error) bool) {
		for after := ""; ; {
			page, err := b.page(ctx, types, after)
			if err != nil {
				yield(broker.Entry{}, cannot(ctx, err, "cannot list tasks"))
				return
			}
			for _, e := range page {
				if after = e.ID; !yield(e, nil) {
					return
				}
			}
			if len(page) < pageLength {
				return
			}
		}
	}
}

// page returns the messages behind an ID.
func (b *Broker) page(ctx context.Context, types []string, after string) (entries []broker.Entry, err error) {
	c, err := b.collection()
	if err != nil {
		return nil, err
	}
	now, err := b.now(ctx)
	if err != nil {
		return nil, err
	}
	which := and(is("_id", is("$gt", after)), in("state", []string{stateWaiting, stateLeased, stateBuried}), ofTypes(types))
	found, err := c.Find(ctx, which, options.Find().SetSort(is("_id", 1)).SetLimit(pageLength))
	if err != nil {
		return nil, err
	}
	var documents []document
	if err := found.All(ctx, &documents); err != nil {
		return nil, err
	}
	for i := range documents {
		d := &documents[i]
		entries = append(entries, broker.Entry{Message: d.message(), State: d.stateAt(now)})
	}
	return entries, nil
}
