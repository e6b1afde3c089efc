package heartbeat

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"procops/internal/fault"
	"procops/internal/flock"
	"procops/internal/proc"
)

// runLock is the lock of a name. The command gets it as well: should procops be
// killed, the kernel keeps the lock until the last process of that run has
// ended. When procops ends by itself, what the command has left in the background
// does not keep it.
type runLock struct{ file *os.File }

// free ends the lock for whoever has inherited it, too.
func (l *runLock) free() {
	_ = flock.Release(l.file)
	_ = l.file.Close()
}

// takeTurn takes the lock of the name. A signal meanwhile ends the waiting as it
// would have ended the command; code is then what that would have ended with.
func (x *execution) takeTurn(ctx context.Context) (code int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := claim{opened: make(chan struct{}), outcome: make(chan error, 1)}
	go func() { c.outcome <- c.take(ctx, x.LockDir, x.Name, x.Wait) }()
	timeout := time.NewTimer(x.patience.end)
	defer timeout.Stop()
	for opened := c.opened; ; {
		select {
		case err := <-c.outcome:
			x.lock = c.lock
			return 0, err
		case <-opened:
			timeout.Stop()
			opened = nil
		case <-timeout.C: // the directory hangs, and with it the goroutine, until the process ends
			return 0, unsure(x.Name, errSlow)
		case s := <-x.Signals:
			if sig, ok := s.(syscall.Signal); ok && sig != syscall.SIGPIPE && !proc.IgnoredAtStart(proc.Signal(sig)) {
				go c.giveBack()
				return 128 + int(sig), nil
			}
		}
	}
}

// claim is the taking of a lock under way. Its goroutine may hang in the kernel.
type claim struct {
	opened  chan struct{} // closed once there is a file to lock
	outcome chan error
	lock    *runLock // set before a nil outcome
}

// take takes the lock, which the kernel frees however the run ends. Without
// wait, a lock that is taken is a fault.Conflict.
func (c *claim) take(ctx context.Context, dir, name string, wait bool) error {
	f, err := openLock(dir, name)
	if err != nil {
		return unsure(name, err)
	}
	close(c.opened)
	err = flock.Try(f)
	if errors.Is(err, flock.ErrTaken) && wait {
		err = waitForLock(ctx, f)
	}
	if err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETFD, 0) // the command inherits it
	}
	if err == nil {
		c.lock = &runLock{f}
		return nil
	}
	_ = f.Close()
	if errors.Is(err, flock.ErrTaken) {
		return fault.New(fault.Conflict, "cannot run %q: another run of it is under way", name).
			WithHint("--wait waits for its end")
	}
	return err
}

// giveBack frees a lock that nobody wants any more, should it still come.
func (c *claim) giveBack() {
	if err := <-c.outcome; err == nil {
		c.lock.free()
	}
}

func unsure(name string, err error) error {
	return fault.Wrap(fault.Failure, err, "cannot make sure that no other run of %q is under way", name).
		WithHint("without --no-overlap the command runs all the same")
}

func openLock(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return flock.Open(filepath.Join(dir, name+".lock"))
}

// waitForLock waits until the lock is free or ctx ends. In the latter case the
// goroutine that waits in the kernel goes on until the file is closed and the
// lock comes free; it then frees it again.
func waitForLock(ctx context.Context, f *os.File) error {
	got := make(chan error, 1)
	go func() { got <- flock.Wait(f) }()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
