package proc

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Handover is what a Host leaves to the procops that replaces it in the same
// process (Replace). The descriptors in it stay open over the execve.
type Handover struct {
	Marker    string          `json:"marker"`
	Guard     *HandedGuard    `json:"guard,omitempty"`
	Processes []HandedProcess `json:"processes"`
}

// HandedGuard is the guard, which stays on duty until the new procops has one of
// its own.
type HandedGuard struct {
	PID  int `json:"pid"`
	Pipe int `json:"pipe"` // our end: when it is closed the guard kills all
}

// HandedProcess is a program that runs.
type HandedProcess struct {
	Identity Identity       `json:"identity"`
	Started  time.Time      `json:"started"`
	Stranger bool           `json:"stranger,omitempty"` // no child of procops: it was taken back
	Survives bool           `json:"survives,omitempty"` // Spec.Survive
	Streams  []HandedStream `json:"streams,omitempty"`
}

// HandedStream is a pipe whose output is captured.
type HandedStream struct {
	Stream Stream `json:"stream"`
	FD     int    `json:"fd"`
	Rest   []byte `json:"rest,omitempty"` // of a line that has not come to its end
}

// FDs returns the descriptors of the handover.
func (h *Handover) FDs() (fds []int) {
	if h.Guard != nil {
		fds = append(fds, h.Guard.Pipe)
	}
	for _, p := range h.Processes {
		for _, s := range p.Streams {
			fds = append(fds, s.FD)
		}
	}
	return fds
}

// ErrEnded is the error of Hold when one of the programs has ended.
var ErrEnded = errors.New("a program has ended meanwhile")

// Pause ends the reading of a program's output, so that what it writes waits in its
// pipes, and returns when nobody reads any more. Resume goes on with it.
func (p *Process) Pause() {
	for _, c := range p.captures() {
		c.pause()
	}
}

// Resume undoes Pause.
func (p *Process) Resume() {
	for _, c := range p.captures() {
		if c.resume() {
			p.host.read(p, c)
		}
	}
}

// captures returns what reads, or has read, output of the program.
func (p *Process) captures() []*capture {
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	return p.group.captures
}

// Hold stops the reaping of children and returns what to hand over of programs that
// are paused. Until release is called nothing can be signalled. The error is
// ErrEnded if one of them has ended: then nothing is held.
func (h *Host) Hold(programs []*Process) (handover Handover, release func(), err error) {
	h.starts.Lock() // a start that has begun is finished first
	h.reaper.mu.Lock()
	release = func() {
		h.reaper.mu.Unlock()
		h.starts.Unlock()
	}
	handover = Handover{Marker: h.marker}
	if h.guard != nil {
		handover.Guard = h.guard.handed()
	}
	for _, p := range programs {
		if p.group.reaped {
			release()
			return Handover{}, nil, ErrEnded
		}
		handover.Processes = append(handover.Processes, p.handed())
	}
	return handover, release, nil
}

// handed describes the program for its next owner. The reaper's lock is held.
func (p *Process) handed() HandedProcess {
	handed := HandedProcess{Identity: p.identity, Started: p.started, Stranger: p.pidfd != nil, Survives: p.survives}
	for _, c := range p.group.captures {
		if fd, rest, open := c.handed(); open {
			handed.Streams = append(handed.Streams, HandedStream{Stream: c.stream, FD: fd, Rest: rest})
		}
	}
	return handed
}

// takeOver makes the programs of a handover those of this Host, before it begins to
// reap.
func (h *Host) takeOver(handover *Handover) error {
	h.handed = map[int]*Process{}
	for _, one := range handover.Processes {
		p, err := h.handedProcess(one)
		if errors.Is(err, os.ErrProcessDone) {
			continue // Inherit says so
		}
		if err != nil {
			return fmt.Errorf("cannot take over process %d: %w", one.Identity.PID, err)
		}
		h.handed[one.Identity.PID] = p
		h.reaper.include(p)
	}
	h.reaper.wake() // the signal of a child that has ended meanwhile may be lost
	return nil
}

func (h *Host) handedProcess(one HandedProcess) (*Process, error) {
	p := h.newProcess(commandName(one.Identity.PID))
	p.identity, p.started, p.survives = one.Identity, one.Started, one.Survives
	if one.Stranger {
		fd, err := unix.PidfdOpen(one.Identity.PID, unix.PIDFD_NONBLOCK)
		if err != nil {
			return nil, gone(err)
		}
		p.pidfd = os.NewFile(uintptr(fd), "pidfd")
		if _, ok := one.Identity.stat(); !ok {
			return nil, errors.Join(os.ErrProcessDone, p.pidfd.Close())
		}
	}
	for _, s := range one.Streams {
		syscall.CloseOnExec(s.FD)
		c := newCaptureOf(s.FD, s.Stream, &h.buffers)
		c.open()
		c.rest = s.Rest
		p.group.captures = append(p.group.captures, c)
	}
	p.group.streams = len(p.group.captures)
	return p, nil
}

// Inherit returns the program with the pid that the Host was handed over, and begins
// to capture its output. The error is os.ErrProcessDone if there is none.
func (h *Host) Inherit(pid int, output func([]Line)) (*Process, error) {
	p, ok := h.handed[pid]
	if !ok {
		return nil, fmt.Errorf("cannot inherit process %d: %w", pid, os.ErrProcessDone)
	}
	delete(h.handed, pid)
	captures := p.captures()
	for _, c := range captures {
		c.batch = output
		h.read(p, c)
	}
	if p.pidfd != nil {
		h.ended.Go(func() { h.reaper.await(p, h.stop) })
	}
	return p, nil
}

// relieve takes the guard that was handed over off duty, after one of our own is
// up and knows the programs.
func (h *Host) relieve(old *HandedGuard) error {
	syscall.CloseOnExec(old.Pipe)
	h.register()
	// It is a child, so that its pid cannot be another's; it heeds no other signal.
	if err := syscall.Kill(old.PID, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("cannot end the former guard: %w", err)
	}
	return syscall.Close(old.Pipe)
}

// register tells our guard of the programs that were handed over.
func (h *Host) register() {
	if h.guard == nil {
		return
	}
	h.reaper.mu.Lock()
	defer h.reaper.mu.Unlock()
	for _, p := range h.handed {
		if p.survives || p.group.empty {
			continue
		}
		p.group.table = h.guard.table
		if p.group.slot = p.group.table.acquire(); p.group.slot != nil {
			p.group.table.enter(p.group.slot, p.identity)
		}
	}
}

// ErrEnding says that Replace has done nothing because the program was told to end.
var ErrEnding = errors.New("it was told to end")

// Replace makes this process another program (execve), which inherits the
// descriptors in keep beside the standard ones. It returns only if that
// fails, and then everything is as it was. Signals that come meanwhile wait for the
// new program, which gets them by Redeliver. Those that came before have been told to
// whoever catches them: once ending is closed because of one, Replace is ErrEnding. The
// calling goroutine must be locked to its thread, and programs that were started with
// Spec.Tied from that thread go on.
func Replace(path string, argv, env []string, keep []int, ending <-chan struct{}) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var held [2]int
	if err := unix.Pipe2(held[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("cannot become %q: cannot hold signals back: %w", path, err)
	}
	holdSignals(held[1], held[0])
	defer func() {
		letSignalsGo()
		Redeliver()
		_ = unix.Close(held[0])
		_ = unix.Close(held[1])
	}()
	if told(ending) {
		return ErrEnding
	}
	env = append(slices.Clip(env), fmt.Sprintf("PROCOPS_SIGNALS=%d,%d", held[1], held[0]))
	return become(path, argv, env, append(slices.Clip(keep), held[:]...))
}

// told reports whether a signal that has come before has closed ending.
func told(ending <-chan struct{}) bool {
	// Stop waits until all signals that have come are with those who wait for them.
	none := make(chan os.Signal, 1)
	signal.Notify(none, syscall.SIGURG)
	signal.Stop(none)
	for range 100 { // they, in turn, get time to act
		runtime.Gosched()
	}
	select {
	case <-ending:
		return true
	default:
		return false
	}
}

// Redeliver sends this process the signals again that were held back while it took the
// place of another program. Somebody must catch them by now.
func Redeliver() {
	for s := heldSignal(); s != 0; s = heldSignal() {
		_ = syscall.Kill(os.Getpid(), syscall.Signal(s)) // to itself, which it may
	}
}

// become is execve.
func become(path string, argv, env []string, keep []int) error {
	var limit syscall.Rlimit
	limitErr := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)
	for _, fd := range keep {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("cannot become %q: cannot keep descriptor %d: %w", path, fd, err)
		}
	}
	// The others of those that procops catches mean nothing to a program that has just
	// begun, and must not end it. The Go runtime leaves them blocked until then.
	var before unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, waiting(), &before); err != nil {
		return fmt.Errorf("cannot become %q: cannot hold signals back: %w", path, err)
	}
	err := syscall.Exec(path, argv, env)
	for _, fd := range keep {
		syscall.CloseOnExec(fd)
	}
	if limitErr == nil {
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // package syscall has lowered it for the new program
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	return fmt.Errorf("cannot become %q: %w", path, err)
}

// waiting is the set of the signals that would end a program that has not begun to
// catch them.
func waiting() *unix.Sigset_t {
	var set unix.Sigset_t
	for _, s := range []syscall.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE,
	} {
		set.Val[0] |= 1 << (uint(s) - 1)
	}
	return &set
}
