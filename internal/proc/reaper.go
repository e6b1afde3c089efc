package proc

import (
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// How often a group is looked at whose leader has ended and whose members did
// not: they may be children of a process that has left the group, and then
// nobody tells procops of their end.
const (
	firstLook    = 2 * time.Millisecond
	stoppingLook = 50 * time.Millisecond // at most, while somebody waits in Stop
	idleLook     = time.Second           // at most, otherwise
)

// reaper is the one who waits for children. Its lock stands between reaping and
// signalling, so that a signal never hits a recycled pid.
type reaper struct {
	onStray func(pid int, exit Exit)
	kick    chan struct{}

	mu       sync.Mutex
	leaders  map[int]*Process      // not reaped, by pid
	leftover map[*Process]struct{} // leader reaped, group not empty
	stopping int                   // calls of Stop under way
	delay    time.Duration         // until the leftovers are looked at again
	starting *start                // the start under way, nil if none
}

// start is a start under way: a child that ends before it is registered.
type start struct {
	early map[int]ending
}

// ending is how an unknown child ended and when it had started.
type ending struct {
	exit  Exit
	start uint64
}

func newReaper(onStray func(int, Exit)) *reaper {
	if onStray == nil {
		onStray = func(int, Exit) {}
	}
	return &reaper{
		onStray:  onStray,
		kick:     make(chan struct{}, 1),
		leaders:  make(map[int]*Process),
		leftover: make(map[*Process]struct{}),
		delay:    firstLook,
	}
}

// run reaps at each signal until quit is closed.
func (r *reaper) run(signals <-chan os.Signal, quit <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	timer.Stop()
	for {
		select {
		case <-signals:
		case <-r.kick:
		case <-timer.C:
		case <-quit:
			return
		}
		for pid := endedChild(); pid > 0; pid = endedChild() {
			r.reap(pid)
		}
		for _, p := range r.inForeground() {
			p.stopTogether()
		}
		if delay := r.lookAround(); delay > 0 {
			timer.Reset(delay)
		} else {
			timer.Stop()
		}
	}
}

// wake makes run look at once.
func (r *reaper) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// reap takes a child that has ended.
func (r *reaper) reap(pid int) {
	if exit, stray := r.take(pid); stray {
		r.onStray(pid, exit)
	}
}

// take reaps the child under the lock and reports whether it is a stray.
func (r *reaper) take(pid int) (exit Exit, stray bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.leaders[pid]
	var begun uint64
	if p == nil && r.starting != nil {
		// It may be the child that is just being started: after wait4 nothing would
		// tell when it began.
		if s, err := readStat(pid); err == nil {
			begun = s.start
		}
	}
	var status syscall.WaitStatus
	var usage syscall.Rusage
	if got, err := syscall.Wait4(pid, &status, syscall.WNOHANG, &usage); err != nil || got != pid {
		return exit, false
	}
	r.delay = firstLook
	exit = newExit(status, &usage)
	switch {
	case p != nil:
		delete(r.leaders, pid)
		r.finish(p, exit)
	case r.starting != nil:
		r.starting.early[pid] = ending{exit, begun}
	default:
		return exit, true
	}
	return exit, false
}

// finish records the end of a leader and sees to it that what is left of its group
// is looked after. The lock is held.
func (r *reaper) finish(p *Process, exit Exit) {
	p.ended(exit)
	if !p.group.empty {
		r.leftover[p] = struct{}{}
		r.delay = firstLook
		r.wake()
	}
}

// include adds a process that was not started here.
func (r *reaper) include(p *Process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leaders[p.PID()] = p
}

// begin announces a start.
func (r *reaper) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starting = &start{early: make(map[int]ending)}
}

// register ends a start: p is the new child, or nil if the start has failed with
// the child pid (0: without any).
func (r *reaper) register(p *Process, pid int) {
	early := r.enter(p, pid)
	for stray, end := range early {
		r.onStray(stray, end.exit)
	}
}

// enter does it under the lock and returns the other children that have ended
// meanwhile.
func (r *reaper) enter(p *Process, pid int) map[int]ending {
	r.mu.Lock()
	defer r.mu.Unlock()
	early := r.starting.early
	r.starting = nil
	end, ended := early[pid]
	delete(early, pid)
	if p == nil {
		return early
	}
	p.identity.PID, p.identity.Start = pid, end.start
	if !ended {
		// Not reaped, so its entry is there, and it is its own.
		if s, err := readStat(pid); err == nil {
			p.identity.Start = s.start
		}
	}
	if p.group.slot != nil {
		p.group.table.confirm(p.group.slot, p.identity.Start)
	}
	if ended {
		r.finish(p, end.exit)
		return early
	}
	r.leaders[pid] = p
	if p.group.terminal != nil {
		r.wake() // it may have been stopped already
	}
	return early
}

// lookAround checks the leaderless groups and returns when to do so again; 0 if
// there are none.
func (r *reaper) lookAround() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.leftover {
		if p.look() {
			delete(r.leftover, p)
		}
	}
	if len(r.leftover) == 0 {
		r.delay = firstLook
		return 0
	}
	longest := idleLook
	if r.stopping > 0 {
		longest = stoppingLook
	}
	now := min(r.delay, longest)
	r.delay = min(2*r.delay, idleLook)
	return now
}

// stopBegins and stopEnds tell how many calls of Stop are under way.
func (r *reaper) stopBegins() {
	r.mu.Lock()
	r.stopping++
	r.delay = firstLook
	r.mu.Unlock()
	r.wake()
}

func (r *reaper) stopEnds() {
	r.mu.Lock()
	r.stopping--
	r.mu.Unlock()
}

// processes returns what Close has to end.
func (r *reaper) processes() []*Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Collect(maps.Values(r.leaders))
	all = slices.AppendSeq(all, maps.Keys(r.leftover))
	return slices.DeleteFunc(all, func(p *Process) bool { return p.group.keep })
}
