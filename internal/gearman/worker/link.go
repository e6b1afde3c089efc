package worker

import (
	"time"

	"procops/internal/gearman"
)

// link keeps the worker connected with one server, for some of its functions.
type link struct {
	w         *Worker
	server    gearman.Address
	functions []*function
	failures  int // in a row, of connections that have not come to anything
}

// run connects, works, and connects again, until the worker takes no more jobs.
func (l *link) run() {
	for l.w.taking.Err() == nil {
		err := l.once()
		if err == nil || l.w.taking.Err() != nil {
			return
		}
		l.failures++
		l.w.standing.fail(err)
		if l.failures == 1 {
			l.w.tellFailure(l.server, err)
		}
		l.pause()
	}
}

// pause waits until it is time to connect again.
func (l *link) pause() {
	timer := time.NewTimer(l.w.cfg.Backoff.Delay(l.failures))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.w.taking.Done():
	}
}

// once connects and works until the connection is lost, which is an error, or the worker
// takes no more jobs.
func (l *link) once() error {
	about := serverData{Worker: l.w.id, Server: string(l.server)}
	eventConnect.Publish(l.w.deps.Bus, l.w.id, about)
	conn, err := l.w.cfg.Dial(l.w.taking, l.server)
	if err != nil {
		return err
	}
	s := newSession(l, conn)
	defer s.close()
	eventConnected.Publish(l.w.deps.Bus, l.w.id, about)
	if err := s.register(); err != nil {
		return err
	}
	l.failures = 0
	l.w.standing.rise(l.server)
	defer l.w.standing.fall(l.server)
	return s.work()
}
