package proc

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the length of the kernel's clock tick in /proc; it is 1/100 s for
// every program on every architecture that Linux runs Go on.
const clockTick = 10 * time.Millisecond

// Identity names a process beyond its pid, which the kernel uses again.
type Identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks since boot, field 22 of /proc/PID/stat
	Boot  string `json:"boot"`  // /proc/sys/kernel/random/boot_id
}

// Alive reports whether that very process still runs: not another one with its
// pid, not one from before a reboot, not a zombie.
func (i Identity) Alive() bool {
	_, ok := i.stat()
	return ok
}

// stat reads the process's entry if it is that very process and alive.
func (i Identity) stat() (stat, bool) {
	if i.PID <= 0 || i.Start == 0 {
		return stat{}, false
	}
	if boot, err := bootID(); err != nil || boot != i.Boot {
		return stat{}, false
	}
	s, err := readStat(i.PID)
	return s, err == nil && s.start == i.Start && !s.dead()
}

// Signal sends a signal to that very process. The error is os.ErrProcessDone if it is
// not there any more.
func (i Identity) Signal(s Signal) error {
	fd, err := unix.PidfdOpen(i.PID, 0)
	if err != nil {
		return gone(err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written to it
	if !i.Alive() {      // looked at after it was opened: now the pid cannot be used again unseen
		return os.ErrProcessDone
	}
	if err := unix.PidfdSendSignal(fd, syscall.Signal(s), nil, 0); err != nil {
		return gone(err)
	}
	return nil
}

// Usage is what a process uses now, without its children.
type Usage struct {
	CPU time.Duration // processor time since its start
	RSS int64         // resident memory in bytes
}

// Usage reads what the process uses from /proc. The error is os.ErrProcessDone if
// it is not there any more.
func (i Identity) Usage() (Usage, error) {
	s, err := readStat(i.PID)
	if err != nil {
		return Usage{}, gone(err)
	}
	if s.start != i.Start || s.dead() {
		return Usage{}, os.ErrProcessDone
	}
	text, err := os.ReadFile(procFile(i.PID, "statm"))
	if err != nil {
		return Usage{}, gone(err)
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return Usage{}, os.ErrProcessDone
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return Usage{}, fmt.Errorf("cannot read the memory of process %d: %w", i.PID, err)
	}
	return Usage{CPU: time.Duration(s.ticks) * clockTick, RSS: pages * int64(os.Getpagesize())}, nil
}

// PeakMemory returns the largest resident memory in bytes that this process has had since
// it was executed; 0 if it cannot be read. (getrusage(2) counts the memory of whoever has
// executed it as well.)
func PeakMemory() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(text, []byte("\nVmHWM:"))
	field, _, _ := bytes.Cut(rest, []byte(" kB"))
	kb, err := strconv.ParseInt(string(bytes.TrimSpace(field)), 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
}

// gone turns the errors of a process that has ended into os.ErrProcessDone.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// IsBelow reports whether a process is a descendant of another, or that one itself, as
// far as the parents between still live.
func IsBelow(pid, ancestor int) bool {
	for range maxDepth {
		if pid == ancestor {
			return true
		}
		s, err := readStat(pid)
		if err != nil || s.parent <= 0 {
			return false
		}
		pid = s.parent
	}
	return false
}

// maxDepth bounds how many parents are looked at.
const maxDepth = 1000

// Runs reports whether a process with this pid exists and has not ended. Where
// the pid may have been used again, Identity.Alive tells.
func Runs(pid int) bool {
	if pid <= 0 {
		return false
	}
	s, err := readStat(pid)
	return err == nil && !s.dead()
}

// stat is what proc needs of /proc/PID/stat, see proc_pid_stat(5).
type stat struct {
	state   byte
	parent  int
	group   int
	session int
	ticks   uint64 // user and system time
	threads int
	start   uint64
	exit    int // as wait4 returns it, once it is dead; -1: it cannot be read
}

// dead reports whether nothing of the process runs any more. A leader that has
// ended counts as dead only when its other threads have, too.
func (s stat) dead() bool { return (s.state == 'Z' || s.state == 'X') && s.threads <= 1 }

func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// maxStat is more than the longest entry: a name of 64 bytes and 50 numbers.
const maxStat = 2048

// readEntry reads a small file of /proc with as few system calls as can be: each start of
// a program needs one. The error is as that of os.ReadFile.
func readEntry(path string, buffer []byte) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	n, err := syscall.Read(fd, buffer)
	_ = syscall.Close(fd) // nothing was written
	if err != nil {
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	return buffer[:n], nil
}

func readStat(pid int) (stat, error) {
	var buffer [maxStat]byte
	text, err := readEntry(procFile(pid, "stat"), buffer[:])
	if err != nil {
		return stat{}, err
	}
	// The name is in parentheses and may hold anything; the fields count from 3
	// behind it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 || len(fields[0]) != 1 {
		return stat{}, fmt.Errorf("cannot read the state of process %d: unexpected text", pid)
	}
	number := func(field int) uint64 {
		n, bad := strconv.ParseUint(fields[field-3], 10, 64)
		err = errors.Join(err, bad)
		return n
	}
	s := stat{
		exit: -1, state: fields[0][0], parent: int(number(4)), group: int(number(5)), session: int(number(6)), ticks: number(14) + number(15),
		threads: int(number(20)), start: number(22),
	}
	const fieldExit = 52
	if len(fields) > fieldExit-3 {
		s.exit = int(number(fieldExit))
	}
	return s, err
}

// bootID names this boot of the machine.
func bootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot tell this boot from others: %w", err)
	}
	return string(bytes.TrimSpace(text)), nil
}
