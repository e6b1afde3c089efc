package store

import (
	"context"
	"time"
)

// Await calls look in a read transaction, at once and then as soon as any process
// has written to the state, until it returns true or fails, and for patience at
// the most; then it returns false. When ctx ends the error is its cause.
func (s *Store) Await(ctx context.Context, patience time.Duration, look func(*Tx) (bool, error)) (found bool, err error) {
	changes, err := watchFile(s.path + "-wal")
	if err != nil {
		return false, useError("follow", s.path, err)
	}
	defer changes.close()
	deadline := time.Now().Add(patience)
	// A write just before the watch began may not be visible yet either.
	for step := 0; ; {
		err = s.View(ctx, func(tx *Tx) (err error) {
			found, err = look(tx)
			return err
		})
		rest := time.Until(deadline)
		switch {
		case ctx.Err() != nil:
			return false, context.Cause(ctx)
		case found, err != nil, rest <= 0:
			return found, err
		}
		if step < len(settle) {
			rest = min(rest, settle[step])
			step++
		}
		changed, err := changes.wait(ctx, rest)
		if err != nil {
			return false, err
		}
		if changed {
			step = 1
			if err := sleep(ctx, settle[0]); err != nil {
				return false, err
			}
		}
	}
}
