package heartbeat

import (
	"context"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
)

// Pause has nothing be expected of a heartbeat until a time, or, if that is zero,
// until it is resumed; a beat ends it as well. A name that is not in the list is a
// fault.NotFound, a time that has passed a fault.Usage.
func (l *List) Pause(ctx context.Context, name string, until time.Time) error {
	return l.order(ctx, name, func(tx *store.Tx, t *turn) error {
		if !until.IsZero() && !until.After(tx.Now()) {
			return fault.New(fault.Usage, "cannot pause heartbeat %q: %s has passed", name, until.Format(time.RFC3339))
		}
		return t.pause(until, tx.Now())
	})
}

// Resume ends a pause: the heartbeat is new again, and expected from its next beat
// on. One that is not paused is a fault.Conflict.
func (l *List) Resume(ctx context.Context, name string) error {
	return l.order(ctx, name, func(tx *store.Tx, t *turn) error {
		if t.state != StatePaused {
			return fault.New(fault.Conflict, "cannot resume heartbeat %q: it is not paused", name)
		}
		return t.fire(TriggerResume, tx.Now())
	})
}

// order has something happen to a heartbeat of the list.
func (l *List) order(ctx context.Context, name string, what func(*store.Tx, *turn) error) error {
	return l.store.Update(ctx, func(tx *store.Tx) error {
		h, _, err := l.expect(tx, name, false)
		if err != nil {
			return err
		}
		if err := ensureRow(tx, name); err != nil {
			return err
		}
		return l.live(tx, h, func(t *turn) error { return what(tx, t) })
	})
}

// Next returns when a heartbeat is looked for again: when it is late, down, or its
// pause is over; zero: nothing is expected of it.
func (h Heartbeat) Next() time.Time {
	t := turn{life: h.life, expected: h.expected}
	return t.deadline()
}
