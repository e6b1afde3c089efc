package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"procops/internal/fault"
)

// lockRun takes the lock of a name, which the kernel frees when this process
// ends, however it ends. Without wait, a lock that is taken is a fault.Conflict.
func lockRun(ctx context.Context, dir, name string, wait bool) (release func(), err error) {
	f, err := openLock(dir, name)
	if err != nil {
		return nil, fault.Wrap(fault.Failure, err, "cannot make sure that no other run of %q is under way", name).
			WithHint("without --no-overlap the command runs all the same")
	}
	err = flock(f, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) && wait {
		err = waitForLock(ctx, f)
	}
	if err == nil {
		return func() { _ = f.Close() }, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fault.New(fault.Conflict, "cannot run %q: another run of it is under way", name).
			WithHint("--wait waits for its end")
	}
	return nil, err
}

func openLock(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
}

// waitForLock waits until the lock is free or ctx ends. In the latter case the
// goroutine that waits in the kernel goes on until the file is closed and the
// lock comes free; it then frees it again.
func waitForLock(ctx context.Context, f *os.File) error {
	got := make(chan error, 1)
	go func() { got <- flock(f, syscall.LOCK_EX) }()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func flock(f *os.File, how int) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	err = raw.Control(func(fd uintptr) {
		for {
			if locked = syscall.Flock(int(fd), how); !errors.Is(locked, syscall.EINTR) {
				return
			}
		}
	})
	if locked != nil {
		return fmt.Errorf("cannot lock %q: %w", f.Name(), locked)
	}
	return err
}
