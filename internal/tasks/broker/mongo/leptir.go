package mongo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/leptirdoc"
	"procops/internal/tasks/leptir"
	"procops/internal/tasks/mongodb"
)

// besideSuffix makes the name of our own queue of that of leptir's collection.
const besideSuffix = ".procops"

// Leptir is a queue in leptir's own collection, which producers and consumers in PHP share.
// PHP takes a document by removing it, so there is no lease that it would heed: what we claim
// leaves the collection for a queue of our own beside it, and stays there until it is done.
//
// It is copied first and then removed, so nothing is lost wherever we die. A copy is of no
// use to anybody until the original is gone: who finds that somebody else has removed that
// throws the copy away. Who dies between the two leaves a copy that is finished by
// somebody else; if PHP has taken the original in just that moment, the task runs twice.
type Leptir struct {
	*Broker
	name   string // of leptir's collection
	format leptirdoc.Format
	swept  time.Time
}

// NewLeptir returns a queue of leptir. Where the options say nothing it is in the collection
// "tasks" of the database "leptir".
func NewLeptir(o Options, classes leptir.Classes) (*Leptir, error) {
	name := cmp.Or(o.Collection, "tasks")
	o.Database, o.Collection = cmp.Or(o.Database, "leptir"), name+besideSuffix
	b, err := New(o)
	if err != nil {
		return nil, err
	}
	q := &Leptir{Broker: b, name: name, format: leptirdoc.Format{Classes: classes}}
	b.beside = q.hasReady
	return q, nil
}

func (q *Leptir) shared() (*mongo.Collection, error) {
	db, err := q.database()
	if err != nil {
		return nil, err
	}
	return db.Collection(q.name), nil
}

// ofClasses selects documents of some types; none: all that leptir has made.
func (q *Leptir) ofClasses(types []string) bson.D {
	if len(types) == 0 {
		return nil
	}
	var classes []string
	for _, t := range types {
		class := q.format.Classes.Class(t)
		classes = append(classes, class, `\`+class)
	}
	return in("cn", classes)
}

// The IDs of what is ready and of what waits, as PHP compares them.
func readyID(now time.Time) bson.D     { return is("_id", is("$lte", leptir.MongoID(now, 0))) }
func scheduledID(now time.Time) bson.D { return is("_id", is("$gt", leptir.MongoID(now, 0))) }

// Push queues messages where PHP finds them; those that have a past, for which leptir has
// no place, in the queue beside. If one cannot be queued, those before it are taken back.
func (q *Leptir) Push(ctx context.Context, messages []broker.Message) error {
	c, err := q.shared()
	if err != nil {
		return cannot(ctx, err, "cannot queue tasks")
	}
	now, err := q.now(ctx)
	if err != nil {
		return cannot(ctx, err, "cannot queue tasks")
	}
	order := q.reserve(now, len(messages))
	var documents []bson.D
	var own []broker.Message
	for i := range messages {
		m := &messages[i]
		if m.Number > 0 || m.Attempts > 0 || m.Crashes > 0 || m.Buried {
			own = append(own, *m)
			continue
		}
		d, err := q.encode(m, order+int64(i))
		if err != nil {
			return cannot(ctx, err, "cannot queue tasks")
		}
		documents = append(documents, d)
	}
	if err := insertAll(ctx, c, documents); err != nil {
		return cannot(ctx, err, "cannot queue tasks")
	}
	q.woken.ring()
	return q.Broker.Push(ctx, own)
}

// encode returns the document of a message, with its _id first. Where PHP has chance in that,
// this has the order of the pushes, so that those of one second come in it.
func (q *Leptir) encode(m *broker.Message, order int64) (bson.D, error) {
	data, err := q.format.Encode(m)
	if err != nil {
		return nil, err
	}
	value, err := mongodb.FromJSON(data)
	if err != nil {
		return nil, err
	}
	keys, _ := value.(bson.D)
	at := m.RunAt
	if at.Nanosecond() > 0 && at.After(time.Now()) {
		at = at.Add(time.Second) // as toex: whole seconds, rounded up
	}
	return append(is("_id", leptir.MongoID(at, float64(order%1e6)/1e6)), keys...), nil
}

// insertAll inserts documents; if one cannot be, it takes back those before it.
func insertAll(ctx context.Context, c *mongo.Collection, documents []bson.D) error {
	var ids []string
	for _, d := range documents {
		id, err := insert(ctx, c, d)
		if err == nil {
			ids = append(ids, id)
			continue
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		_, _ = c.DeleteMany(ctx, in("_id", ids))
		cancel()
		return err
	}
	return nil
}

// insert inserts a document. Where its _id is taken another one of that second will do.
func insert(ctx context.Context, c *mongo.Collection, d bson.D) (id string, err error) {
	for range 10 {
		id, _ = d[0].Value.(string)
		if _, err = c.InsertOne(ctx, d); !mongo.IsDuplicateKeyError(err) {
			return id, err
		}
		at, _ := leptir.MongoTime(id)
		d[0].Value = leptir.MongoID(at, rand.Float64()) //nolint:gosec // no secret depends on it
	}
	return id, err
}

// decode returns the message of a document; false if nobody here can read it.
func (q *Leptir) decode(d bson.D) (m broker.Message, id string, ok bool) {
	if len(d) == 0 {
		return m, "", false
	}
	id, _ = d[0].Value.(string)
	at, isTime := leptir.MongoTime(id)
	data, err := json.Marshal(mongodb.ToJSON(d[1:]))
	if err != nil || !isTime {
		return m, id, false
	}
	m, err = q.format.Decode(data)
	m.RunAt, m.ID = at, cmp.Or(m.ID, "mongo-"+id)
	return m, id, err == nil && m.Type != ""
}

// Claim leases messages: first those that have come back into the queue beside, then those
// in leptir's collection.
func (q *Leptir) Claim(ctx context.Context, ask broker.Ask) ([]broker.Lease, error) {
	leases, err := q.Broker.Claim(ctx, ask)
	if err != nil || len(leases) >= ask.Max || ask.From == broker.StateBuried {
		return leases, err
	}
	ask.Max -= len(leases)
	more, err := q.take(ctx, ask)
	if leases = append(leases, more...); len(leases) > 0 {
		return leases, nil
	}
	return nil, cannot(ctx, err, "cannot claim tasks")
}

// spare is how many documents more than wanted are looked at, because others may be faster.
const spare = 16

func (q *Leptir) take(ctx context.Context, ask broker.Ask) (leases []broker.Lease, err error) {
	c, err := q.shared()
	if err != nil {
		return nil, err
	}
	own, err := q.collection()
	if err != nil {
		return nil, err
	}
	now, err := q.now(ctx)
	if err != nil {
		return nil, err
	}
	if err := q.finishTaken(ctx, c, own, now); err != nil {
		return nil, err
	}
	which := and(readyID(now), q.ofClasses(ask.Types))
	if ask.From == broker.StateScheduled {
		which = and(scheduledID(now), q.ofClasses(ask.Types))
	}
	if len(ask.IDs) > 0 {
		which = and(which[:1], in("td.id", ask.IDs))
	}
	var documents []bson.D
	found, err := c.Find(ctx, which, options.Find().SetSort(is("_id", 1)).SetLimit(int64(ask.Max+spare)))
	if err == nil {
		err = found.All(ctx, &documents)
	}
	for _, d := range documents {
		if len(leases) == ask.Max || err != nil || ctx.Err() != nil {
			break
		}
		m, id, ok := q.decode(d)
		if !ok {
			continue
		}
		var taken document
		if taken, ok, err = takeOne(ctx, c, own, &m, id, now, ask); ok {
			leases = append(leases, taken.asLease())
		}
	}
	return leases, err
}

// How long it may take to take a document, and how old a copy is that nobody will finish.
const (
	takeLimit = 20 * time.Second
	takenDead = time.Minute
)

// takeOne moves a document into the queue beside, under a lease; false if somebody else has
// it.
func takeOne(ctx context.Context, c, own *mongo.Collection, m *broker.Message, id string, now time.Time, ask broker.Ask) (d document, ok bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeLimit)
	defer cancel()
	d = newDocument(m, now.UnixMicro())
	d.State, d.From = stateTaking, id
	if _, err := own.InsertOne(ctx, d); mongo.IsDuplicateKeyError(err) {
		return d, false, nil // somebody is just taking it, or has taken one of the same ID
	} else if err != nil {
		return d, false, err
	}
	mine := and(is("_id", d.ID), is("state", stateTaking), is("from", id))
	removed, err := c.DeleteOne(ctx, is("_id", id))
	if err != nil {
		return d, false, err // whether it is removed somebody will see
	}
	if removed.DeletedCount == 0 {
		_, err := own.DeleteOne(ctx, mine)
		return d, false, err
	}
	lease := set(bson.D{
		{Key: "state", Value: stateLeased},
		{Key: "until", Value: now.Add(ask.Lease).UnixMicro()},
		{Key: "back", Value: cmp.Or(ask.From, broker.StateReady)},
		{Key: "lease", Value: int64(1)},
	})
	err = own.FindOneAndUpdate(ctx, mine, and(lease, is("$unset", is("from", ""))), options.FindOneAndUpdate().SetReturnDocument(options.After)).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) { // it took so long that somebody else has finished it
		return d, false, nil
	}
	return d, err == nil, err
}

// finishTaken finishes what somebody was taking when he died: he has made a copy.
func (q *Leptir) finishTaken(ctx context.Context, c, own *mongo.Collection, now time.Time) error {
	q.mu.Lock()
	early := now.Sub(q.swept).Abs() < sweepInterval
	if !early {
		q.swept = now
	}
	q.mu.Unlock()
	if early {
		return nil
	}
	var left []document
	found, err := own.Find(ctx, and(is("state", stateTaking), is("order", is("$lte", now.Add(-takenDead).UnixMicro()))))
	if err == nil {
		err = found.All(ctx, &left)
	}
	for i := range left {
		if err != nil {
			break
		}
		if _, err = c.DeleteOne(ctx, is("_id", left[i].From)); err == nil {
			_, err = own.UpdateOne(ctx, and(is("_id", left[i].ID), is("state", stateTaking)), and(set(is("state", stateWaiting)), is("$unset", is("from", ""))))
		}
	}
	return err
}

// hasReady reports whether anything in leptir's collection can be claimed.
func (q *Leptir) hasReady(ctx context.Context, types []string) (bool, error) {
	c, err := q.shared()
	if err != nil {
		return false, err
	}
	now, err := q.now(ctx)
	if err != nil {
		return false, err
	}
	err = c.FindOne(ctx, and(readyID(now), q.ofClasses(types))).Err()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return false, nil
	}
	return err == nil, err
}

// Count counts the messages of both collections.
func (q *Leptir) Count(ctx context.Context, types []string) (broker.Counts, error) {
	n, err := q.Broker.Count(ctx, types)
	if err != nil {
		return n, err
	}
	c, err := q.shared()
	if err != nil {
		return n, cannot(ctx, err, "cannot count tasks")
	}
	now, err := q.now(ctx)
	for state, which := range map[broker.State]bson.D{broker.StateReady: readyID(now), broker.StateScheduled: scheduledID(now)} {
		var found int64
		if err == nil {
			found, err = c.CountDocuments(ctx, and(which, q.ofClasses(types)))
		}
		add(&n, state, int(found))
	}
	return n, cannot(ctx, err, "cannot count tasks")
}

// List goes through the messages of both collections. What is taken meanwhile comes once or
// twice.
func (q *Leptir) List(ctx context.Context, types []string) iter.Seq2[broker.Entry, error] {
	return func(yield func(broker.Entry, error) bool) {
		for e, err := range q.Broker.List(ctx, types) {
			if !yield(e, err) || err != nil {
				return
			}
		}
		for after := ""; ; {
			documents, now, err := q.documents(ctx, types, after)
			if err != nil {
				yield(broker.Entry{}, cannot(ctx, err, "cannot list tasks"))
				return
			}
			for _, d := range documents {
				m, id, ok := q.decode(d)
				after = id
				e := broker.Entry{Message: m, State: broker.StateReady}
				if m.RunAt.After(now) {
					e.State = broker.StateScheduled
				}
				if ok && !yield(e, nil) {
					return
				}
			}
			if len(documents) < pageLength {
				return
			}
		}
	}
}

// documents returns those behind an _id.
func (q *Leptir) documents(ctx context.Context, types []string, after string) (list []bson.D, now time.Time, err error) {
	c, err := q.shared()
	if err != nil {
		return nil, now, err
	}
	if now, err = q.now(ctx); err != nil {
		return nil, now, err
	}
	found, err := c.Find(ctx, and(is("_id", is("$gt", after)), q.ofClasses(types)), options.Find().SetSort(is("_id", 1)).SetLimit(pageLength))
	if err == nil {
		err = found.All(ctx, &list)
	}
	return list, now, err
}
