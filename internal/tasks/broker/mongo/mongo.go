package mongo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"procops/internal/tasks/mongodb"
)

// Options say where the queue is.
type Options struct {
	// URL is the server or the replica set, as "mongodb://user:password@host:27017/?tls=true"
	// or "mongodb+srv://host". Empty: "mongodb://127.0.0.1:27017".
	URL        string
	Database   string        // empty: "procops"
	Collection string        // empty: "tasks"
	Timeout    time.Duration // a call that takes longer has failed; 0: none has
	// Poll is how often Await looks for messages of other processes; those of this one
	// it hears of. 0: half a second.
	Poll time.Duration
}

// defaultPoll is how often Await looks.
const defaultPoll = 500 * time.Millisecond

// Broker is a queue in MongoDB.
type Broker struct {
	opt    Options
	client *mongodb.Client
	woken  *bell
	now    func(context.Context) (time.Time, error)
	beside func(ctx context.Context, types []string) (bool, error) // looks where else there may be something to claim; nil: nowhere

	mu      sync.Mutex
	indexed bool
	pushed  int64 // the order of the newest push
	looked  time.Time
}

// New returns a queue. It connects when that is first needed; the error says what is
// wrong with the options.
func New(o Options) (*Broker, error) {
	o.Database, o.Collection = cmp.Or(o.Database, "procops"), cmp.Or(o.Collection, "tasks")
	o.Poll = cmp.Or(o.Poll, defaultPoll)
	client, err := mongodb.New(o.URL, o.Timeout)
	if err != nil {
		return nil, err
	}
	b := &Broker{opt: o, client: client, woken: newBell()}
	var c clock
	b.now = func(ctx context.Context) (time.Time, error) {
		db, err := b.database()
		if err != nil {
			return time.Time{}, err
		}
		return c.now(ctx, db)
	}
	return b, nil
}

// cannot returns what has failed and why. Where that was the end of ctx, it is the cause of
// that.
func cannot(ctx context.Context, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf(format+": %w", append(args, mongodb.Explain(err))...)
}

// database returns the database, and connects to it if nobody has yet.
func (b *Broker) database() (*mongo.Database, error) { return b.client.Database(b.opt.Database) }

func (b *Broker) collection() (*mongo.Collection, error) {
	db, err := b.database()
	if err != nil {
		return nil, err
	}
	return db.Collection(b.opt.Collection), nil
}

// queue returns the collection with its indexes.
func (b *Broker) queue(ctx context.Context) (*mongo.Collection, error) {
	c, err := b.collection()
	if err != nil || b.isIndexed() {
		return c, err
	}
	if err := makeIndexes(ctx, c); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.indexed = true
	return c, nil
}

func (b *Broker) isIndexed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.indexed
}

// indexes returns, by their names, what lets a claim cost the same however many messages
// there are. "claim" has those of a type in the order in which they are claimed: the server
// merges the types, and where the first of a priority has a later time, goes on to the next
// priority. The others have only documents with their key: the leases, and what arrives.
func indexes() map[string]bson.D {
	return map[string]bson.D{
		"claim": append(bson.D{{Key: "state", Value: 1}, {Key: "type", Value: 1}}, inOrder()...),
		"until": is("until", 1),
		"batch": is("batch", 1),
	}
}

// makeIndexes makes the indexes that are not there. Who may not do so needs not, where
// somebody else has made them.
func makeIndexes(ctx context.Context, c *mongo.Collection) error {
	there, err := c.Indexes().ListSpecifications(ctx)
	if err != nil {
		return err
	}
	for name, keys := range indexes() {
		if slices.ContainsFunc(there, func(i mongo.IndexSpecification) bool { return i.Name == name }) {
			continue
		}
		model := mongo.IndexModel{Keys: keys, Options: options.Index().SetName(name).SetSparse(len(keys) == 1)}
		if _, err := c.Indexes().CreateOne(ctx, model); err != nil {
			return fmt.Errorf("cannot make the index %q of %s.%s: %w", name, c.Database().Name(), c.Name(), mongodb.Explain(err))
		}
	}
	return nil
}

// Close closes the connections.
func (b *Broker) Close() error { return b.client.Close() }

// bell wakes all who wait when it rings.
type bell struct {
	mu   sync.Mutex
	next chan struct{} // closed at the next ring
}

func newBell() *bell { return &bell{next: make(chan struct{})} }

// heard returns what is closed at the next ring.
func (b *bell) heard() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.next
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.next)
	b.next = make(chan struct{})
}
