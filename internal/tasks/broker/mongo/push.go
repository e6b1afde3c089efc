package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"procops/internal/tasks/broker"
)

// A single document is inserted or not. Several become claimable together: they are
// inserted as arriving, then a document of their batch says that all are there, then they
// are made claimable. Who dies in the middle has pushed none before that document, and all
// after it: then somebody else does the rest (see sweepBatches).

// How long a push may take until all of its documents are there; and how old a batch is
// whose pusher must have died.
const (
	arriveLimit = time.Minute
	batchDead   = 3 * time.Minute
)

// cleanUp is how long a push that has failed tries to leave nothing behind.
const cleanUp = 2 * time.Second

// statePushed is the state of the document that says that all of a batch are there.
const statePushed = "pushed"

// Push queues messages.
func (b *Broker) Push(ctx context.Context, messages []broker.Message) error {
	if len(messages) == 0 {
		return nil
	}
	c, err := b.queue(ctx)
	if err == nil {
		err = b.push(ctx, c, messages)
	}
	if err != nil {
		return cannot(ctx, err, "cannot queue tasks")
	}
	b.woken.ring()
	return nil
}

func (b *Broker) push(ctx context.Context, c *mongo.Collection, messages []broker.Message) error {
	now, err := b.now(ctx)
	if err != nil {
		return err
	}
	order := b.reserve(now, len(messages))
	documents := make([]document, len(messages))
	for i := range messages {
		documents[i] = newDocument(&messages[i], order+int64(i))
	}
	if len(documents) > 1 {
		return pushBatch(ctx, c, documents, now)
	}
	_, err = c.InsertOne(ctx, documents[0])
	if mongo.IsDuplicateKeyError(err) {
		return refuseArriving(ctx, c, []string{documents[0].ID}, "")
	}
	return err
}

// reserve returns the order of the first of n pushes. It is the time, so that it holds
// between processes as well as their clocks do; within one it never goes back.
func (b *Broker) reserve(now time.Time, n int) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := max(b.pushed+1, now.UnixMicro())
	b.pushed = first + int64(n) - 1
	return first
}

// pushBatch queues several messages, all or none.
func pushBatch(ctx context.Context, c *mongo.Collection, documents []document, now time.Time) error {
	batch := document{ID: "batch:" + bson.NewObjectID().Hex(), State: statePushed, RunAt: now.UnixMicro()}
	if err := arrive(ctx, c, documents, batch); err != nil {
		// A clean-up that fails leaves the rest to sweepBatches.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		defer cancel()
		_, _ = c.DeleteMany(ctx, arriving(batch.ID))
		return err
	}
	// From here on they are queued, whatever comes.
	_ = finish(context.WithoutCancel(ctx), c, batch.ID)
	return nil
}

// arriving selects what has arrived of a batch.
func arriving(batch string) bson.D {
	return and(is("batch", batch), is("state", is("$ne", statePushed)))
}

// arrive inserts documents, and then the one that says that they are there.
func arrive(ctx context.Context, c *mongo.Collection, documents []document, batch document) error {
	ctx, cancel := context.WithTimeout(ctx, arriveLimit)
	defer cancel()
	for i := range documents {
		documents[i].Batch = batch.ID
		if documents[i].State == stateWaiting {
			documents[i].State = stateArriving
		}
	}
	_, err := c.InsertMany(ctx, documents, options.InsertMany().SetOrdered(false))
	if known, other := duplicates(err, documents); other != nil {
		return other
	} else if len(known) > 0 {
		if err := refuseArriving(ctx, c, known, batch.ID); err != nil {
			return err
		}
	}
	_, err = c.InsertOne(ctx, batch)
	return err
}

// duplicates returns the IDs that were there before, and the error if it is another one.
func duplicates(err error, documents []document) (ids []string, other error) {
	if err == nil {
		return nil, nil
	}
	failed, ok := errors.AsType[mongo.BulkWriteException](err)
	if !ok || failed.WriteConcernError != nil {
		return nil, err
	}
	for _, e := range failed.WriteErrors {
		if !e.HasErrorCode(11000) || e.Index >= len(documents) {
			return nil, err
		}
		ids = append(ids, documents[e.Index].ID)
	}
	return ids, nil
}

// refuseArriving returns an error if one of the messages is there only as part of another
// batch, of which nobody knows yet whether all of it arrives.
func refuseArriving(ctx context.Context, c *mongo.Collection, ids []string, batch string) error {
	var d document
	err := c.FindOne(ctx, and(in("_id", ids), is("batch", is("$gt", "")), is("batch", is("$ne", batch)))).Decode(&d)
	switch {
	case errors.Is(err, mongo.ErrNoDocuments):
		return nil
	case err != nil:
		return err
	default:
		return fmt.Errorf("task %q is being queued by somebody else; what has become of that is known in %s", d.ID, batchDead)
	}
}

// finish makes claimable what has arrived of a batch.
func finish(ctx context.Context, c *mongo.Collection, batch string) error {
	leave := is("$unset", is("batch", ""))
	if _, err := c.UpdateMany(ctx, and(is("batch", batch), is("state", stateArriving)), and(set(is("state", stateWaiting)), leave)); err != nil {
		return err
	}
	if _, err := c.UpdateMany(ctx, is("batch", batch), leave); err != nil { // what is buried
		return err
	}
	_, err := c.DeleteOne(ctx, is("_id", batch))
	return err
}

// sweepInterval is how often a process looks for batches whose pusher has died.
const sweepInterval = time.Minute

// sweepBatches finishes those batches that have arrived and whose pusher has died, and
// removes those that have not. It looks only now and then.
func (b *Broker) sweepBatches(ctx context.Context, c *mongo.Collection, now time.Time) error {
	if !b.mayLook(now) {
		return nil
	}
	before := now.Add(-batchDead).UnixMicro()
	found, err := c.Find(ctx, and(is("state", statePushed), is("run_at", is("$lte", before))))
	if err != nil {
		return err
	}
	var pushed []document
	if err := found.All(ctx, &pushed); err != nil {
		return err
	}
	for _, batch := range pushed {
		if err := finish(ctx, c, batch.ID); err != nil {
			return err
		}
	}
	// What is left has no such document, and its pusher has given up long ago.
	_, err = c.DeleteMany(ctx, and(is("batch", is("$gt", "")), is("order", is("$lte", before))))
	return err
}

// mayLook reports whether it is time to look for batches again.
func (b *Broker) mayLook(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.looked).Abs() < sweepInterval {
		return false
	}
	b.looked = now
	return true
}
