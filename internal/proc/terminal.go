package proc

import (
	"runtime"
	"syscall"
)

// takeTerminal makes procops' group the foreground group again, if the child's
// still is. The reaper's lock is held.
func (p *Process) takeTerminal() {
	if p.group.terminal == nil {
		return
	}
	fd := int(p.group.terminal.Fd())
	if now, err := foreground(fd); err == nil && now == p.PID() {
		_ = setForeground(fd, syscall.Getpgrp())
	}
}

// stopTogether makes Ctrl-Z work in a child that has the terminal: the shell waits
// for procops, so procops stops as well, and the child goes on when procops does.
// Where no shell could continue procops, the kernel does not let it stop, and both
// go on at once. The reaper's lock is not held.
func (p *Process) stopTogether() {
	p.reaper.mu.Lock()
	p.takeTerminal()
	p.reaper.mu.Unlock()
	stopSelf()
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	if p.group.reaped {
		return
	}
	fd := int(p.group.terminal.Fd())
	if now, err := foreground(fd); err == nil && now == syscall.Getpgrp() {
		_ = setForeground(fd, p.PID())
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGCONT)
}

// stopSelf stops procops and returns when it has been continued. The signal goes to
// this thread: sent to the process, it could be another that takes it, and this one
// would run on for a moment.
func stopSelf() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = syscall.Tgkill(syscall.Getpid(), syscall.Gettid(), syscall.SIGTSTP)
}

// inForeground returns the processes that have been given a terminal and have been
// stopped.
func (r *reaper) inForeground() []*Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	var stopped []*Process
	for pid, p := range r.leaders {
		if p.group.terminal != nil && wasStopped(pid) {
			stopped = append(stopped, p)
		}
	}
	return stopped
}
