package group

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"procops/internal/fault"
	"procops/internal/tasks/broker"
)

// Member is one of several brokers.
type Member struct {
	Name     string // unique
	Priority int    // lower is more important
	Broker   broker.Broker
	Fallback string        // a push that this one has certainly not taken goes to the broker of that name; empty: it fails
	Timeout  time.Duration // a call that takes longer has failed; 0: none does
	// EmptyFor is how long a broker that had nothing more to claim is not asked again while
	// others have something. It is asked when it gives a sign.
	EmptyFor time.Duration
}

// Status is how a broker does.
type Status struct {
	State State
	Err   error     // why it is not up, or was not when it last was not
	Since time.Time // when that state began; zero: it is unknown
}

// Report is what a look at a broker has found.
type Report struct {
	Member
	Status
	Counts broker.Counts // zero if they are not known
	Failed error         // why they are not
}

// Change is what a Group says when a broker comes into another state.
type Change struct {
	Name     string
	From, To State
	By       Trigger
	Err      error // why it is not up; of one that is up again: why it was not
}

const (
	// firstRetry and lastRetry bound the time after which a broker that is down is tried
	// again; it doubles with each attempt.
	firstRetry = 500 * time.Millisecond
	lastRetry  = 15 * time.Second
)

// member is a broker with what is known of it. The Group's mutex guards it.
type member struct {
	Member
	rank   int // 1 for all that have the lowest priority, 2 for the next
	status Status

	failures int       // in a row
	retry    time.Time // while it is down: it is left alone until then

	claiming   bool      // a claim is under way
	sign       bool      // it has said that there may be something to claim
	listening  bool      // somebody waits for its sign
	listensFor string    // for these types
	emptyUntil time.Time // it had nothing more to claim, and is not asked again before then
}

// due reports whether a broker may be asked for something that can wait.
func (m *member) due(now time.Time) bool {
	return m.status.State != StateDown || !now.Before(m.retry)
}

// limit bounds a call.
func (m *member) limit(ctx context.Context, more time.Duration) (context.Context, context.CancelFunc) {
	if m.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, m.Timeout+more, fmt.Errorf("no answer within %s: %w", m.Timeout, context.DeadlineExceeded))
}

// call asks a broker for something, and takes note of how it does. done is what it means
// that it was done.
func (g *Group) call(ctx context.Context, m *member, done Trigger, do func(context.Context) error) error {
	return g.name(m, g.try(ctx, m, 0, done, do))
}

// try is call for what may take longer by patience. Its error does not name the broker.
func (g *Group) try(ctx context.Context, m *member, patience time.Duration, done Trigger, do func(context.Context) error) error {
	limited, cancel := m.limit(ctx, patience)
	defer cancel()
	err := do(limited)
	switch {
	case err == nil:
		g.note(m, done, nil)
		return nil
	case ctx.Err() != nil: // nobody wants it any more: that says nothing about the broker
		return context.Cause(ctx)
	case limited.Err() != nil:
		err = context.Cause(limited)
	}
	switch {
	case errors.Is(err, broker.ErrLost), errors.Is(err, errors.ErrUnsupported), errors.Is(err, broker.ErrUnfit):
		g.note(m, TriggerAnswer, nil)
	case done == TriggerAccept && errors.Is(err, broker.ErrRefused):
		g.note(m, TriggerRefuse, err)
	default:
		g.note(m, TriggerFail, err)
	}
	return err
}

// name says in an error which broker it is about, and whether that was not reached.
func (g *Group) name(m *member, err error) error {
	if _, ok := errors.AsType[net.Error](err); ok {
		return fault.Wrap(fault.Unreachable, err, "broker %q", m.Name).WithHint("`procops tasks brokers` shows how each broker does")
	}
	if err != nil && len(g.members) > 1 {
		return fmt.Errorf("broker %q: %w", m.Name, err)
	}
	return err
}

// note takes note of how a broker does.
func (g *Group) note(m *member, t Trigger, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	from := m.status.State
	to := transition(from, t)
	now := time.Now()
	switch t {
	case TriggerFail:
		pause := min(firstRetry<<min(m.failures, 10), lastRetry)
		m.failures++
		m.retry = now.Add(pause + time.Duration(g.opt.Rand()*float64(pause)/10)) //nolint:mnd // a tenth, so that those who failed together do not come together
	case TriggerAnswer, TriggerAccept, TriggerRefuse:
		m.failures = 0
	}
	if err != nil {
		m.status.Err = err
	}
	if from == to {
		return
	}
	m.status.State, m.status.Since = to, now
	if g.opt.Changed != nil {
		g.opt.Changed(Change{Name: m.Name, From: from, To: to, By: t, Err: m.status.Err})
	}
}

// notTaken reports whether a push that failed has certainly queued nothing: the broker has
// said so, or nobody has heard of it.
func notTaken(err error) bool {
	for _, answer := range []error{broker.ErrRefused, broker.ErrDenied, broker.ErrUnfit} {
		if errors.Is(err, answer) {
			return true
		}
	}
	dialing, ok := errors.AsType[*net.OpError](err)
	return ok && dialing.Op == "dial"
}
