// Package flock locks files with flock(2), and with fcntl(2) where others want to see
// whether somebody has the lock without a moment in which they have it themselves. The
// kernel frees such a lock with the process that holds it, however that ends: a lock file
// that is left behind means nothing. The package imports nothing internal.
package flock

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
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

// Wait takes the lock as soon as it is free. Nothing cuts the wait short: who
// may lose patience waits in a goroutine, on a descriptor of its own.
func Wait(f *os.File) error { return lock(f, syscall.LOCK_EX) }

// Release frees the lock; closing the file does so as well.
func Release(f *os.File) error { return lock(f, syscall.LOCK_UN) }

// Claim takes the lock of another kind, which Claimed sees, if it is free, and otherwise
// fails with ErrTaken. The file is open for writing. It knows nothing of the locks of Try.
func Claim(f *os.File) error {
	return on(f, func(fd int) error {
		return unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	})
}

// Claimed reports whether another descriptor has the lock of Claim. Who asks takes no
// lock, so nobody who wants it is turned away because of the question.
func Claimed(f *os.File) (bool, error) {
	seen := unix.Flock_t{Type: unix.F_WRLCK}
	err := on(f, func(fd int) error { return unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &seen) })
	return err == nil && seen.Type != unix.F_UNLCK, err
}

func lock(f *os.File, how int) error {
	return on(f, func(fd int) error { return syscall.Flock(fd, how) })
}

// on calls the kernel again as long as signals come between.
func on(f *os.File, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var locked error
	err = raw.Control(func(fd uintptr) {
		for {
			if locked = call(int(fd)); !errors.Is(locked, syscall.EINTR) {
				return
			}
		}
	})
	switch {
	case errors.Is(locked, syscall.EWOULDBLOCK), errors.Is(locked, syscall.EACCES): // either, says fcntl(2)
		return fmt.Errorf("cannot lock %q: %w", f.Name(), ErrTaken)
	case locked != nil:
		return fmt.Errorf("cannot lock %q: %w", f.Name(), locked)
	default:
		return err
	}
}
