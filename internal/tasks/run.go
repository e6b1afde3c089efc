package tasks

import (
	"context"
	"errors"
	"strconv"
	"time"

	"procops/internal/runner"
	"procops/internal/tasks/broker"
)

// attend works one task off, from its claim to the word to the broker.
func (w *worker) attend(h *held) runEnd {
	l := &h.lease
	r, err := recordOf(*l)
	if err != nil {
		// Another program has written it: nobody can run it, nor show it.
		w.log(l, "bury", err)
		w.log(l, "bury", w.q.broker.Bury(context.WithoutCancel(w.stop), *l))
		return runNothing
	}
	handler := w.handlers[r.Type]
	typ := handler.typ
	params, why := w.admit(typ, &r)
	if why.Message != "" {
		r.Run = why
		return w.bury(l, r)
	}
	state, err := w.q.start(context.WithoutCancel(w.stop), l, &r)
	switch {
	case err != nil:
		w.log(l, "begin", err)
		return runNothing // its lease ends and it comes back
	case state == StateDone || state == StateCancelled:
		w.log(l, "acknowledge", w.q.ack(context.WithoutCancel(w.stop), l))
		return runNothing
	case state == StateDead:
		w.log(l, "bury", w.q.broker.Bury(context.WithoutCancel(w.stop), *l))
		return runNothing
	}
	switch w.execute(h, handler, &r, params) {
	case runner.Cancelled:
		if errors.Is(context.Cause(h.ctx), errCancelled) {
			return w.cancelled(l, r)
		}
		return w.stopped(h, r)
	case runner.Stop:
		w.leave(errAsked)
	default:
	}
	return w.settle(l, typ, r)
}

// admit returns the parameters of a task that may be run; of one that may not, how
// it ends.
func (w *worker) admit(typ Type, r *Record) (params []byte, end Run) {
	if r.Crashes >= max(1, w.q.cfg.MaxCrashes) {
		return nil, Run{Result: ResultUnknown, Message: strconv.Itoa(r.Crashes) + " workers have died while they ran it"}
	}
	params, err := typ.complete(r.Params) // the configuration may be another than at the push
	if err != nil {
		return nil, Run{Result: ResultError, Message: err.Error()}
	}
	return params, Run{}
}

// bury gives a task up without a run.
func (w *worker) bury(l *broker.Lease, r Record) runEnd {
	w.deps.Log.Error().Str("task", r.ID).Str("type", r.Type).Str("reason", r.Run.Message).Msg("task given up")
	w.persist(l, "give up", func(ctx context.Context) error { return w.q.bury(ctx, l, r) })
	w.reportFailure(r, l.Attempts+1, true)
	return runFailed
}

// stopped gives a task back whose run was stopped, if it is still ours.
func (w *worker) stopped(h *held, r Record) runEnd {
	if errors.Is(context.Cause(h.ctx), broker.ErrLost) {
		w.deps.Log.Error().Str("task", h.lease.ID).Str("type", h.lease.Type).Msg("task stopped: its lease was lost, another worker may have it")
		return runNothing
	}
	w.deps.Log.Warn().Str("task", h.lease.ID).Str("type", h.lease.Type).Msg("task stopped and given back")
	w.persist(&h.lease, "give back", func(ctx context.Context) error { return w.q.release(ctx, &h.lease, r) })
	return runReleased
}

// cancelled records the end of a run that was ended because nobody wants its task any more.
func (w *worker) cancelled(l *broker.Lease, r Record) runEnd {
	w.deps.Log.Warn().Str("task", r.ID).Str("type", r.Type).Msg("task cancelled while it ran")
	r.Run.Result, r.Run.Message = ResultUnknown, errCancelled.Error()
	w.persist(l, "end", func(ctx context.Context) error { return w.q.end(ctx, l, r, TriggerComplete) })
	return runNothing
}

// settle records how a run has ended and decides whether there is another.
func (w *worker) settle(l *broker.Lease, typ Type, r Record) runEnd {
	log := w.deps.Log.With().Str("task", r.ID).Str("type", r.Type).Str("result", string(r.Run.Result)).
		Dur("took", r.Run.Duration).Logger()
	if r.Run.Result == ResultSuccess || r.Run.Result == ResultWarning {
		log.Info().Msg("task done")
		w.persist(l, "complete", func(ctx context.Context) error { return w.q.end(ctx, l, r, TriggerComplete) })
		return runCompleted
	}
	trigger := TriggerGiveUp
	failures := l.Attempts + 1
	switch most := w.q.cfg.maxAttempts(typ); {
	case r.Run.Result == ResultRetry:
		trigger = TriggerPostpone
	case failures < most:
		trigger, r.Attempts = TriggerRetry, failures
	default:
		r.Attempts = failures
		log.Error().Str("reason", r.Run.Message).Int("attempts", failures).Msg("task failed and given up")
	}
	if trigger != TriggerGiveUp {
		r.RunAt = time.Now().Add(w.q.cfg.retry(typ).delay(failures))
		log.Warn().Str("reason", r.Run.Message).Time("retry_at", r.RunAt).Msg("task failed")
	}
	w.persist(l, "report", func(ctx context.Context) error { return w.q.end(ctx, l, r, trigger) })
	if trigger != TriggerPostpone {
		w.reportFailure(r, failures, trigger == TriggerGiveUp)
	}
	return runFailed
}

// reportAttempts is how often it is tried to record what has become of a task.
const reportAttempts = 5

// persist records what has become of a task. The state may be locked or the disk
// full for a moment; when it stays so, the lease ends and the task is run again.
func (w *worker) persist(l *broker.Lease, what string, record func(context.Context) error) {
	pause := 50 * time.Millisecond
	for attempt := 1; ; attempt++ {
		err := record(context.WithoutCancel(w.stop))
		if err == nil || errors.Is(err, broker.ErrLost) || attempt == reportAttempts {
			w.log(l, what, err)
			return
		}
		<-time.After(pause)
		pause *= 2
	}
}

// log logs an error, if there is one.
func (w *worker) log(l *broker.Lease, what string, err error) {
	if err != nil {
		w.deps.Log.Error().Err(err).Str("task", l.ID).Str("type", l.Type).Msg("cannot " + what + " task")
	}
}
