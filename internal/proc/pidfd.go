package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pidfdInfo is the first version of struct pidfd_info in linux/pidfd.h.
type pidfdInfo struct {
	mask     uint64
	_        uint64 // cgroup
	_        [11]uint32
	exitCode int32 // as wait4 returns it
}

const (
	// pidfdGetInfo is PIDFD_GET_INFO, _IOWR(0xFF, 11, struct pidfd_info).
	pidfdGetInfo = 0xC040FF0B
	// pidfdInfoExit is PIDFD_INFO_EXIT: exit_code is wanted, and is there (since
	// Linux 6.15).
	pidfdInfoExit = 1 << 3
)

// How long and how often the exit of a process that is no child is asked for.
const (
	exitPatience = 200 * time.Millisecond
	exitLook     = 2 * time.Millisecond
)

// await waits for the end of a process that is no child of procops, until quit is
// closed.
func (r *reaper) await(p *Process, quit <-chan struct{}) {
	defer p.pidfd.Close() //nolint:errcheck // nothing is written to it
	watched := make(chan struct{})
	defer close(watched)
	go func() {
		select {
		case <-quit:
			_ = p.pidfd.SetReadDeadline(time.Unix(1, 0))
		case <-watched:
		}
	}()
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return
	}
	if err := raw.Read(pidfdReadable); err != nil {
		return // procops ends
	}
	exit := p.pidfdExit()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.leaders, p.PID())
	r.finish(p, exit)
}

// pidfdReadable reports whether the process behind the descriptor has ended
// (pidfd_open(2)).
func pidfdReadable(fd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	return n > 0 || err != nil && err != unix.EINTR
}

// pidfdExit returns how a process that has ended and is no child did so: /proc
// tells until its parent has reaped it, and the descriptor afterwards.
func (p *Process) pidfdExit() Exit {
	deadline := time.NewTimer(exitPatience)
	defer deadline.Stop()
	again := time.NewTicker(exitLook)
	defer again.Stop()
	for {
		if s, err := readStat(p.PID()); err == nil && s.start == p.identity.Start && s.dead() && s.exit >= 0 && mayLookInto(p.PID()) {
			return newExit(syscall.WaitStatus(s.exit), &syscall.Rusage{})
		}
		info := pidfdInfo{mask: pidfdInfoExit}
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, p.pidfd.Fd(), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
		if errno == 0 && info.mask&pidfdInfoExit != 0 {
			return newExit(syscall.WaitStatus(info.exitCode), &syscall.Rusage{})
		}
		if errno != 0 && errno != syscall.ESRCH && errno != syscall.EINTR {
			return Exit{Unknown: true} // an older kernel
		}
		select {
		case <-again.C:
		case <-deadline.C:
			return Exit{Unknown: true}
		}
	}
}

// mayLookInto reports whether /proc tells how a process has ended. To others it says 0.
func mayLookInto(pid int) bool {
	if os.Geteuid() == 0 {
		return true
	}
	var info syscall.Stat_t
	return syscall.Stat("/proc/"+strconv.Itoa(pid), &info) == nil && int(info.Uid) == os.Geteuid()
}

// signalPidfd sends a signal to the very process behind the descriptor.
func (p *Process) signalPidfd(s Signal) error {
	var err error
	raw, e := p.pidfd.SyscallConn()
	if e == nil {
		e = raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), syscall.Signal(s), nil, 0) })
	}
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	if err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("cannot send %s to %q (pid %d): %w", s, p.name, p.PID(), err)
	}
	return nil
}

// startedAt returns when a process was started, from its start time in clock ticks since
// boot.
func startedAt(ticks uint64) time.Time {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return time.Now()
	}
	age := time.Duration(now.Nano()) - time.Duration(ticks)*clockTick
	return time.Now().Add(-max(0, age))
}
