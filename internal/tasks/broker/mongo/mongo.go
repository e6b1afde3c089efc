package mongo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
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

// The time in which a server must be found, where the URL has no serverSelectionTimeoutMS,
// and how often Await looks.
const (
	findTimeout = 5 * time.Second
	defaultPoll = 500 * time.Millisecond
)

// Broker is a queue in MongoDB.
type Broker struct {
	opt   Options
	woken *bell
	now   func(context.Context) (time.Time, error)

	mu      sync.Mutex
	client  *mongo.Client // nil until it is needed
	indexed bool
	pushed  int64 // the order of the newest push
	looked  time.Time
}

// New returns a queue. It connects when that is first needed; the error says what is
// wrong with the options.
func New(o Options) (*Broker, error) {
	o.URL = cmp.Or(o.URL, "mongodb://127.0.0.1:27017")
	o.Database, o.Collection = cmp.Or(o.Database, "procops"), cmp.Or(o.Collection, "tasks")
	o.Poll = cmp.Or(o.Poll, defaultPoll)
	if !strings.HasPrefix(o.URL, "mongodb+srv://") { // that one asks the DNS when it is read
		if _, err := clientOptions(o); err != nil {
			return nil, err
		}
	}
	b := &Broker{opt: o, woken: newBell()}
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

func clientOptions(o Options) (*options.ClientOptions, error) {
	c := options.Client().SetServerSelectionTimeout(findTimeout).SetTimeout(o.Timeout).SetAppName("procops").
		SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: new(true)}).
		ApplyURI(o.URL).SetReadPreference(readpref.Primary())
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("invalid URL of a MongoDB server: %w", innermost(err))
	}
	return c, nil
}

// database returns the database, and connects to it if nobody has yet. That costs no
// time: the library does it in the background.
func (b *Broker) database() (*mongo.Database, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.client == nil {
		o, err := clientOptions(b.opt)
		if err != nil {
			return nil, err
		}
		if b.client, err = mongo.Connect(o); err != nil {
			return nil, err
		}
	}
	return b.client.Database(b.opt.Database), nil
}

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
			return fmt.Errorf("cannot make the index %q of %s.%s: %w", name, c.Database().Name(), c.Name(), explain(err))
		}
	}
	return nil
}

// closePatience is how long Close waits for the server to hear of it.
const closePatience = 2 * time.Second

// Close closes the connections.
func (b *Broker) Close() error {
	b.mu.Lock()
	client := b.client
	b.mu.Unlock()
	if client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	if err := client.Disconnect(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

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
