package tasks

import (
	"context"
	"slices"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
)

// AllTypes stands for all types where some are paused.
const AllTypes = "*"

// Pause has no worker with this state begin a task of some types, none: of any type, until
// Resume. What runs goes on, and tasks can be pushed all the time. A type that is not known
// is a fault.NotFound.
func (q *Queue) Pause(ctx context.Context, types []string) error {
	return q.setPaused(ctx, types, pause)
}

// Resume ends a pause; with no types all that there are.
func (q *Queue) Resume(ctx context.Context, types []string) error {
	return q.setPaused(ctx, types, resume)
}

func (q *Queue) setPaused(ctx context.Context, types []string, set func(*store.Tx, string) error) error {
	for _, typ := range types {
		if _, err := q.cfg.find(typ); err != nil {
			return fault.Wrap(faultKind(err), err, "cannot pause or resume tasks")
		}
	}
	if len(types) == 0 {
		types = []string{AllTypes}
	}
	return q.store.Update(ctx, func(tx *store.Tx) error {
		for _, typ := range types {
			if err := set(tx, typ); err != nil {
				return err
			}
		}
		return nil
	})
}

// Paused returns the types that are paused, in order; AllTypes stands for all.
func (q *Queue) Paused(ctx context.Context) (types []string, err error) {
	err = q.store.View(ctx, func(tx *store.Tx) error {
		types, err = paused(tx)
		return err
	})
	return types, err
}

// pauseLook is how old what a worker knows of pauses may be.
const pauseLook = 100 * time.Millisecond

// pauses is what a worker knows of pauses.
type pauses struct {
	types []string
	at    time.Time // when that was so; zero: never
}

// has reports whether a type is paused.
func (p *pauses) has(typ string) bool {
	return slices.Contains(p.types, typ) || slices.Contains(p.types, AllTypes)
}

// lookForPauses looks which types are paused, unless it has just done so. While that cannot
// be read, what was paused stays so.
func (w *worker) lookForPauses(ctx context.Context) {
	if time.Since(w.pauses.at) < pauseLook {
		return
	}
	types, err := w.q.Paused(ctx)
	if err != nil {
		if ctx.Err() == nil {
			w.deps.Log.Error().Err(err).Msg("cannot look for pauses")
		}
		types = w.pauses.types
	}
	w.pauses = pauses{types, time.Now()}
}

// unpaused returns the types that are not paused.
func (w *worker) unpaused() []string {
	return slices.DeleteFunc(slices.Clone(w.types), w.pauses.has)
}
