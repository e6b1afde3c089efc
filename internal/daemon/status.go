package daemon

import (
	"context"
	"time"

	"procops/internal/fault"
	"procops/internal/pidfile"
	"procops/internal/proc"
	"procops/internal/store"
	"procops/internal/unit"
)

// Status is a daemon as others see it.
type Status struct {
	ID
	State    State // stopped unless it runs
	Running  bool
	PID      int       // of who runs it; 0 when it does not run
	Hosted   bool      // it is part of a supervisor and has no process of its own
	Began    time.Time // of its present or last life
	Turns    uint64    // in that life
	Failures int       // turns in a row
	Next     time.Time // of the next turn; the zero time: none is planned
	Last     Turn      // the newest turn, or that under way; its Outcome is empty without one
	Reason   string    // why it is in its state
	Killed   bool      // it has ended without being able to say so
	Pidfile  string
	Log      string
}

// Failing reports whether somebody should look: it has died, given up, or its last turn
// has failed.
func (s Status) Failing() bool { return s.Killed || s.Failures > 0 }

// IDs returns the daemons that are meant by a name: the instance, or all of them for 0.
// An empty context is that of the config.
func (c Config) IDs(daemon, context string, instance int) ([]ID, error) {
	section, err := c.Find(daemon)
	if err != nil {
		return nil, err
	}
	if context == "" {
		context = c.contextOf(section)
	}
	id := ID{Name: daemon, Context: context, Instance: instance}
	if instance != 0 || max(1, section.Instances) == 1 {
		return []ID{id}, section.checkInstance(&id)
	}
	var all []ID
	for n := range section.Instances {
		id.Instance = n + 1
		all = append(all, id)
	}
	return all, nil
}

// Look returns the status of a daemon. Whether it runs says its pidfile, and not what
// is recorded: that a daemon that is killed cannot change.
func (c Config) Look(ctx context.Context, st *store.Store, id ID, stateDir string) (Status, error) {
	s := Status{ID: id, State: StateStopped, Pidfile: c.PidfilePath(id, stateDir), Log: c.LogPath(id, stateDir)}
	r, known, err := load(ctx, st, id)
	if err != nil {
		return s, err
	}
	s.Began, s.Turns, s.Failures, s.Last, s.Reason = r.began, r.turns, r.failures, r.turn, r.reason
	pid, running := pidfile.Holder(s.Pidfile)
	s.Running, s.Hosted = running, running && pid == 0
	switch {
	case running && (pid == r.by.PID || pid == 0) && r.by.Alive():
		s.State, s.PID, s.Next = r.state, r.by.PID, r.next
		if r.state == StateWaiting && !r.next.IsZero() && r.next.Before(time.Now()) {
			s.State, s.Next = StateRunning, time.Time{} // a turn that is not long yet is not recorded
		}
	case running: // it has just begun
		s.State, s.PID, s.Reason = StateWaiting, pid, ""
	case known && r.state != StateStopped:
		s.Killed, s.Reason = true, "it was killed"
	}
	return s, nil
}

// History returns the newest turns of a daemon that began at a time or later, oldest
// first.
func History(ctx context.Context, st *store.Store, id ID, since time.Time, limit int) ([]Turn, error) {
	return loadTurns(ctx, st, id, since, limit)
}

// Signal sends a signal to a daemon. The error is a fault.NotFound if it does not run, a
// fault.Conflict if it has no process of its own.
func (c Config) Signal(id ID, stateDir string, sig proc.Signal) (proc.Identity, error) {
	by, running := c.RunningBy(id, stateDir)
	switch {
	case !running:
		return by, fault.New(fault.NotFound, "daemon %q does not run", id).
			WithHint("`procops daemon start %s` starts it", id.Name)
	case by.PID == 0:
		return by, fault.New(fault.Conflict, "daemon %q is part of a supervisor", id).
			WithHint("`procops supervise stop|restart|signal daemon.%s`, `procops supervise reload`", id.Name)
	}
	if err := by.Signal(sig); err != nil {
		return by, fault.Wrap(fault.Failure, err, "cannot send signal %s to daemon %q (pid %d)", sig, id, by.PID)
	}
	return by, nil
}

// RunningBy returns whether a daemon runs, and the process; the zero Identity if it has
// none of its own.
func (c Config) RunningBy(id ID, stateDir string) (by proc.Identity, running bool) {
	pid, held := pidfile.Holder(c.PidfilePath(id, stateDir))
	if !held || pid == 0 {
		return by, held
	}
	by, err := proc.Identify(pid)
	return by, err == nil
}

// Rhythm says when turns start, for people.
func (s Section) Rhythm() string {
	if s.Schedule != nil {
		return s.Schedule.String()
	}
	if sleep := s.sleep(); sleep > 0 {
		return "every " + unit.Duration(sleep).String()
	}
	return "after " + s.MinSleep.String()
}
