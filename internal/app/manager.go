package app

import (
	"context"
	"sync"
	"time"

	"procops/internal/proc"
	"procops/internal/sdnotify"
)

// manager keeps the service manager above procops told, systemd or a supervisor: when what
// runs here is ready, what it does, and that it lives. The nil manager, where there is none,
// tells nobody.
type manager struct {
	sender *sdnotify.Sender
	news   chan struct{} // there may be some
	stop   context.CancelFunc
	work   sync.WaitGroup
}

// picture is what a manager is told.
type picture struct {
	ready bool
	text  string // what is done, for people
}

// tellAgain is the least time between two messages to the manager.
const tellAgain = 500 * time.Millisecond

// tell begins to tell the service manager what look returns, until end is called: when
// changed is called and, with an interval, from time to time.
func (a *App) tell(interval time.Duration, look func() picture) *manager {
	sender := sdnotify.NewSender(a.getenv)
	if sender == nil {
		return nil
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &manager{sender: sender, news: make(chan struct{}, 1), stop: stop}
	m.work.Go(func() { m.run(ctx, interval, look) })
	m.work.Go(func() { sender.Watch(ctx, func(context.Context) error { return nil }) })
	return m
}

// changed says that there may be news. It does not block.
func (m *manager) changed() {
	if m == nil {
		return
	}
	select {
	case m.news <- struct{}{}:
	default:
	}
}

func (m *manager) end() {
	if m == nil {
		return
	}
	m.stop()
	m.work.Wait()
}

// run tells what is new, not too often.
func (m *manager) run(ctx context.Context, interval time.Duration, look func() picture) {
	var tick <-chan time.Time
	if interval > 0 {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		tick = ticker.C
	}
	trim := sync.OnceFunc(proc.Trim) // of what only the start needed
	var told picture
	for {
		now := look()
		var lines []string
		if now.ready && !told.ready {
			lines = append(lines, "READY=1")
		}
		if now.text != told.text {
			lines = append(lines, "STATUS="+now.text)
		}
		now.ready = now.ready || told.ready
		if len(lines) == 0 || m.sender.Send(lines...) == nil { // else it is tried again with the next news
			told = now
		}
		if told.ready {
			if !m.pause(ctx) {
				return
			}
			trim()
		}
		select {
		case <-m.news:
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// pause waits until something may be said again; false: the end comes first.
func (*manager) pause(ctx context.Context) bool {
	timer := time.NewTimer(tellAgain)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
