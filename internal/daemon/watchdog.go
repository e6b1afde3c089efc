package daemon

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"time"

	"procops/internal/proc"
	"procops/internal/sdnotify"
	"procops/internal/unit"
)

// errSilent is the cause with which the watchdog ends a turn.
var errSilent = errors.New("the watchdog has ended it")

// watchdog expects signs of life of the turn under way, as systemd does: WATCHDOG=1 on
// NOTIFY_SOCKET within WATCHDOG_USEC, counted from the start of the turn. The nil
// watchdog expects nothing.
type watchdog struct {
	limit  time.Duration
	socket *sdnotify.Socket
	heard  chan struct{} // closed when nobody listens any more

	mu    sync.Mutex
	timer *time.Timer             // of the turn under way; nil: there is none
	bite  context.CancelCauseFunc // ends it
	why   string                  // it was ended
}

func newWatchdog(limit time.Duration) (*watchdog, error) {
	if limit == 0 {
		return nil, nil //nolint:nilnil // none is wanted
	}
	socket, err := sdnotify.Open()
	if err != nil {
		return nil, err
	}
	w := &watchdog{limit: limit, socket: socket, heard: make(chan struct{})}
	go func() {
		defer close(w.heard)
		self := os.Getpid()
		socket.Listen(func(pid int) bool { return proc.IsBelow(pid, self) }, w.hear, func(int) {})
	}()
	return w, nil
}

// env is what a turn is told.
func (w *watchdog) env() []string {
	if w == nil {
		return nil
	}
	return []string{"NOTIFY_SOCKET=" + w.socket.Name, "WATCHDOG_USEC=" + strconv.FormatInt(w.limit.Microseconds(), 10)}
}

// expect begins to expect signs of life; bite is called when there is none in time. The
// returned function ends that.
func (w *watchdog) expect(bite context.CancelCauseFunc) (done func()) {
	if w == nil {
		return func() {}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bite, w.why = bite, ""
	w.timer = time.AfterFunc(w.limit, func() { w.end("no WATCHDOG=1 for " + unit.Duration(w.limit).String()) })
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.timer.Stop()
		w.timer = nil
	}
}

// hear takes what a turn has said.
func (w *watchdog) hear(m sdnotify.Message) {
	if m.Trigger {
		w.end("it said WATCHDOG=trigger")
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if m.Alive && w.timer != nil {
		w.timer.Reset(w.limit)
	}
}

// end ends the turn under way.
func (w *watchdog) end(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer == nil {
		return
	}
	w.why = why
	w.bite(errSilent)
}

// reason says why the last turn was ended.
func (w *watchdog) reason() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.why
}

func (w *watchdog) close() {
	if w == nil {
		return
	}
	w.socket.Finish()
	<-w.heard
}
