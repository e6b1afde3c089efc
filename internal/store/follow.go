package store

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"procops/internal/event"
)

const (
	// followChunk bounds how many events are in memory at once.
	followChunk = 1000
	// followPatience is how long Follow waits for a sign of a change before it
	// looks by itself, in case a sign was lost.
	followPatience = time.Second
)

// settle are the delays after a write to the log file until its commit is
// visible: SQLite writes the pages first, and makes them known, after an fsync
// in Durability Power, in shared memory, which gives no sign. The first also
// bounds how often the log is read beside processes that write without a pause.
var settle = [...]time.Duration{time.Millisecond, 4 * time.Millisecond, 20 * time.Millisecond, 75 * time.Millisecond}

// Follow calls fn with the recorded events that match f, in ascending order of
// id, and then with each further one as soon as any process has recorded it;
// none is missed and none comes twice. fn gets at least one event at a time. It
// ends with fn's error, or with the cause of ctx's end.
func (s *Store) Follow(ctx context.Context, f EventFilter, fn func([]event.Event) error) error {
	changes, err := watchFile(s.path + "-wal")
	if err != nil {
		return useError("follow", s.path, err)
	}
	defer changes.close()
	cursor := &cursor{store: s, filter: f, fn: fn}
	if err := cursor.start(ctx); err != nil {
		return err
	}
	for {
		changed, err := changes.wait(ctx, followPatience)
		if err != nil {
			return err
		}
		if changed {
			err = cursor.settled(ctx, changes)
		} else {
			err = cursor.catchUp(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// Replay calls fn with the recorded events that match f, in ascending order of
// id, in chunks that bound memory. It ends with fn's error, or with the cause of
// ctx's end.
func (s *Store) Replay(ctx context.Context, f EventFilter, fn func([]event.Event) error) error {
	return (&cursor{store: s, filter: f, fn: fn}).start(ctx)
}

// cursor is a place in the event log.
type cursor struct {
	store  *Store
	filter EventFilter
	fn     func([]event.Event) error
}

// start delivers what is recorded already.
func (c *cursor) start(ctx context.Context) error {
	first := c.filter
	c.filter.Limit, c.filter.Last = 0, false
	if first.Limit > 0 {
		_, err := c.deliver(ctx, first)
		return err
	}
	return c.catchUp(ctx)
}

// settled delivers what a change has brought, once it is visible. A further
// change begins the waiting anew.
func (c *cursor) settled(ctx context.Context, changes *watch) error {
	if err := sleep(ctx, settle[0]); err != nil {
		return err
	}
	for next := 1; ; next++ {
		if err := c.catchUp(ctx); err != nil || next == len(settle) {
			return err
		}
		changed, err := changes.wait(ctx, settle[next])
		if changed && err == nil {
			next = 0
			err = sleep(ctx, settle[0])
		}
		if err != nil {
			return err
		}
	}
}

// catchUp delivers everything after the cursor, in chunks.
func (c *cursor) catchUp(ctx context.Context) error {
	for {
		chunk := c.filter
		chunk.Limit = followChunk
		if n, err := c.deliver(ctx, chunk); err != nil || n < followChunk {
			return err
		}
	}
}

// deliver hands the events of one query to fn and moves the cursor: behind the
// last of a full chunk, else behind all that the query has seen.
func (c *cursor) deliver(ctx context.Context, f EventFilter) (n int, err error) {
	var (
		events []event.Event
		newest int64
	)
	err = c.store.View(ctx, func(tx *Tx) error {
		if newest, err = newestEvent(tx); err != nil || newest <= f.AfterID {
			return err
		}
		events, err = Events(tx, f)
		return err
	})
	if err != nil {
		return 0, errors.Join(context.Cause(ctx), err)
	}
	n = len(events)
	if n > 0 {
		if err := c.fn(events); err != nil {
			return n, err
		}
	}
	if n > 0 && n == f.Limit && !f.Last {
		c.filter.AfterID = events[n-1].ID
	} else {
		c.filter.AfterID = max(c.filter.AfterID, newest)
	}
	return n, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// watchFile watches the directory of a file that comes and goes.
func watchFile(path string) (*watch, error) {
	return newWatch(filepath.Dir(path), filepath.Base(path))
}
