package supervise

import (
	"strconv"
	"time"

	"procops/internal/proc"
	"procops/internal/unit"
)

// heldUp is how late the news of a silence may come. Later, it was procops that had
// no time, and what processes have said meanwhile may not have been read.
const heldUp = time.Second

// watchdog is what is expected of a run again and again: WATCHDOG=1.
type watchdog struct {
	limit time.Duration // the longest time without; 0: nothing is expected
	own   bool          // limit is the word of the process itself
	begun bool          // the time counts
	since time.Time     // from when on it counts
	heard time.Time     // the last sign of life; the zero time: none yet
	timer *time.Timer
}

// Watchdog says what a process has to say, and has said, by WATCHDOG=1.
type Watchdog struct {
	Seconds float64   `json:"seconds"`       // the longest time without
	Last    time.Time `json:"last,omitzero"` // when it said so last
}

func (w *watchdog) due() time.Time { return w.since.Add(w.limit) }

// hear keeps what was said.
func (w *watchdog) hear(n notice, now time.Time) {
	if n.Alive {
		w.since, w.heard = now, now
	}
	if n.Watchdog != nil {
		w.limit, w.own, w.since = *n.Watchdog, true, now
	}
}

// isOver reports whether the time is over without a sign of life. If there may be
// one that procops, being deaf, has not heard, the time begins anew.
func (w *watchdog) isOver(now time.Time, deaf bool) bool {
	if w.limit == 0 || now.Before(w.due()) {
		return false
	}
	if deaf {
		w.since = now
	}
	return !deaf
}

func (w *watchdog) status() *Watchdog {
	if w.limit == 0 {
		return nil
	}
	return &Watchdog{Seconds: seconds(w.limit), Last: w.heard}
}

// tellWatchdog adds to spec what a process finds of its watchdog, in the words of
// systemd: a descendant that it is not meant for knows that by the pid.
func (c *ProcessConfig) tellWatchdog(spec *proc.Spec) {
	if c.Watchdog == 0 {
		return
	}
	spec.Env = append(spec.Env, "WATCHDOG_USEC="+strconv.FormatInt(c.Watchdog.Std().Microseconds(), 10))
	spec.PIDVariable = "WATCHDOG_PID"
}

// guard begins to expect signs of life of p, which is up, unless it has begun
// before. Of a process that says READY=1 none is expected before that: how long it
// may take to become ready is another matter.
func (s *Supervisor) guard(p *process) {
	w := &p.run.watchdog
	if w.begun || p.state == StateStarting && p.cfg.Ready.Notify {
		return
	}
	w.begun, w.since = true, time.Now()
	s.awaitSign(p)
}

// awaitSign waits for the end of the time that p has. A sign of life only moves that
// end, and leaves the timer alone: some processes send many.
func (s *Supervisor) awaitSign(p *process) {
	w := &p.run.watchdog
	stopTimer(&w.timer)
	if !w.begun || w.limit == 0 {
		return
	}
	number, due := p.runs, w.due()
	w.timer = time.AfterFunc(time.Until(due), func() {
		late := time.Since(due)
		s.post(func() { s.silent(p, number, late) })
	})
}

// silent deals with the end of the time that a run of p had at some moment; it may
// have more by now.
func (s *Supervisor) silent(p *process, number int, late time.Duration) {
	if p.runs != number || p.run == nil || !p.state.Up() || p.run.said.Ending {
		return
	}
	w := &p.run.watchdog
	if w.isOver(time.Now(), late > heldUp || s.upgrade.isDeafTo(p.run)) {
		s.bite(p, "no WATCHDOG=1 for "+unit.Duration(w.limit).String())
		return
	}
	s.awaitSign(p)
}

// saidToWatchdog deals with what a process says to its watchdog.
func (s *Supervisor) saidToWatchdog(p *process, n notice, now time.Time) {
	p.run.watchdog.hear(n, now)
	if n.Watchdog != nil {
		s.awaitSign(p)
	}
	if n.Trigger && p.state.Up() {
		s.bite(p, "it said WATCHDOG=trigger")
	}
}

// bite ends a run of p, which is up, as one that hangs. More time that it has asked
// for before was not meant for this.
func (s *Supervisor) bite(p *process, why string) {
	p.run.extended.Store(nil)
	p.run.signal = p.cfg.WatchSignal
	s.fail(p, why)
}

// handedWatchdog is a watchdog for the next supervisor. The time begins anew there.
type handedWatchdog struct {
	Limit time.Duration `json:"limit"`
	Own   bool          `json:"own,omitempty"`
	Heard time.Time     `json:"heard,omitzero"`
}

func (w *watchdog) handed() *handedWatchdog {
	return &handedWatchdog{Limit: w.limit, Own: w.own, Heard: w.heard}
}

// take goes on with the watchdog of a former supervisor; nil is that of one that
// knew of none.
func (w *watchdog) take(h *handedWatchdog) {
	if h == nil {
		return
	}
	w.heard = h.Heard
	if h.Own {
		w.limit, w.own = h.Limit, true
	}
}
