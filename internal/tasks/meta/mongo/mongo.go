// Package mongo keeps what is known of tasks in MongoDB, where programs that use leptir look
// for it: a document for each task.
package mongo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"procops/internal/tasks/leptir"
	"procops/internal/tasks/mongodb"
)

// Options say where the documents are.
type Options struct {
	URL        string // the server or the replica set; empty: "mongodb://127.0.0.1:27017"
	Database   string // empty: "leptir"
	Collection string // empty: "info"
	// ExpireAfter is how long after its start what is known of a task is forgotten; 0: never.
	ExpireAfter time.Duration
}

// callTimeout is how long a call to the server may take.
const callTimeout = 10 * time.Second

// Store is a meta store in MongoDB.
type Store struct {
	opt    Options
	client *mongodb.Client

	mu      sync.Mutex
	expires bool      // the server forgets by itself
	swept   time.Time // when this has, where the server cannot
}

// Open returns a store. It connects when that is first needed; the error says what is wrong
// with the options.
func Open(o Options) (*Store, error) {
	o.Database, o.Collection = cmp.Or(o.Database, "leptir"), cmp.Or(o.Collection, "info")
	client, err := mongodb.New(o.URL, callTimeout)
	return &Store{opt: o, client: client}, err
}

// Close closes the connections.
func (s *Store) Close() error { return s.client.Close() }

func (s *Store) collection() (*mongo.Collection, error) {
	db, err := s.client.Database(s.opt.Database)
	if err != nil {
		return nil, err
	}
	return db.Collection(s.opt.Collection), nil
}

// Save writes what is known of tasks.
func (s *Store) Save(ctx context.Context, infos []leptir.Info) error {
	if len(infos) == 0 {
		return nil
	}
	c, err := s.collection()
	if err != nil {
		return err
	}
	writes := make([]mongo.WriteModel, len(infos))
	for i := range infos {
		fields, which := document(&infos[i]), bson.D{{Key: "_id", Value: infos[i].ID}}
		if infos[i].New() {
			writes[i] = mongo.NewUpdateOneModel().SetFilter(which).SetUpdate(bson.D{{Key: "$setOnInsert", Value: fields}}).SetUpsert(true)
		} else {
			writes[i] = mongo.NewReplaceOneModel().SetFilter(which).SetReplacement(append(which, fields...)).SetUpsert(true)
		}
	}
	if _, err := c.BulkWrite(ctx, writes, options.BulkWrite().SetOrdered(false)); err != nil && !mongo.IsDuplicateKeyError(err) {
		return mongodb.Explain(err)
	} else if err != nil {
		// Two have written the first about a task at one time. Now it is there.
		if _, err = c.BulkWrite(ctx, writes, options.BulkWrite().SetOrdered(false)); err != nil {
			return mongodb.Explain(err)
		}
	}
	return s.expire(ctx, c)
}

// Load reads what is known of a task.
func (s *Store) Load(ctx context.Context, id string) (info leptir.Info, found bool, err error) {
	c, err := s.collection()
	if err != nil {
		return info, false, err
	}
	var d bson.D
	switch err := c.FindOne(ctx, bson.D{{Key: "_id", Value: id}}).Decode(&d); {
	case errors.Is(err, mongo.ErrNoDocuments):
		return info, false, nil
	case err != nil:
		return info, false, mongodb.Explain(err)
	}
	if info, err = read(d); err != nil {
		return info, false, fmt.Errorf("document %q of %s.%s: %w", id, s.opt.Database, s.opt.Collection, err)
	}
	return info, true, nil
}

// The key of the start of a task, by which it is forgotten, the name of the index of it,
// and how often this looks for what is to be forgotten where the server does not.
const (
	keyStart      = "exStart"
	expireIndex   = "expire"
	sweepInterval = time.Minute
)

// What a server answers that has no indexes that expire, or has one with another time.
const (
	codeNotImplemented  = 238
	codeOptionsConflict = 85
)

// expire makes the server forget, or does so itself where that cannot.
func (s *Store) expire(ctx context.Context, c *mongo.Collection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opt.ExpireAfter <= 0 || s.expires || time.Since(s.swept) < sweepInterval {
		return nil
	}
	err := s.makeIndex(ctx, c)
	if refused, ok := errors.AsType[mongo.CommandError](err); ok && refused.Code == codeNotImplemented {
		s.swept = time.Now()
		before := bson.D{{Key: "$lt", Value: time.Now().Add(-s.opt.ExpireAfter)}}
		_, err = c.DeleteMany(ctx, bson.D{{Key: keyStart, Value: before}})
	} else if err == nil {
		s.expires = true
	}
	if err != nil {
		return fmt.Errorf("cannot make it forget: %w", mongodb.Explain(err))
	}
	return nil
}

func (s *Store) makeIndex(ctx context.Context, c *mongo.Collection) error {
	seconds := int32(max(s.opt.ExpireAfter/time.Second, 1)) //nolint:gosec // a configured time, of at most some years
	_, err := c.Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys: bson.D{{Key: keyStart, Value: 1}}, Options: options.Index().SetName(expireIndex).SetExpireAfterSeconds(seconds),
	})
	if refused, ok := errors.AsType[mongo.CommandError](err); ok && refused.Code == codeOptionsConflict {
		return c.Database().RunCommand(ctx, bson.D{
			{Key: "collMod", Value: c.Name()},
			{Key: "index", Value: bson.D{{Key: "name", Value: expireIndex}, {Key: "expireAfterSeconds", Value: seconds}}},
		}).Err()
	}
	return err
}
