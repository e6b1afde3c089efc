package tasks

import (
	"context"
	"errors"
	"time"

	"procops/internal/store"
	"procops/internal/tasks/broker"
)

// The reports of a worker: each records what has become of a task and then tells
// the broker.

// start records that a run begins, and returns the state of the task: it is
// running, unless a worker has died after the task was done or dead.
func (q *Queue) start(ctx context.Context, l *broker.Lease, r *Record) (state State, err error) {
	err = q.store.Update(ctx, func(tx *store.Tx) error {
		if err := create(tx, r); err != nil {
			return err
		}
		_, state, err = move(tx, l, TriggerStart)
		switch {
		case err == nil && state == StateCancelled:
			return saveGone(tx, l.ID)
		case err != nil || state != StateRunning:
			return err
		}
		tx.Emit(eventStarted.New(l.ID, startData{Type: l.Type, Attempt: l.Attempts + 1, Crashes: l.Crashes}))
		return saveStart(tx, l.ID)
	})
	if err == nil && state == StateRunning {
		running := *r
		running.State, running.Run.Started = state, time.Now()
		q.meta.tell(running)
	}
	return state, err
}

// end records how a run has ended: by TriggerComplete, TriggerRetry, TriggerPostpone
// or TriggerGiveUp.
func (q *Queue) end(ctx context.Context, l *broker.Lease, r Record, t Trigger) error {
	var to State
	err := q.store.Update(ctx, func(tx *store.Tx) error {
		var (
			from State
			err  error
		)
		from, to, err = move(tx, l, t)
		switch {
		case err == nil && to == StateCancelled:
			return saveEnd(tx, &r)
		case err != nil || from == to:
			return err
		}
		data := endData{
			Type: r.Type, Attempt: l.Attempts + 1, Result: r.Run.Result, Code: r.Run.Code,
			Seconds: r.Run.Duration.Round(time.Millisecond).Seconds(), Message: r.Run.Message,
		}
		if t == TriggerComplete {
			tx.Emit(eventCompleted.New(r.ID, data))
			return errors.Join(saveEnd(tx, &r), q.forget(tx))
		}
		if t != TriggerGiveUp {
			data.RetryAt = stamp(r.RunAt)
		}
		if t == TriggerPostpone {
			tx.Emit(eventPostponed.New(r.ID, data))
		} else {
			tx.Emit(eventFailed.New(r.ID, data))
		}
		if t == TriggerGiveUp {
			tx.Emit(eventDead.New(r.ID, deadData{Type: r.Type, Attempts: r.Attempts, Crashes: r.Crashes, Message: r.Run.Message}))
		}
		return saveEnd(tx, &r)
	})
	if err != nil {
		return err
	}
	r.State = to
	q.meta.tell(r)
	switch {
	case to == StateCancelled:
		return q.ack(ctx, l)
	case t == TriggerRetry, t == TriggerPostpone:
		return q.broker.Nack(ctx, *l, broker.Again{At: r.RunAt, Failed: t == TriggerRetry})
	case t == TriggerGiveUp:
		return q.broker.Bury(ctx, *l)
	default:
		return q.ack(ctx, l)
	}
}

// forget removes what was done long ago.
func (q *Queue) forget(tx *store.Tx) error {
	if q.cfg.Keep == 0 {
		return nil
	}
	return forget(tx, tx.Now().Add(-q.cfg.Keep.Std()))
}

// bury gives a task up that cannot be run at all, or that workers die of.
func (q *Queue) bury(ctx context.Context, l *broker.Lease, r Record) error {
	var to State
	err := q.store.Update(ctx, func(tx *store.Tx) error {
		if err := create(tx, &r); err != nil {
			return err
		}
		var (
			from State
			err  error
		)
		from, to, err = move(tx, l, TriggerGiveUp)
		switch {
		case err == nil && to == StateCancelled:
			return saveGone(tx, l.ID)
		case err != nil || from == to:
			return err
		}
		tx.Emit(eventDead.New(r.ID, deadData{Type: r.Type, Attempts: r.Attempts, Crashes: r.Crashes, Message: r.Run.Message}))
		return saveEnd(tx, &r)
	})
	if err != nil {
		return err
	}
	if to == StateDone || to == StateCancelled {
		return q.ack(ctx, l)
	}
	r.State = to
	q.meta.tell(r)
	return q.broker.Bury(ctx, *l)
}

// release gives a task back that was stopped because the worker stops.
func (q *Queue) release(ctx context.Context, l *broker.Lease, r Record) error {
	err := q.store.Update(ctx, func(tx *store.Tx) error {
		from, to, err := move(tx, l, TriggerRelease)
		r.State = to
		if err == nil && to == StateCancelled {
			return saveGone(tx, l.ID)
		}
		if err == nil && from != to {
			tx.Emit(eventReleased.New(l.ID, releaseData{Type: l.Type}))
		}
		return err
	})
	if err != nil {
		return err
	}
	q.meta.tell(r)
	if r.State == StateCancelled {
		return q.ack(ctx, l)
	}
	return q.broker.Nack(ctx, *l, broker.Again{})
}

// ack tells the broker that it is done with a task.
func (q *Queue) ack(ctx context.Context, l *broker.Lease) error {
	lost, err := q.broker.Ack(ctx, []broker.Lease{*l})
	if err == nil && len(lost) > 0 {
		return broker.ErrLost
	}
	return err
}
