package proc

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSurvive is the length of the longest name of Spec.Survive.
const maxSurvive = 32

// survivorMark stands between the run token and the name of a survivor in its
// marker; between the token and the letters of a Host stands a colon. So neither a
// guard nor Sweep takes a survivor for what it is to end.
const survivorMark = '.'

// survivorMarker returns the marker of a program that is to outlive procops.
func (h *Host) survivorMarker(name string) (string, error) {
	if h.token == "" {
		return "", errors.New("it cannot outlive a procops that has no run token")
	}
	if len(name) > maxSurvive || strings.ContainsRune(name, survivorMark) || checkToken(name) != nil {
		return "", fmt.Errorf("invalid name %q of what outlives procops: want up to %d letters, digits, \"_\" and \"-\"", name, maxSurvive)
	}
	_, letters, _ := strings.Cut(h.marker, ":")
	return h.token + string(survivorMark) + name + ":" + letters, nil
}

// Survivors returns the processes that programs with Spec.Survive, of Hosts with
// this run token, have left behind: themselves and their descendants, by the
// name of the program.
func Survivors(token string) map[string][]Identity {
	found := map[string][]Identity{}
	seen := map[int]bool{}
	for range cleanLooks { // a process cannot be seen for a moment while it calls execve
		for _, pid := range findMarked(token, survivorMark) {
			if name, id, ok := survivor(token, pid); ok && !seen[pid] {
				seen[pid] = true
				found[name] = append(found[name], id)
			}
		}
	}
	return found
}

// survivor reads whose marker a process has.
func survivor(token string, pid int) (name string, id Identity, ok bool) {
	id, err := Identify(pid)
	if err != nil {
		return "", id, false
	}
	environ, err := os.ReadFile(procFile(pid, "environ"))
	if err != nil {
		return "", id, false
	}
	prefix := markerName + "=" + token + string(survivorMark)
	for variable := range strings.SplitSeq(string(environ), "\x00") {
		if rest, marked := strings.CutPrefix(variable, prefix); marked {
			name, _, ok = strings.Cut(rest, ":")
			return name, id, ok
		}
	}
	return "", id, false
}

// SweepSurvivor is Sweep for what the program of that name has left behind; an
// empty name stands for all that outlive procops.
func SweepSurvivor(token, name string) (killed []int, err error) {
	if err := checkToken(token + name); err != nil || token == "" {
		return nil, err
	}
	if name == "" {
		return sweep(token, survivorMark, nil)
	}
	return sweep(token+string(survivorMark)+name, ':', nil)
}

// Identify returns the identity of the process that has the pid now.
func Identify(pid int) (Identity, error) {
	s, err := readStat(pid)
	if err != nil {
		return Identity{}, err
	}
	boot, err := bootID()
	return Identity{PID: pid, Start: s.start, Boot: boot}, err
}

// TakeBack makes a program that another procops has started, and that has
// outlived it, a Process of this Host. Its output is captured again, unless it
// has given its standard descriptors other files. Where the kernel does not tell (Linux before 6.15), its
// exit is Unknown. The error is os.ErrProcessDone if that very process does not
// run any more.
func (h *Host) TakeBack(id Identity, output func([]Line)) (*Process, error) {
	h.starts.RLock()
	defer h.starts.RUnlock()
	select {
	case <-h.quit:
		return nil, ErrClosed
	default:
	}
	p, err := h.takeBack(id, output)
	if err != nil {
		return nil, fmt.Errorf("cannot take back process %d: %w", id.PID, err)
	}
	return p, nil
}

func (h *Host) takeBack(id Identity, output func([]Line)) (*Process, error) {
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, gone(err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	// The descriptor is of whoever has the pid now: look at that one.
	s, ok := id.stat()
	switch {
	case !ok:
		err = os.ErrProcessDone
	case s.group != id.PID:
		err = errors.New("it does not lead its process group")
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	p := h.newProcess(commandName(id.PID))
	p.identity, p.started, p.pidfd, p.survives = id, startedAt(id.Start), file, true
	for _, stream := range []Stream{Stdout, Stderr} {
		if c := h.recapture(id.PID, stream, output); c != nil {
			p.group.captures = append(p.group.captures, c)
		}
	}
	h.follow(p)
	return p, nil
}

// follow begins to look after a process that was not started here.
func (h *Host) follow(p *Process) {
	p.group.streams = len(p.group.captures)
	captures := slices.Clone(p.group.captures)
	h.reaper.include(p)
	for _, c := range captures {
		h.read(p, c)
	}
	if p.pidfd != nil {
		h.ended.Go(func() { h.reaper.await(p, h.stop) })
	}
}

// recapture opens the pipe that a process has as standard output or standard error
// for reading; nil if it has none there.
func (h *Host) recapture(pid int, stream Stream, output func([]Line)) *capture {
	path := procFile(pid, fmt.Sprintf("fd/%d", int(stream)))
	if target, err := os.Readlink(path); err != nil || !strings.HasPrefix(target, "pipe:") {
		return nil
	}
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	c := newCaptureOf(fd, stream, &h.buffers)
	c.open()
	c.batch = output
	return c
}

// survivorPipe is how many bytes a pipe holds while nobody reads it.
const survivorPipe = 1 << 20

// keepOpen returns, instead of the writing end of a pipe, one that can be read as
// well. Who holds it gets no SIGPIPE when procops has gone, and the next procops
// finds all that is in the pipe.
func keepOpen(theirs *os.File) (*os.File, error) {
	defer theirs.Close() //nolint:errcheck // nothing was written
	// Not os.OpenFile: the child expects a file that blocks.
	fd, err := syscall.Open(fmt.Sprintf("/proc/self/fd/%d", theirs.Fd()), syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// Without privileges there may be a limit; the default size does as well.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, survivorPipe)
	return os.NewFile(uintptr(fd), theirs.Name()), nil
}

// Variable returns the value of a variable in the environment that a process was
// started with; empty if it has none, or cannot be read.
func (i Identity) Variable(name string) string {
	environ, err := os.ReadFile(procFile(i.PID, "environ"))
	if err != nil || !i.Alive() {
		return ""
	}
	for variable := range strings.SplitSeq(string(environ), "\x00") {
		if value, ok := strings.CutPrefix(variable, name+"="); ok {
			return value
		}
	}
	return ""
}

// commandName returns the first word of a process's command line, for errors.
func commandName(pid int) string {
	line, _ := os.ReadFile(procFile(pid, "cmdline"))
	name, _, _ := strings.Cut(string(line), "\x00")
	return name
}
