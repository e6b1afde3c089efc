package supervise

import (
	"context"
	"sync/atomic"
	"time"

	"procops/internal/proc"
)

// run is one life of a process in the kernel.
type run struct {
	child    child
	spec     proc.Spec // by which it was started, without the channel
	began    time.Time
	ready    bool
	failure  string      // why procops ends it as a failure; empty: it does not
	exited   bool        // the leader has ended
	ladder   bool        // the stop ladder is at work
	stuck    bool        // SIGKILL did not end it
	signal   proc.Signal // of the stop ladder, in place of what the config says; 0: that
	oomKills int         // processes of its cgroup that the kernel has killed for want of memory; valid once it is gone
	healthy  *time.Timer

	listeners listeners

	inspection context.CancelFunc // ends the check of its readiness, or later of its life
	obstacle   string             // the answer to the last check, when that was not good
	pulse      pulse
	watchdog   watchdog
	said       said
	extended   atomic.Pointer[time.Time] // until when it has asked for time; read by the stop ladder as well
}

// pulse is what the liveness checks of a run have found.
type pulse struct {
	passed   bool // once at least
	failures int  // in a row
}

// said is what a process has said of itself over its channel.
type said struct {
	Said
	strangers int // messages of others
}

func newRun(child child, spec proc.Spec) *run {
	return &run{child: child, spec: spec, began: child.Started(), inspection: func() {}}
}

// rest ends what watches over the run while it is up.
func (r *run) rest() {
	r.inspection()
	r.healthy.Stop()
	stopTimer(&r.watchdog.timer)
}

// pause ends the hearing of what the run says and writes: it waits. Checks that
// procops makes go on.
func (r *run) pause() {
	r.child.Pause()
	r.listeners.pause()
}

// resume undoes pause.
func (r *run) resume() {
	r.listeners.resume()
	r.child.Resume()
}

// note keeps what was said.
func (r *run) note(n notice, now time.Time) {
	said := &r.said
	if n.Status != nil {
		said.StatusText = *n.Status
	}
	if n.MainPID != 0 {
		said.MainPID = n.MainPID
	}
	if n.Errno != 0 {
		said.Errno = int(n.Errno)
	}
	if n.stranger != 0 {
		said.strangers++
	}
	said.Reloading = n.Reloading || said.Reloading && !n.Ready && !n.Stopping
	said.Ending = said.Ending || n.Stopping
	if n.unready != "" || n.Ready && !n.aside {
		r.obstacle = n.unready
	}
	if until := now.Add(n.Extend); n.Extend > 0 && until.After(r.until()) {
		r.extended.Store(&until)
	}
}

// until returns the moment until which the run has asked for time, to become ready
// or to end; the zero time if it has not.
func (r *run) until() time.Time {
	if until := r.extended.Load(); until != nil {
		return *until
	}
	return time.Time{}
}
