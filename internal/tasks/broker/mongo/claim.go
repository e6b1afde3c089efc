package mongo

import (
	"cmp"
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"procops/internal/tasks/broker"
)

// Claim leases messages, one after the other. When that fails in the middle, it returns
// those that it has.
func (b *Broker) Claim(ctx context.Context, ask broker.Ask) ([]broker.Lease, error) {
	leases, err := b.claim(ctx, ask)
	if err != nil && len(leases) == 0 {
		return nil, cannot(ctx, err, "cannot claim tasks")
	}
	return leases, nil
}

func (b *Broker) claim(ctx context.Context, ask broker.Ask) (leases []broker.Lease, err error) {
	c, err := b.queue(ctx)
	if err != nil {
		return nil, err
	}
	now, err := b.now(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.sweepBatches(ctx, c, now); err != nil {
		return nil, err
	}
	if err := sweepLeases(ctx, c, now, ask); err != nil {
		return nil, err
	}
	which, err := claimable(ctx, c, now, ask)
	if err != nil {
		return nil, err
	}
	for len(leases) < ask.Max {
		d, err := claimOne(ctx, c, which, now, ask)
		if errors.Is(err, mongo.ErrNoDocuments) {
			return leases, nil
		}
		if err != nil {
			return leases, err
		}
		leases = append(leases, d.asLease())
	}
	return leases, nil
}

// asked selects the documents that somebody asks for, whatever their state.
func asked(ask broker.Ask) bson.D {
	if len(ask.IDs) > 0 {
		return in("_id", ask.IDs)
	}
	return ofTypes(ask.Types)
}

// sweepLeases gives back what was claimed under leases that have ended: that is a crash of
// who had it, if it was ready before.
func sweepLeases(ctx context.Context, c *mongo.Collection, now time.Time, ask broker.Ask) error {
	over := and(ended(now), asked(ask))
	switch err := c.FindOne(ctx, over).Err(); {
	case errors.Is(err, mongo.ErrNoDocuments):
		return nil
	case err != nil:
		return err
	}
	for back, change := range map[broker.State]bson.D{
		broker.StateReady:     and(set(is("state", stateWaiting)), is("$inc", is("crashes", 1))),
		broker.StateScheduled: set(is("state", stateWaiting)),
		broker.StateBuried:    set(is("state", stateBuried)),
	} {
		if _, err := c.UpdateMany(ctx, and(over, is("back", back)), and(change, release())); err != nil {
			return err
		}
	}
	return nil
}

// claimable selects what can be claimed. It names types also where any will do: the index
// has them in order only within a type.
func claimable(ctx context.Context, c *mongo.Collection, now time.Time, ask broker.Ask) (bson.D, error) {
	var state bson.D
	switch ask.From {
	case broker.StateScheduled:
		state = later(now)
	case broker.StateBuried:
		state = is("state", stateBuried)
	case broker.StateReady, broker.StateLeased, "":
		state = due(now)
	}
	if len(ask.IDs) == 0 && len(ask.Types) == 0 {
		types, err := typesOf(ctx, c, state[:1])
		return and(state, in("type", types)), err
	}
	return and(state, asked(ask)), nil
}

// typesOf returns the types of the messages in a state. It jumps from type to type in the
// index.
func typesOf(ctx context.Context, c *mongo.Collection, state bson.D) (types []string, err error) {
	first := options.FindOne().SetSort(bson.D{{Key: "state", Value: 1}, {Key: "type", Value: 1}}).SetProjection(is("type", 1))
	for last := ""; ; {
		var d document
		err := c.FindOne(ctx, and(state, is("type", is("$gt", last))), first).Decode(&d)
		if errors.Is(err, mongo.ErrNoDocuments) {
			return types, nil
		}
		if err != nil {
			return nil, err
		}
		last = d.Type
		types = append(types, last)
	}
}

// claimOne leases the first of some messages. Once asked for, the answer is waited for even
// if ctx ends: nobody else would know of the lease.
func claimOne(ctx context.Context, c *mongo.Collection, which bson.D, now time.Time, ask broker.Ask) (d document, err error) {
	if ctx.Err() != nil {
		return d, context.Cause(ctx)
	}
	lease := set(bson.D{
		{Key: "state", Value: stateLeased},
		{Key: "until", Value: now.Add(ask.Lease).UnixMicro()},
		{Key: "back", Value: cmp.Or(ask.From, broker.StateReady)},
	})
	err = c.FindOneAndUpdate(context.WithoutCancel(ctx), which, and(lease, is("$inc", is("lease", 1))),
		options.FindOneAndUpdate().SetSort(inOrder()).SetReturnDocument(options.After)).Decode(&d)
	return d, err
}
