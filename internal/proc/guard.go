package proc

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// guardName is the program name by which the constructor in spawn.c knows that
// this program is to be the guard.
const guardName = "procops-guard"

// guardPause is the least time between two starts of the guard.
const guardPause = time.Second

// guard keeps the guard process running.
type guard struct {
	host  *Host
	table *table
	quit  chan struct{}
	ended chan struct{}

	mu      sync.Mutex
	process *Process
	pipe    *os.File // the end that nobody writes to; it closes when procops ends
}

// newGuard starts the guard process.
func newGuard(h *Host) (*guard, error) {
	table, err := newTable(h.marker)
	if err != nil {
		return nil, err
	}
	g := &guard{host: h, table: table, quit: make(chan struct{}), ended: make(chan struct{})}
	if err := g.start(); err != nil {
		_ = table.close()
		return nil, err
	}
	go g.run()
	return g, nil
}

// start starts the process; its standard input is a new pipe.
func (g *guard) start() error {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return fmt.Errorf("cannot start the guard: %w", err)
	}
	theirs, ours := os.NewFile(uintptr(fds[0]), "guard"), os.NewFile(uintptr(fds[1]), "guard")
	defer theirs.Close() //nolint:errcheck // the guard has its own
	// Not while the Host is handed over: the guard would take that for its end.
	g.host.starts.RLock()
	defer g.host.starts.RUnlock()
	null := int(g.host.null.Fd())
	l := &launch{
		path:     "/proc/self/exe",
		argv:     []string{guardName},
		files:    []int{int(theirs.Fd()), null, null, int(g.table.file.Fd())},
		session:  true,
		detached: true,
	}
	p := g.host.newProcess(guardName)
	p.group.keep = true
	if err := g.host.spawner.start(l, p, g.host.quit); err != nil {
		_ = ours.Close()
		return fmt.Errorf("cannot start the guard: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pipe != nil {
		_ = g.pipe.Close()
	}
	g.process, g.pipe = p, ours
	return nil
}

// run starts the guard again whenever it has died.
func (g *guard) run() {
	defer close(g.ended)
	failing := false
	for {
		p := g.current()
		select {
		case <-p.Exited():
		case <-g.quit:
			return
		}
		pause := time.NewTimer(max(0, guardPause-time.Since(p.Started())))
		select {
		case <-pause.C:
		case <-g.quit:
			pause.Stop()
			return
		}
		// A failure leaves the dead process in place: the next round tries again
		// after the pause. It is told once.
		err := g.start()
		if err != nil {
			p.started = time.Now()
			if !failing {
				g.host.onError(fmt.Errorf("until the guard is back nobody would end all processes if procops were killed: %w", err))
			}
		}
		failing = err != nil
	}
}

// handed describes the guard for the next procops in this process; nil while there
// is none. The reaper's lock is held.
func (g *guard) handed() *HandedGuard {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.process.group.reaped {
		return nil
	}
	return &HandedGuard{PID: g.process.PID(), Pipe: int(g.pipe.Fd())}
}

func (g *guard) current() *Process {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.process
}

// close sends the guard home.
func (g *guard) close() error {
	close(g.quit)
	<-g.ended
	err := g.table.close()
	if g.pipe != nil {
		_ = g.pipe.Close()
	}
	<-g.process.Gone()
	return err
}
