// Package redis keeps what is known of tasks in Redis, where programs that use leptir look
// for it: a key for each task, whose value is JSON.
package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"procops/internal/tasks/leptir"
)

// Options say where the keys are.
type Options struct {
	// URL is the server, as "redis://user:password@host:6379/0"; rediss:// for TLS,
	// unix:// for a socket. Empty: redis://127.0.0.1:6379/0.
	URL string
	// Prefix stands before the id of a task in its key. Empty: "leptir:taskinfo:".
	Prefix string
	// ExpireAfter is how long a key lives after it was written; 0: for ever.
	ExpireAfter time.Duration
}

// Store is a meta store in Redis.
type Store struct {
	client *redis.Client
	prefix string
	expire time.Duration
}

// Open returns a store. It connects when that is first needed; the error says what is wrong
// with the options.
func Open(o Options) (*Store, error) {
	opt, err := redis.ParseURL(cmp.Or(o.URL, "redis://127.0.0.1:6379/0"))
	if err != nil {
		return nil, fmt.Errorf("invalid URL of a Redis server: %w", err)
	}
	opt.MaxRetries, opt.DialerRetries = -1, 1 // whoever calls tries again, and knows better when
	redis.SetLogger(silence{})
	return &Store{client: redis.NewClient(opt), prefix: cmp.Or(o.Prefix, "leptir:taskinfo:"), expire: o.ExpireAfter}, nil
}

// Close closes the connections.
func (s *Store) Close() error { return s.client.Close() }

// Save writes what is known of tasks.
func (s *Store) Save(ctx context.Context, infos []leptir.Info) error {
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range infos {
			info := &infos[i]
			value, err := info.Encode()
			if err != nil { // what the task has added cannot be written; all else can
				bare := *info
				bare.Extra = nil
				if value, err = bare.Encode(); err != nil {
					return err
				}
			}
			if info.New() {
				p.SetNX(ctx, s.prefix+info.ID, value, s.expire)
			} else {
				p.Set(ctx, s.prefix+info.ID, value, s.expire)
			}
		}
		return nil
	})
	return err
}

// Load reads what is known of a task.
func (s *Store) Load(ctx context.Context, id string) (info leptir.Info, found bool, err error) {
	value, err := s.client.Get(ctx, s.prefix+id).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return info, false, nil
	case err != nil:
		return info, false, err
	}
	if info, err = leptir.DecodeInfo(value); err != nil {
		return info, false, fmt.Errorf("key %q: %w", s.prefix+id, err)
	}
	return info, true, nil
}

// silence is the log of the library: what goes wrong comes back as an error.
type silence struct{}

// Printf does nothing.
func (silence) Printf(context.Context, string, ...any) {}
