package proc

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// abandonDelay is how long output is still read after the last process of the
// group has ended: whoever holds the pipe then has left the group.
const abandonDelay = 250 * time.Millisecond

// Process is a program that a Host has started, and its process group.
type Process struct {
	name     string // argv[0], for errors
	host     *Host
	reaper   *reaper
	identity Identity
	started  time.Time
	exited   chan struct{}
	gone     chan struct{}
	group    group
	exit     Exit     // valid after exited
	pidfd    *os.File // of one that is no child of procops
	survives bool     // a procops that is killed
	seat     *seat    // of who attends it; nil: nobody. The reaper's lock guards it after the start
}

// group is what of the process is still there. The reaper's lock guards it.
type group struct {
	reaped   bool // the leader
	empty    bool // no process is in the group
	streams  int  // captures that still read
	captures []*capture
	slot     *slot    // in the guard's table
	table    *table   // which the slot goes back to
	terminal *os.File // to be taken back
	keep     bool     // not among those that Close ends: the guard
}

// Identity names the process, so that it can be found again after a restart.
func (p *Process) Identity() Identity { return p.identity }

// PID returns the leader's pid, which is also the group's number.
func (p *Process) PID() int { return p.identity.PID }

// Started returns when the program was started.
func (p *Process) Started() time.Time { return p.started }

// Exited is closed when the leader has been reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Exit returns how the leader ended. It is valid once Exited is closed.
func (p *Process) Exit() Exit {
	select {
	case <-p.exited:
		return p.exit
	default:
		return Exit{}
	}
}

// Gone is closed when the leader has been reaped, the group is empty, and the
// output has been read to its end. Output that a process outside the group keeps
// open is given up a quarter of a second after the group has become empty.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// maxAncestors is how far up Includes looks: far enough for any real tree, and
// little work even if somebody builds a long one.
const maxAncestors = 64

// Includes reports whether a process belongs to p: it is the leader, in its group
// or its session, or has such a process above it. A descendant that has left group
// and session and whose parents have ended is not found; nor is a process that has
// been reaped.
func (p *Process) Includes(pid int) bool {
	for range maxAncestors {
		if pid <= 1 || pid == os.Getpid() {
			return false
		}
		s, err := readStat(pid)
		if err != nil {
			return false
		}
		// A number that has gone to another process would not be that of the group
		// or session: while one of them has members its number is not used again.
		if s.group == p.PID() || s.session == p.PID() {
			return p.identity.Start != 0 && s.start >= p.identity.Start && !p.isGone()
		}
		pid = s.parent
	}
	return false
}

func (p *Process) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// Signal sends a signal to the leader. The error is os.ErrProcessDone once it has
// been reaped; a recycled pid is never hit.
func (p *Process) Signal(s Signal) error {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.group.reaped {
		return os.ErrProcessDone
	}
	if p.pidfd != nil {
		return p.signalPidfd(s)
	}
	return p.send(p.PID(), s)
}

// SignalGroup sends a signal to every process in the group, also when the leader
// has ended. The error is os.ErrProcessDone once the group is empty.
func (p *Process) SignalGroup(s Signal) error {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.look() {
		return os.ErrProcessDone
	}
	return p.send(-p.PID(), s)
}

func (p *Process) send(target int, s Signal) error {
	if err := syscall.Kill(target, syscall.Signal(s)); err != nil {
		return fmt.Errorf("cannot send %s to %q (pid %d): %w", s, p.name, p.PID(), err)
	}
	return nil
}

// look checks whether the group is empty and returns it. The reaper's lock is
// held.
func (p *Process) look() bool {
	if !p.group.reaped || p.group.empty {
		return p.group.empty
	}
	if syscall.Kill(-p.PID(), 0) == syscall.ESRCH || p.recycled() {
		p.emptied()
	}
	return p.group.empty
}

// recycled reports whether the leader's pid has gone to another process, which
// happens only when nothing is left of the group.
func (p *Process) recycled() bool {
	s, err := readStat(p.PID())
	return err == nil && p.identity.Start != 0 && s.start != p.identity.Start
}

// ended records the end of the leader. The reaper's lock is held.
func (p *Process) ended(exit Exit) {
	p.exit = exit
	p.group.reaped = true
	p.takeTerminal()
	p.group.terminal = nil
	close(p.exited)
	p.look()
}

// emptied records that the group is empty. The reaper's lock is held.
func (p *Process) emptied() {
	p.group.empty = true
	p.group.table.release(p.group.slot)
	for _, c := range p.group.captures {
		c.abandon(abandonDelay)
	}
	p.settle()
}

// streamEnded records that a capture has come to its end.
func (p *Process) streamEnded() {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	p.group.streams--
	p.settle()
}

// settle closes gone when nothing is left. The reaper's lock is held.
func (p *Process) settle() {
	if p.group.reaped && p.group.empty && p.group.streams == 0 {
		p.group.captures = nil
		close(p.gone)
	}
}
