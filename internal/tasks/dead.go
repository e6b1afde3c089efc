package tasks

import (
	"context"
	"errors"
	"slices"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
	"procops/internal/tasks/broker"
)

// Dead tasks: they were given up and wait for somebody to look at them. The broker
// has them as buried, the record as dead. Each step below is safe to die at: the
// broker comes first, and the next worker sees from the counts, which have begun anew,
// what the record has missed.

const (
	// handAtOnce bounds how many tasks one step changes, so that others who write get
	// their turn.
	handAtOnce = 500
	// handLease is how long nobody else gets the tasks of a step.
	handLease = 10 * time.Second
)

// Dead returns the tasks that were given up, the newest last: those recorded here and
// those that other hosts have buried. States of f has no meaning.
func (q *Queue) Dead(ctx context.Context, f Filter) ([]Record, error) {
	f.States = []State{StateDead}
	records, err := q.List(ctx, f)
	if err != nil {
		return nil, err
	}
	var types []string
	if f.Type != "" {
		types = []string{f.Type}
	}
	n, err := q.broker.Count(ctx, types)
	if err != nil || n.Buried == 0 || n.Buried <= len(records) && f.Limit == 0 && f.Since.IsZero() {
		return records, err
	}
	return q.addBuried(ctx, records, types, f)
}

// addBuried adds the dead tasks that only the broker knows of.
func (q *Queue) addBuried(ctx context.Context, records []Record, types []string, f Filter) ([]Record, error) {
	known := make(map[string]bool, len(records))
	for i := range records {
		known[records[i].ID] = true
	}
	for e, err := range q.broker.List(ctx, types) {
		switch {
		case errors.Is(err, errors.ErrUnsupported):
			return records, nil
		case err != nil:
			return nil, err
		case e.State != broker.StateBuried || known[e.ID]:
			continue
		}
		r, err := recordOf(broker.Lease{Message: e.Message})
		if err != nil { // another program has written it
			r = Record{ID: e.ID, Type: e.Type, Pushed: e.RunAt, RunAt: e.RunAt, Run: Run{Message: err.Error()}}
		}
		if r.State = StateDead; !r.Pushed.Before(f.Since) {
			records = append(records, r)
		}
	}
	slices.SortStableFunc(records, func(x, y Record) int { return x.Pushed.Compare(y.Pushed) })
	if f.Limit > 0 {
		records = records[max(0, len(records)-f.Limit):]
	}
	return records, nil
}

// Requeue makes dead tasks pending again: they are run as if they had just been pushed.
// It returns those for which that was done. A task that is in no queue any more is
// pushed once more, from what is recorded of it.
func (q *Queue) Requeue(ctx context.Context, ids []string) (done []string, err error) {
	return q.hand(ctx, ids, q.requeueSome)
}

// DeleteDead removes dead tasks, their records too, and returns those that were dead.
func (q *Queue) DeleteDead(ctx context.Context, ids []string) (done []string, err error) {
	return q.hand(ctx, ids, q.deleteSome)
}

// hand does something to tasks, some after the other.
func (q *Queue) hand(ctx context.Context, ids []string, do func(context.Context, []string) ([]string, error)) (done []string, err error) {
	for some := range slices.Chunk(ids, handAtOnce) {
		more, err := do(ctx, some)
		done = append(done, more...)
		if errors.Is(err, errors.ErrUnsupported) {
			return done, fault.Wrap(fault.Usage, err, "the broker cannot find a task by its id")
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// take claims tasks by their ids that are in a state of the broker.
func (q *Queue) take(ctx context.Context, ids []string, from broker.State) ([]broker.Lease, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return q.broker.Claim(ctx, broker.Ask{IDs: ids, From: from, Max: len(ids), Lease: handLease})
}

func (q *Queue) requeueSome(ctx context.Context, ids []string) (done []string, err error) {
	leases, err := q.take(ctx, ids, broker.StateBuried)
	if err != nil {
		return nil, err
	}
	numbers := make(map[string]int64, len(ids))
	for _, l := range leases {
		switch err := q.broker.Nack(ctx, l, broker.Again{Fresh: true}); {
		case errors.Is(err, broker.ErrLost):
		case err != nil:
			return nil, err
		default:
			numbers[l.ID] = l.Number
		}
	}
	rest, err := q.unburied(ctx, ids, leases)
	if err != nil {
		return nil, err
	}
	var absent []broker.Message
	for _, u := range rest {
		if !u.queued {
			m, err := u.record.message()
			if err != nil {
				return nil, err
			}
			m.Number = u.record.run // so that the next lease is a newer one
			absent = append(absent, m)
		}
		numbers[u.record.ID] = u.record.run
	}
	if len(absent) > 0 {
		if err := q.broker.Push(ctx, absent); err != nil {
			return nil, err
		}
	}
	return q.each(ctx, ids, func(tx *store.Tx, id string) (bool, error) {
		number, ok := numbers[id]
		if !ok {
			return false, nil
		}
		return true, requeue(tx, id, number)
	})
}

func (q *Queue) deleteSome(ctx context.Context, ids []string) (done []string, err error) {
	leases, err := q.take(ctx, ids, broker.StateBuried)
	if err != nil {
		return nil, err
	}
	rest, err := q.unburied(ctx, ids, leases)
	if err != nil {
		return nil, err
	}
	gone := make(map[string]bool, len(ids))
	var queued []string
	for _, u := range rest {
		gone[u.record.ID] = !u.queued
		if u.queued {
			queued = append(queued, u.record.ID)
		}
	}
	more, err := q.take(ctx, queued, broker.StateReady)
	if err != nil {
		return nil, err
	}
	leases = append(leases, more...)
	for _, l := range leases {
		gone[l.ID] = true
	}
	lost, err := q.broker.Ack(ctx, leases)
	for _, l := range lost {
		gone[l.ID] = false
	}
	if err != nil {
		return nil, err
	}
	return q.each(ctx, ids, func(tx *store.Tx, id string) (bool, error) {
		if !gone[id] {
			return false, nil
		}
		return true, erase(tx, id)
	})
}

// each calls record for each task in one transaction, and returns those for which it
// has returned true.
func (q *Queue) each(ctx context.Context, ids []string, record func(*store.Tx, string) (bool, error)) (done []string, err error) {
	err = q.store.Update(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		done = nil
		for _, id := range ids {
			ok, err := record(tx, id)
			if err != nil {
				return err
			}
			if ok {
				done = append(done, id)
			}
		}
		return nil
	})
	return done, err
}

// unburied is a task that is dead by its record and that the broker has not buried: its
// worker died before it could tell the broker, or the broker has lost it.
type unburied struct {
	record Record
	queued bool // the broker has it, ready
}

// unburied returns those of some tasks of which no lease was got, but for those that
// somebody has leased: they will be what they are to be when that lease has ended.
func (q *Queue) unburied(ctx context.Context, ids []string, leases []broker.Lease) ([]unburied, error) {
	rest := slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
		return slices.ContainsFunc(leases, func(l broker.Lease) bool { return l.ID == id })
	})
	var dead []Record
	err := q.store.View(ctx, func(tx *store.Tx) (err error) {
		dead, err = loadAll(tx, rest, StateDead)
		return err
	})
	if err != nil || len(dead) == 0 {
		return nil, err
	}
	states := map[string]broker.State{}
	for i := range dead {
		states[dead[i].ID] = ""
	}
	for e, err := range q.broker.List(ctx, nil) {
		if err != nil {
			return nil, err
		}
		if _, wanted := states[e.ID]; wanted {
			states[e.ID] = e.State
		}
	}
	var list []unburied
	for _, r := range dead {
		if s := states[r.ID]; s == "" || s == broker.StateReady {
			list = append(list, unburied{r, s != ""})
		}
	}
	return list, nil
}
