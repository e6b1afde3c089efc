package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"procops/internal/tasks/broker"
)

// server is a Redis server. It is connected to when that is first needed.
type server struct {
	client *redis.Client
	old    atomic.Bool // it is older than Redis 7
}

// connect returns the server of a URL, empty for the usual one; timeout bounds a call where
// the URL does not.
func connect(url string, timeout time.Duration) (*server, error) {
	opt, err := redis.ParseURL(cmp.Or(url, "redis://127.0.0.1:6379/0"))
	if err != nil {
		return nil, fmt.Errorf("invalid URL of a Redis server: %w", err)
	}
	// Whoever asks decides whether to ask again: a claim must not be made twice, because its
	// first answer was lost.
	if opt.MaxRetries == 0 {
		opt.MaxRetries = -1
	}
	opt.DialerRetries = 1
	opt.DialTimeout = cmp.Or(opt.DialTimeout, timeout)
	opt.ReadTimeout = cmp.Or(opt.ReadTimeout, timeout)
	opt.WriteTimeout = cmp.Or(opt.WriteTimeout, timeout)
	redis.SetLogger(silence{})
	return &server{client: redis.NewClient(opt)}, nil
}

// silence is the log of the library: what goes wrong comes back as an error.
type silence struct{}

// Printf does nothing.
func (silence) Printf(context.Context, string, ...any) {}

// script is what Redis runs.
type script struct {
	flagged *redis.Script // says how it does with a full server: since Redis 7
	plain   *redis.Script
}

// taking is a script that is refused as a whole when the server is full.
func taking(text string) script {
	return script{redis.NewScript("#!lua\n" + text), redis.NewScript(text)}
}

// draining is a script that a full server must run as well: how else should it get empty?
func draining(text string) script {
	return script{redis.NewScript("#!lua flags=allow-oom\n" + text), redis.NewScript(text)}
}

// run runs a script.
func (s *server) run(ctx context.Context, sc script, keys []string, args ...any) *redis.Cmd {
	if !s.old.Load() {
		cmd := sc.flagged.Run(ctx, s.client, keys, args...)
		if cmd.Err() == nil || !strings.Contains(cmd.Err().Error(), "compiling script") {
			return cmd
		}
		s.old.Store(true)
	}
	return sc.plain.Run(ctx, s.client, keys, args...)
}

// refusal says in an error what the server has answered, if it has.
func refusal(err error) error {
	var answer redis.Error
	switch {
	case !errors.As(err, &answer):
		return err
	case strings.HasPrefix(answer.Error(), "OOM"):
		return fmt.Errorf("%w: %w", broker.ErrRefused, err)
	default:
		return fmt.Errorf("%w: %w", broker.ErrDenied, err)
	}
}
