package supervise

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"procops/internal/proc"
	"procops/internal/sdnotify"
)

// channel is a way in which a process says itself that it is ready. It is opened
// before the process starts, which inherits it.
type channel interface {
	// prepare adds to spec what the process needs to speak.
	prepare(spec *proc.Spec)
	// listen tells hear what the process says, until finish is called or there is
	// nothing more to hear; then it closes the channel and returns true. It returns
	// false when pause was called.
	listen(child child, hear func(notice)) (over bool)
	// finish ends listen, which first hears what has been said so far.
	finish()
	// pause ends listen; what is said from then on waits. resume comes before the next
	// listen.
	pause()
	resume()
	// handed describes a paused channel for the next supervisor.
	handed() handedChannel
	// discard closes the channel when there was nobody to listen to.
	discard()
}

// channels are those of a run; nil for what there is none.
type channels struct {
	ready channel // by which it says that it is ready
	aside channel // a socket for its watchdog, if that of ready is none
}

func (c channels) each(do func(channel)) {
	for _, ch := range []channel{c.ready, c.aside} {
		if ch != nil {
			do(ch)
		}
	}
}

func (c channels) discard() { c.each(channel.discard) }

// openChannels opens the channels of the next run of p.
func (p *process) openChannels() (channels, error) {
	ready, err := p.openChannel()
	if err != nil || p.cfg.Watchdog == 0 || p.cfg.Ready.Notify {
		return channels{ready: ready}, err
	}
	aside, err := openNotifySocket()
	if err != nil {
		channels{ready: ready}.discard()
		return channels{}, err
	}
	return channels{ready: ready, aside: aside}, nil
}

// openChannel opens the channel by which the next run of p says that it is ready; it
// is nil if p is asked, or if running is enough. The readiness check on output is armed, or disarmed,
// before there can be output of that run.
func (p *process) openChannel() (channel, error) {
	expr, err := p.cfg.Ready.pattern()
	if err != nil {
		return nil, err
	}
	matched := p.output.arm(expr)
	switch {
	case matched != nil:
		return newLogChannel(matched), nil
	case p.cfg.Ready.Notify:
		return openNotifySocket()
	case p.cfg.Ready.FD != 0:
		return openNotifyPipe(p.cfg.Ready.FD)
	default:
		return nil, nil
	}
}

// speaks reports whether the process says itself that it is ready.
func (c *ReadyConfig) speaks() bool { return c.Log != "" || c.Notify || c.FD != 0 }

// pattern compiles the log check; nil when there is none.
func (c *ReadyConfig) pattern() (*regexp.Regexp, error) {
	if c.Log == "" {
		return nil, nil
	}
	return regexp.Compile(c.Log)
}

// logChannel hears a line of output that matches.
type logChannel struct {
	matched  <-chan struct{}
	finished chan struct{}
	paused   chan struct{}
}

func newLogChannel(matched <-chan struct{}) *logChannel {
	return &logChannel{matched: matched, finished: make(chan struct{}), paused: make(chan struct{})}
}

func (*logChannel) prepare(*proc.Spec) {}

func (l *logChannel) finish() { close(l.finished) }

func (l *logChannel) pause() { close(l.paused) }

func (l *logChannel) resume() { l.paused = make(chan struct{}) }

func (*logChannel) handed() handedChannel { return handedChannel{} }

func (*logChannel) discard() {}

func (l *logChannel) listen(_ child, hear func(notice)) (over bool) {
	over = true
	select {
	case <-l.matched:
	case <-l.finished:
	case <-l.paused:
		over = false
	}
	select {
	case <-l.matched:
		hear(notice{Message: sdnotify.Message{Ready: true}})
		return true
	default:
		return over
	}
}

// awaitReady begins to find out whether p, which has just been started, is ready.
// speaks tells that it says so itself.
func (s *Supervisor) awaitReady(p *process, speaks bool) {
	cfg, number := p.cfg.Ready, p.runs // which a reload may change
	ask := s.probe(p, cfg.question())
	switch {
	case ask != nil:
		s.inspect(p, func(ctx context.Context) { s.askUntilReady(ctx, p, number, &cfg, ask) })
	case !speaks:
		s.fire(p, TriggerReady, "")
		return
	}
	if cfg.Timeout > 0 {
		p.timer = s.after(cfg.Timeout.Std()-time.Since(p.run.began), p, func() { s.overdue(p) })
	}
}

// IsSet reports whether there is a check: otherwise a process is ready when it
// runs.
func (c *ReadyConfig) IsSet() bool { return len(c.kinds()) > 0 }

// inspect runs a check of p until its run ends or another one begins.
func (s *Supervisor) inspect(p *process, check func(context.Context)) {
	p.run.inspection()
	ctx, cancel := context.WithCancel(s.ctx)
	p.run.inspection = cancel
	s.workers.Go(func() {
		defer cancel()
		check(ctx)
	})
}

// askUntilReady asks until the answer is good. The loop is told of each new
// obstacle.
func (s *Supervisor) askUntilReady(ctx context.Context, p *process, number int, cfg *ReadyConfig, ask probe) {
	again := time.NewTicker(max(time.Millisecond, cfg.Interval.Std()))
	defer again.Stop()
	for last := ""; ; {
		err := ask.within(ctx, cfg.TryTimeout.Std())
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			s.post(func() { s.heard(p, number, notice{Message: sdnotify.Message{Ready: true}}) })
			return
		case err.Error() != last:
			last = err.Error()
			obstacle := last
			s.post(func() { s.heard(p, number, notice{unready: obstacle}) })
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}

// heard deals with what a process says of itself, or what a check says of it.
func (s *Supervisor) heard(p *process, number int, n notice) {
	if p.runs != number || p.run == nil {
		return
	}
	farewell := n.Stopping && !p.run.said.Ending
	now := time.Now()
	p.run.note(n, now)
	s.saidToWatchdog(p, n, now)
	switch {
	case n.stranger != 0:
		s.stranger(p, n.stranger)
	case n.unready != "" && p.state == StateStarting:
		p.reason = "not ready yet: " + n.unready
	case n.Ready && !n.aside && p.state == StateStarting:
		s.fire(p, TriggerReady, "")
	case farewell && p.state == StateRunning:
		// It ends by itself. That its checks fail from now on is no news; that it
		// does not end would be.
		p.run.inspection()
		stopTimer(&p.timer)
		p.timer = s.after(p.cfg.Stop.Grace.Std(), p, func() { s.overdue(p) })
	}
}

// stranger says, once in a run, that somebody else has tried to speak for p.
func (s *Supervisor) stranger(p *process, pid int) {
	if p.run.said.strangers == 1 {
		s.deps.Log.Warn().Str("process", p.name).Int("pid", pid).
			Msg("a process that does not belong to this one, or has ended, has written to its NOTIFY_SOCKET; that and the like is ignored")
	}
}

// overdue deals with a process that has not become ready in time, or that has not
// ended though it said that it would. It may have asked for more time.
func (s *Supervisor) overdue(p *process) {
	if rest := time.Until(p.run.until()); rest > 0 {
		p.timer = s.after(rest, p, func() { s.overdue(p) })
		return
	}
	if p.state == StateStarting {
		s.fail(p, p.notReady())
		return
	}
	s.fail(p, fmt.Sprintf("it said that it stops, and still runs %s later", p.cfg.Stop.Grace))
}

// notReady says that p was not ready in time, and what is known of why.
func (p *process) notReady() string {
	r := p.run
	text := "not ready after " + p.cfg.Ready.Timeout.String()
	if !r.until().IsZero() {
		text = "not ready in the time that it asked for"
	}
	switch {
	case r.obstacle != "":
		text += ": " + r.obstacle
	case r.said.StatusText != "":
		text += fmt.Sprintf("; it said %q", r.said.StatusText)
	}
	return text
}

// fail ends a run of p, which is up, as a failure.
func (s *Supervisor) fail(p *process, why string) {
	p.run.failure = why
	s.fire(p, TriggerFail, why)
}
