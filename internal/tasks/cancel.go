package tasks

import (
	"context"
	"errors"
	"slices"
	"time"

	"procops/internal/store"
	"procops/internal/tasks/broker"
)

// Cancel takes tasks off that nobody wants any more, and returns those for which that
// was done: they were pending or retrying, or are running; a worker that uses the same
// state then ends the run. A task that has ended is not among them.
//
// The record comes first. Whoever gets such a task from the broker after that, because
// somebody died in between, only tells the broker that it is done with.
func (q *Queue) Cancel(ctx context.Context, ids []string) (done []string, err error) {
	for some := range slices.Chunk(ids, handAtOnce) {
		more, err := q.cancelSome(ctx, some)
		done = append(done, more...)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

func (q *Queue) cancelSome(ctx context.Context, ids []string) (done []string, err error) {
	var unknown []string
	done, err = q.each(ctx, ids, func(tx *store.Tx, id string) (bool, error) {
		ok, err := cancel(tx, id)
		if errors.Is(err, errNoRecord) {
			unknown = append(unknown, id)
			return false, nil
		}
		return ok, err
	})
	if err != nil {
		return nil, err
	}
	q.tellCancelled(ctx, done)
	leases, err := q.takePending(ctx, slices.Concat(done, unknown))
	if err != nil {
		return done, err
	}
	foreign, err := q.cancelForeign(ctx, leases, unknown)
	done = append(done, foreign...)
	if err != nil {
		return done, err
	}
	_, err = q.broker.Ack(ctx, leases)
	return done, err
}

// takePending claims those of some tasks that nobody runs. A broker that cannot find them
// has none: whoever gets them will see that they are not wanted.
func (q *Queue) takePending(ctx context.Context, ids []string) (leases []broker.Lease, err error) {
	for _, from := range []broker.State{broker.StateReady, broker.StateScheduled} {
		some, err := q.take(ctx, ids, from)
		if errors.Is(err, errors.ErrUnsupported) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		leases = append(leases, some...)
	}
	return leases, nil
}

// cancelForeign records that tasks are cancelled that were pushed on other hosts.
func (q *Queue) cancelForeign(ctx context.Context, leases []broker.Lease, unknown []string) ([]string, error) {
	found := map[string]*broker.Lease{}
	for i := range leases {
		found[leases[i].ID] = &leases[i]
	}
	return q.each(ctx, unknown, func(tx *store.Tx, id string) (bool, error) {
		if found[id] == nil {
			return false, nil
		}
		r, err := recordOf(*found[id])
		if err != nil {
			return true, nil //nolint:nilerr // another program has written it: nobody can show it
		}
		if err := create(tx, &r); err != nil {
			return false, err
		}
		return cancel(tx, id)
	})
}

// tellCancelled tells the meta stores.
func (q *Queue) tellCancelled(ctx context.Context, ids []string) {
	for _, id := range ids {
		if r, err := q.Get(ctx, id); err == nil {
			q.meta.tell(r)
		}
	}
}

// errCancelled is why the run of a task is ended that nobody wants any more.
var errCancelled = errors.New("the task was cancelled")

// cancelLook is the time between two looks for cancelled tasks among those that run.
const cancelLook = 200 * time.Millisecond

// watchCancels ends the runs of tasks that are cancelled, until ctx ends. It sleeps while
// none runs.
func (w *worker) watchCancels(ctx context.Context) {
	tick := time.NewTicker(cancelLook)
	defer tick.Stop()
	for {
		tick.Stop()
		select {
		case <-ctx.Done():
			return
		case <-w.leases.some:
		}
		tick.Reset(cancelLook)
		for len(w.leases.all()) > 0 {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			w.stopCancelled(ctx)
		}
	}
}

// stopCancelled ends the runs of tasks that are cancelled.
func (w *worker) stopCancelled(ctx context.Context) {
	var ids []string
	err := w.q.store.View(ctx, func(tx *store.Tx) (err error) {
		ids, err = cancelledRuns(tx)
		return err
	})
	if err != nil && ctx.Err() == nil {
		w.deps.Log.Error().Err(err).Msg("cannot look for cancelled tasks")
	}
	for _, id := range ids {
		w.leases.cancel(id)
	}
}

// cancel ends the run of a task, if it runs here.
func (s *leases) cancel(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, h := range s.held {
		if c.id == id {
			h.stop(errCancelled)
		}
	}
}
