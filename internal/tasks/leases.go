package tasks

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"procops/internal/tasks/broker"
)

// held is a lease while its task is worked on.
type held struct {
	lease broker.Lease
	until time.Time       // by our clock
	ctx   context.Context // its end stops the run
	stop  context.CancelCauseFunc
}

// claim is what tells leases apart. Where a broker may have a message twice, one worker can
// hold both.
type claim struct {
	id, broker, handle string
	number             int64
}

func claimOf(l *broker.Lease) claim { return claim{l.ID, l.Broker, l.Handle, l.Number} }

// leases are those of all tasks of a worker.
type leases struct {
	some chan struct{} // room for one: there is one

	mu   sync.Mutex
	held map[claim]*held
}

func (s *leases) add(ctx context.Context, l broker.Lease, until time.Time) *held {
	h := &held{lease: l, until: until}
	h.ctx, h.stop = context.WithCancelCause(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[claimOf(&l)] = h
	select {
	case s.some <- struct{}{}:
	default:
	}
	return h
}

func (s *leases) remove(h *held) {
	h.stop(nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, claimOf(&h.lease))
}

func (s *leases) all() (list []broker.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held {
		list = append(list, h.lease)
	}
	return list
}

// extended takes note that the leases end at a time now, but for those that are
// lost: their runs are stopped.
func (s *leases) extended(list, lost []broker.Lease, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range list {
		if h := s.held[claimOf(&list[i])]; h != nil {
			h.until = until
		}
	}
	for i := range lost {
		if h := s.held[claimOf(&lost[i])]; h != nil {
			h.stop(broker.ErrLost)
		}
	}
}

// expire stops the runs whose lease has ended: somebody else may have the task.
func (s *leases) expire(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.held {
		if !now.Before(h.until) {
			h.stop(broker.ErrLost)
		}
	}
}

// keepLeases extends the leases of what runs, three times in the length of one.
func (w *worker) keepLeases(ctx context.Context) {
	length := w.q.cfg.Lease.Std()
	tick := time.NewTicker(length / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		list := w.leases.all()
		if len(list) == 0 {
			continue
		}
		until := time.Now().Add(length)
		lost, err := w.extend(ctx, list, length)
		partial, some := errors.AsType[*broker.PartialError](err)
		if some {
			list = slices.DeleteFunc(list, func(l broker.Lease) bool { return slices.Contains(partial.IDs, l.ID) })
		}
		if err == nil || some {
			w.leases.extended(list, lost, until)
		}
		w.leases.expire(time.Now())
	}
}

// extend extends leases. A broker that does not answer must not keep it from
// noticing that they have ended.
func (w *worker) extend(ctx context.Context, list []broker.Lease, length time.Duration) ([]broker.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, length/3)
	defer cancel()
	lost, err := w.q.broker.Extend(ctx, list, length)
	if err != nil && !errors.Is(err, context.Canceled) {
		w.deps.Log.Error().Err(err).Int("tasks", len(list)).Msg("cannot extend the leases of tasks")
	}
	return lost, err
}
