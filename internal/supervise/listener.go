package supervise

import "sync"

// listener hears what a run says over its channel, in a goroutine of its own. The
// nil listener is that of a run without a channel.
type listener struct {
	ch    channel
	child child
	hear  func(notice)

	mu      sync.Mutex    // between those who pause it and the end of the run
	working chan struct{} // closed when nobody listens
	paused  bool
	over    bool // the channel is closed; valid when nobody listens
}

// listeners are those of a run, one for each of its channels.
type listeners struct{ ready, aside *listener }

func (l listeners) finish() { l.ready.finish(); l.aside.finish() }

func (l listeners) pause() { l.ready.pause(); l.aside.pause() }

func (l listeners) resume() { l.ready.resume(); l.aside.resume() }

// handedChannel describes a channel for the next supervisor. FD is 0 if there is
// nothing to hand over.
type handedChannel struct {
	FD   int    `json:"fd,omitempty"`
	Name string `json:"name,omitempty"` // of a socket for sd_notify
}

// listen begins to hear what a run says.
func (s *Supervisor) listen(p *process, number int, child child, ch channels) listeners {
	hear := func(n notice) { s.post(func() { s.heard(p, number, n) }) }
	return listeners{
		ready: newListener(child, ch.ready, hear),
		aside: newListener(child, ch.aside, func(n notice) {
			n.aside = true
			hear(n)
		}),
	}
}

// newListener begins to hear what a run says over one channel, which may be nil.
func newListener(child child, ch channel, hear func(notice)) *listener {
	if ch == nil {
		return nil
	}
	l := &listener{ch: ch, child: child, hear: hear}
	l.work()
	return l
}

func (l *listener) work() {
	working := make(chan struct{})
	l.working = working
	go func() {
		defer close(working)
		l.over = l.ch.listen(l.child, l.hear)
	}()
}

// finish ends it, after what was said so far has been heard.
func (l *listener) finish() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again()
	l.ch.finish()
	<-l.working
}

// pause returns when nobody listens any more: what is said waits.
func (l *listener) pause() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ch.pause()
	<-l.working
	l.paused = true
}

// resume undoes pause.
func (l *listener) resume() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.again()
}

func (l *listener) again() {
	if !l.paused {
		return
	}
	l.paused = false
	l.ch.resume()
	if !l.over {
		l.work()
	}
}

// handed describes the channel of a run that is paused.
func (l *listener) handed() handedChannel {
	if l == nil || l.over {
		return handedChannel{}
	}
	return l.ch.handed()
}

// channelsFrom opens the channels that a former supervisor has handed over.
func (p *process) channelsFrom(h *handedProcess) channels {
	ch := channels{ready: p.channelFrom(h)}
	if h.Aside.Name != "" {
		if socket, err := inheritNotifySocket(h.Aside); err == nil {
			ch.aside = socket
		}
	}
	return ch
}

// channelFrom opens the channel for readiness that a former supervisor has handed over.
func (p *process) channelFrom(h *handedProcess) channel {
	expr, err := p.cfg.Ready.pattern()
	if err != nil || h.State != StateStarting {
		expr = nil
	}
	matched := p.output.arm(expr)
	switch {
	case h.Channel.Name != "":
		if ch, err := inheritNotifySocket(h.Channel); err == nil {
			return ch
		}
		return nil
	case h.Channel.FD != 0:
		return inheritNotifyPipe(h.Channel.FD, p.cfg.Ready.FD)
	case matched != nil:
		return newLogChannel(matched)
	default:
		return nil
	}
}
