package supervise

import (
	"context"
	"fmt"
	"time"
)

// watchLife begins the liveness checks of p, which is ready, in place of those
// that it had.
func (s *Supervisor) watchLife(p *process) {
	p.run.inspection()
	p.run.pulse = pulse{}
	cfg, number := p.cfg.Alive, p.runs // which a reload may change
	if cfg == nil || p.run.said.Ending {
		return
	}
	ask := s.probe(p, cfg.question())
	s.inspect(p, func(ctx context.Context) { s.askAgainAndAgain(ctx, p, number, cfg, ask) })
}

// askAgainAndAgain asks, first at once, until ctx ends.
func (s *Supervisor) askAgainAndAgain(ctx context.Context, p *process, number int, cfg *AliveConfig, ask probe) {
	again := time.NewTicker(max(time.Millisecond, cfg.Interval.Std()))
	defer again.Stop()
	for {
		err := ask.within(ctx, cfg.Timeout.Std())
		if ctx.Err() != nil {
			return
		}
		s.post(func() { s.checked(p, number, err) })
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// checked deals with the answer to a liveness check; nil is a good one.
func (s *Supervisor) checked(p *process, number int, answer error) {
	if p.runs != number || p.state != StateRunning || p.cfg.Alive == nil || p.run.said.Ending {
		return
	}
	pulse := &p.run.pulse
	if answer == nil {
		first := !pulse.passed
		pulse.passed, pulse.failures, p.run.obstacle = true, 0, ""
		if first {
			s.soon(func() { s.spread(p) }) // who depends on its health may start
		}
		return
	}
	p.run.obstacle = answer.Error()
	if !pulse.passed && time.Since(p.since) < p.cfg.Alive.StartPeriod.Std() {
		return
	}
	pulse.failures++
	if pulse.failures >= max(1, p.cfg.Alive.Failures) {
		s.fail(p, fmt.Sprintf("not alive: %s failed: %s", checks(pulse.failures), p.run.obstacle))
	}
}

// checks writes a number of checks.
func checks(n int) string {
	if n == 1 {
		return "1 check"
	}
	return fmt.Sprintf("%d checks", n)
}

// isAlive reports whether the present run of p has passed a liveness check, if it
// has one.
func (p *process) isAlive() bool {
	return p.cfg.Alive == nil || p.run != nil && p.run.pulse.passed
}
