package supervise

import (
	"context"
	"errors"
	"net"
	"regexp"
	"time"
)

// errNotReady is the cause with which a readiness check that took too long ends.
var errNotReady = errors.New("not ready in time")

// probe checks whether p has become ready, and tells the loop. Without a check
// a process is ready when it runs.
func (s *Supervisor) probe(p *process, number int, matched <-chan struct{}) {
	cfg := p.cfg.Ready
	if cfg.TCP == "" && matched == nil {
		s.fire(p, TriggerReady, "")
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	p.run.probe = cancel
	s.workers.Go(func() {
		defer cancel()
		err := cfg.await(ctx, matched)
		if err != nil && !errors.Is(err, errNotReady) {
			return // the run has ended
		}
		s.post(func() { s.probed(p, number, err) })
	})
}

// probed deals with the outcome of a readiness check.
func (s *Supervisor) probed(p *process, number int, err error) {
	if p.runs != number || p.state != StateStarting {
		return
	}
	if err == nil {
		s.fire(p, TriggerReady, "")
		return
	}
	p.run.expired = true
	s.fire(p, TriggerFail, "not ready after "+p.cfg.Ready.Timeout.String())
}

// await returns nil when the check has passed, errNotReady after the time-out
// and ctx's error when ctx ends first.
func (c ReadyConfig) await(ctx context.Context, matched <-chan struct{}) error {
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.Timeout.Std(), errNotReady)
		defer cancel()
	}
	if matched == nil {
		return c.dial(ctx)
	}
	select {
	case <-matched:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// dial tries until the port accepts a connection.
func (c ReadyConfig) dial(ctx context.Context) error {
	tick := time.NewTicker(max(time.Millisecond, c.Interval.Std()))
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.TCP)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// pattern compiles the log check; nil when there is none.
func (c ReadyConfig) pattern() (*regexp.Regexp, error) {
	if c.Log == "" {
		return nil, nil
	}
	return regexp.Compile(c.Log)
}
