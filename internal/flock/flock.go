// Package flock locks files with flock(2). The kernel frees such a lock with
// the process that holds it, however that ends: a lock file that is left behind
// means nothing. The package imports nothing internal.
package flock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrTaken says that another descriptor holds the lock.
var ErrTaken = errors.New("somebody else holds the lock")

// Open opens a lock file, which is made (mode 0600) if it does not exist. A
// symbolic link is refused: somebody else's could lead root to a file that must
// not be written.
func Open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
}

// Try takes the lock if it is free, and otherwise fails with ErrTaken.
func Try(f *os.File) error { return lock(f, syscall.LOCK_EX|syscall.LOCK_NB) }

// TryShared takes the lock together with others who do, if nobody has it alone, and
// otherwise fails with ErrTaken.
func TryShared(f *os.File) error { return lock(f, syscall.LOCK_SH|syscall.LOCK_NB) }

// Wait takes the lock as soon as it is free. Nothing cuts the wait short: who
// may lose patience waits in a goroutine, on a descriptor of its own.
func Wait(f *os.File) error { return lock(f, syscall.LOCK_EX) }

// Release frees the lock; closing the file does so as well.
func Release(f *os.File) error { return lock(f, syscall.LOCK_UN) }

func lock(f *os.File, how int) error {
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
	switch {
	case errors.Is(locked, syscall.EWOULDBLOCK):
		return fmt.Errorf("cannot lock %q: %w", f.Name(), ErrTaken)
	case locked != nil:
		return fmt.Errorf("cannot lock %q: %w", f.Name(), locked)
	default:
		return err
	}
}
