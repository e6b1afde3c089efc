package proc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
)

// markerName is the variable that every process started under a guard carries,
// and so does what it starts in turn. Its value is the run token, a colon, and
// letters that no other Host has: the guard of a Host that was killed must not kill
// what the next one with the same token starts.
const markerName = "PROCOPS_RUN"

// ErrClosed is the error of a start after Close.
var ErrClosed = errors.New("procops is stopping")

// claimed is set while a Host exists. wait4 takes the children of the whole
// program, so that only one can exist at a time.
var claimed atomic.Bool //nolint:gochecknoglobals // see above

// Host owns all children of this procops. While it exists it reaps every child of
// the program, so nothing else may wait for children (os/exec included).
type Host struct {
	token   string
	marker  string // empty: none
	boot    string
	null    *os.File
	buffers buffers
	onError func(error)
	reaper  *reaper
	spawner *spawner
	guard   *guard // nil without

	handed map[int]*Process // of a former procops in this process, by pid

	subreaper bool
	signals   chan os.Signal
	seats     seats
	starts    sync.RWMutex  // held for reading during a start
	quit      chan struct{} // closed when nothing may be started any more
	stop      chan struct{} // closed when the goroutines may end
	ended     sync.WaitGroup
	closing   sync.Once
	closed    error
}

// HostOptions say how a Host works.
type HostOptions struct {
	// Guard starts a small process that kills all descendants when procops dies,
	// however it dies.
	Guard bool
	// RunToken is what PROCOPS_RUN begins with in the environment of each child, by
	// which Sweep finds them later: up to 60 letters, digits, ".", "_" or "-". Empty:
	// a random one with Guard, otherwise the variable is not set.
	RunToken string
	// Subreaper makes procops the parent of descendants whose parent has ended.
	Subreaper bool
	// Handover is what a former procops in this process has left (Replace); nil: there
	// was none.
	Handover *Handover
	// OnStray is told of a reaped child that was not started by this Host.
	OnStray func(pid int, exit Exit)
	// OnError is told of trouble that the Host goes on in spite of, from a goroutine
	// of its own.
	OnError func(error)
}

// NewHost makes the owner of children. There can be one at a time in a program.
func NewHost(o HostOptions) (*Host, error) {
	if err := checkToken(o.RunToken); err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot start processes: %w", err)
	}
	if !claimed.CompareAndSwap(false, true) {
		_ = null.Close()
		return nil, errors.New("cannot start processes: another owner of children exists in this program")
	}
	h := &Host{
		token:   o.RunToken,
		boot:    boot,
		null:    null,
		onError: o.OnError,
		reaper:  newReaper(o.OnStray),
		signals: make(chan os.Signal, 1),
		quit:    make(chan struct{}),
		stop:    make(chan struct{}),
	}
	if h.onError == nil {
		h.onError = func(error) {}
	}
	if o.Guard && h.token == "" {
		h.token = rand.Text()
	}
	if h.token != "" {
		h.marker = h.token + ":" + rand.Text()
	}
	if o.Handover != nil {
		h.marker = o.Handover.Marker
		if err := h.takeOver(o.Handover); err != nil {
			claimed.Store(false)
			return nil, errors.Join(err, null.Close())
		}
	}
	h.spawner = newSpawner(h.reaper)
	signal.Notify(h.signals, syscall.SIGCHLD)
	h.ended.Go(func() { h.reaper.run(h.signals, h.stop) })
	h.ended.Go(func() { h.spawner.run(h.stop) })
	if err := h.adopt(o); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// adopt makes sure that nothing escapes.
func (h *Host) adopt(o HostOptions) error {
	if o.Subreaper {
		if err := setSubreaper(true); err != nil {
			return err
		}
		h.subreaper = true
	}
	if o.Guard {
		g, err := newGuard(h)
		if err != nil {
			return err
		}
		h.guard = g
	}
	if o.Handover != nil && o.Handover.Guard != nil {
		return h.relieve(o.Handover.Guard)
	}
	return nil
}

// RunToken returns what PROCOPS_RUN begins with in the children's environment, or
// an empty string.
func (h *Host) RunToken() string { return h.token }

// Null returns a file that is empty and takes everything; it is the Host's.
func (h *Host) Null() *os.File { return h.null }

// Start starts a program. The error names the program and the cause; it is
// fs.ErrNotExist and exec.ErrNotFound for a missing program, and fs.ErrPermission
// for one that may not be executed.
func (h *Host) Start(s Spec) (*Process, error) {
	p, err := h.start(&s)
	if err != nil {
		name := ""
		if len(s.Argv) > 0 {
			name = s.Argv[0]
		}
		return nil, fmt.Errorf("cannot start %q: %w", name, err)
	}
	return p, nil
}

func (h *Host) start(s *Spec) (*Process, error) {
	h.starts.RLock()
	defer h.starts.RUnlock()
	if err := s.check(); err != nil {
		return nil, err
	}
	l, err := h.launch(s)
	if err != nil {
		return nil, err
	}
	p := h.newProcess(s.Argv[0])
	p.survives = s.Survive != ""
	files, err := h.connect(s, p)
	if err != nil {
		return nil, err
	}
	defer files.close()
	l.files = files.numbers()
	if s.Foreground && !s.Session && s.Stdin != nil {
		if _, err := foreground(int(s.Stdin.Fd())); err == nil {
			l.foreground, p.group.terminal = true, s.Stdin
		}
	}
	if h.guard != nil && s.Survive == "" {
		p.group.table = h.guard.table
		p.group.slot = p.group.table.acquire()
		l.slot = p.group.slot
	}
	h.seat(s, l, p)
	if err := h.spawn(l, p, s.Tied || l.wantPidfd); err != nil {
		p.group.table.release(p.group.slot)
		for _, c := range p.group.captures {
			c.close()
		}
		h.seats.giveBack(p.seat)
		return nil, err
	}
	h.listen(l, p, files.captures)
	return p, nil
}

// seat prepares for a program to be attended, if that is wanted and possible.
func (h *Host) seat(s *Spec, l *launch, p *Process) {
	if s.Attended {
		p.seat = h.seats.take()
		l.wantPidfd = p.seat != nil
	}
	if p.seat == nil {
		for _, c := range p.group.captures {
			c.open()
		}
	}
}

// listen sees to it that the output of a program that was started is read: by who attends
// it, or in goroutines of its own.
func (h *Host) listen(l *launch, p *Process, captures []*capture) {
	switch {
	case p.seat == nil:
		for _, c := range captures {
			h.read(p, c)
		}
	case l.pidfd >= 0:
		p.seat.sit(l.pidfd, captures)
	default: // an old kernel
		p.seat.sit(-1, captures)
		p.leave(p.seat)
	}
}

// spawn starts the program from the calling thread, or from the spawner's.
func (h *Host) spawn(l *launch, p *Process, here bool) error {
	if here {
		return h.spawner.startHere(l, p, h.quit)
	}
	return h.spawner.start(l, p, h.quit)
}

// launch looks up the program and takes over what needs no looking up.
func (h *Host) launch(s *Spec) (*launch, error) {
	env := s.Env
	if env == nil {
		env = os.Environ()
	}
	marker := h.marker
	if s.Survive != "" {
		var err error
		if marker, err = h.survivorMarker(s.Survive); err != nil {
			return nil, err
		}
	}
	env = withoutDoubles(env, marker)
	if s.PIDVariable != "" {
		env = withRoomForPID(env, s.PIDVariable)
	}
	path, err := lookPath(s.Argv[0], env)
	if err != nil {
		return nil, err
	}
	cpus, err := s.CPUs.mask()
	if err != nil {
		return nil, err
	}
	return &launch{
		path: path, dir: s.Dir, argv: s.Argv, env: env, tellsPID: s.PIDVariable != "", session: s.Session, survives: s.Survive != "",
		inherit: s.Inherit, user: s.User.change(), umask: s.Umask, nice: s.Nice, cpus: cpus, limits: s.Limits.list(), cgroup: s.Cgroup,
	}, nil
}

func (h *Host) newProcess(name string) *Process {
	return &Process{
		name:     name,
		host:     h,
		reaper:   h.reaper,
		identity: Identity{Boot: h.boot},
		exited:   make(chan struct{}),
		gone:     make(chan struct{}),
	}
}

// Close kills what still runs, with all descendants that carry the marker or, for
// a subreaper, whose parents have ended, and sends the guard home. Nothing can be started afterwards. The error says what
// could not be ended.
func (h *Host) Close() error {
	h.closing.Do(func() { h.closed = h.close() })
	return h.closed
}

func (h *Host) close() error {
	h.starts.Lock() // a start that has begun is finished first, so that killAll sees it
	close(h.quit)
	h.starts.Unlock()
	err := h.killAll()
	if h.marker != "" {
		_, left := sweep(h.marker, 0, nil)
		err = errors.Join(err, left)
	}
	if h.subreaper {
		_, left := untilClean(h.reaper.killAdopted)
		err = errors.Join(err, left)
	}
	if h.guard != nil {
		err = errors.Join(err, h.guard.close())
	}
	if h.subreaper {
		err = errors.Join(err, setSubreaper(false))
	}
	close(h.stop)
	h.ended.Wait()
	h.seats.close()
	signal.Stop(h.signals)
	claimed.Store(false)
	return errors.Join(err, h.null.Close())
}

// killAll kills every group and waits for its end.
func (h *Host) killAll() error {
	hurry, cancel := context.WithCancel(context.Background())
	cancel()
	all := h.reaper.processes()
	failures := make([]error, len(all))
	var stops sync.WaitGroup
	for i, p := range all {
		stops.Go(func() { failures[i] = p.Stop(hurry, Ladder{}) })
	}
	stops.Wait()
	return errors.Join(failures...)
}

// maxToken is the length of the longest run token.
const maxToken = 60

// checkToken refuses what would not survive in an environment or a table.
func checkToken(token string) error {
	if len(token) > maxToken {
		return fmt.Errorf("invalid run token %q: longer than %d characters", token, maxToken)
	}
	for _, r := range token {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !letter && r != '.' && r != '_' && r != '-' {
			return fmt.Errorf("invalid run token %q: want letters, digits, \".\", \"_\" and \"-\"", token)
		}
	}
	return nil
}
