package heartbeat

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"procops/internal/fault"
	"procops/internal/flock"
)

// lockRun takes the lock of a name, which the kernel frees when this process
// ends, however it ends. Without wait, a lock that is taken is a fault.Conflict.
func lockRun(ctx context.Context, dir, name string, wait bool) (release func(), err error) {
	f, err := openLock(dir, name)
	if err != nil {
		return nil, fault.Wrap(fault.Failure, err, "cannot make sure that no other run of %q is under way", name).
			WithHint("without --no-overlap the command runs all the same")
	}
	err = flock.Try(f)
	if errors.Is(err, flock.ErrTaken) && wait {
		err = waitForLock(ctx, f)
	}
	if err == nil {
		return func() { _ = f.Close() }, nil
	}
	_ = f.Close()
	if errors.Is(err, flock.ErrTaken) {
		return nil, fault.New(fault.Conflict, "cannot run %q: another run of it is under way", name).
			WithHint("--wait waits for its end")
	}
	return nil, err
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
