package mongo

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"procops/internal/tasks/broker"
)

// together is how many leases are settled with one command.
const together = 500

// Extend makes leases end so long from now.
func (b *Broker) Extend(ctx context.Context, leases []broker.Lease, by time.Duration) (lost []broker.Lease, err error) {
	now, err := b.now(ctx)
	if err != nil {
		return nil, cannot(ctx, err, "cannot extend the leases of tasks")
	}
	lost, err = b.each(leases, func(c *mongo.Collection, part []broker.Lease) ([]broker.Lease, error) {
		done, err := c.UpdateMany(ctx, heldAny(part), set(is("until", now.Add(by).UnixMicro())))
		if err != nil || done.MatchedCount == int64(len(part)) {
			return nil, err
		}
		_, lost, err := split(ctx, c, part)
		return lost, err
	})
	return lost, cannot(ctx, err, "cannot extend the leases of tasks")
}

// Ack removes messages.
func (b *Broker) Ack(ctx context.Context, leases []broker.Lease) (lost []broker.Lease, err error) {
	lost, err = b.each(leases, func(c *mongo.Collection, part []broker.Lease) ([]broker.Lease, error) { return ack(ctx, c, part) })
	return lost, cannot(ctx, err, "cannot acknowledge tasks")
}

func ack(ctx context.Context, c *mongo.Collection, leases []broker.Lease) (lost []broker.Lease, err error) {
	if len(leases) == 1 {
		done, err := c.DeleteOne(ctx, held(&leases[0]))
		if err == nil && done.DeletedCount == 0 {
			lost = leases
		}
		return lost, err
	}
	mine, lost, err := split(ctx, c, leases)
	if err != nil || len(mine) == 0 {
		return lost, err
	}
	done, err := c.DeleteMany(ctx, heldAny(mine))
	if err != nil || done.DeletedCount == int64(len(mine)) {
		return lost, err
	}
	// Some were lost since: those that are still there, but not ours.
	var still []document
	found, err := c.Find(ctx, in("_id", idsOf(mine)), onlyID())
	if err == nil {
		err = found.All(ctx, &still)
	}
	for _, l := range mine {
		if slices.ContainsFunc(still, func(d document) bool { return d.ID == l.ID }) {
			lost = append(lost, l)
		}
	}
	return lost, err
}

// each does something with all leases, some at a time.
func (b *Broker) each(leases []broker.Lease, do func(*mongo.Collection, []broker.Lease) ([]broker.Lease, error)) (lost []broker.Lease, err error) {
	c, err := b.collection()
	if err != nil {
		return nil, err
	}
	for part := range slices.Chunk(leases, together) {
		gone, err := do(c, part)
		lost = append(lost, gone...)
		if err != nil {
			return lost, err
		}
	}
	return lost, nil
}

// split tells the leases that are held from those that are lost.
func split(ctx context.Context, c *mongo.Collection, leases []broker.Lease) (mine, lost []broker.Lease, err error) {
	found, err := c.Find(ctx, heldAny(leases), options.Find().SetProjection(bson.D{{Key: "_id", Value: 1}, {Key: "lease", Value: 1}}))
	if err != nil {
		return nil, nil, err
	}
	var documents []document
	if err := found.All(ctx, &documents); err != nil {
		return nil, nil, err
	}
	numbers := make(map[string]int64, len(documents))
	for _, d := range documents {
		numbers[d.ID] = d.Lease
	}
	for _, l := range leases {
		if number, known := numbers[l.ID]; known && number == l.Number {
			mine = append(mine, l)
		} else {
			lost = append(lost, l)
		}
	}
	return mine, lost, nil
}

func idsOf(leases []broker.Lease) []string {
	ids := make([]string, len(leases))
	for i := range leases {
		ids[i] = leases[i].ID
	}
	return ids
}

func onlyID() *options.FindOptionsBuilder { return options.Find().SetProjection(is("_id", 1)) }

// Nack gives a message back.
func (b *Broker) Nack(ctx context.Context, l broker.Lease, again broker.Again) error {
	fields := is("state", stateWaiting)
	if !again.At.IsZero() {
		fields = and(fields, is("run_at", again.At.UnixMicro()))
	}
	failures := int64(0)
	if again.Failed {
		failures = 1
	}
	change := release()
	if again.Fresh {
		fields = and(fields, is("attempts", failures), is("crashes", int64(0)))
	} else {
		change = and(change, is("$inc", is("attempts", failures)))
	}
	if err := b.settle(ctx, l, and(set(fields), change)); err != nil {
		return cannot(ctx, err, "cannot give back task %q", l.ID)
	}
	b.woken.ring()
	return nil
}

// Bury puts a message aside.
func (b *Broker) Bury(ctx context.Context, l broker.Lease) error {
	return cannot(ctx, b.settle(ctx, l, and(set(is("state", stateBuried)), release())), "cannot bury task %q", l.ID)
}

// settle ends a lease, if it is still held.
func (b *Broker) settle(ctx context.Context, l broker.Lease, change bson.D) error {
	c, err := b.collection()
	if err != nil {
		return err
	}
	done, err := c.UpdateOne(ctx, held(&l), change)
	if err == nil && done.MatchedCount == 0 {
		return broker.ErrLost
	}
	return err
}
