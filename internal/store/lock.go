package store

import (
	"errors"
	"os"
	"time"

	"procops/internal/flock"
)

// lockSuffix is added to the database's path to name the file of the write lock.
const lockSuffix = "-lock"

// errLockTimeout says that a writer in another process held the write lock too long.
var errLockTimeout = errors.New("another process holds the write lock")

// writeLock makes the writers of all processes stand in a queue. SQLite's own
// waiting sleeps and tries again: beside processes that write without a pause,
// one may wait for seconds or fail with BUSY, the more so when each commit
// includes an fsync. The kernel wakes a waiter of flock(2) at once. The lock has
// a file of its own, because closing a second descriptor of the database would
// drop the locks SQLite holds on it.
type writeLock struct {
	file   *os.File
	wait   time.Duration
	held   *os.File // the descriptor that holds the lock: file, or a waiter's
	waiter *lockWaiter
}

// lockWaiter waits for the lock on a descriptor of its own, because flock(2)
// knows no time-out: when nobody takes the lock from it, it lets go again.
type lockWaiter struct {
	got  chan *os.File
	done chan struct{} // closed at its end; err is set by then
	err  error
}

func openWriteLock(database string, wait time.Duration) (*writeLock, error) {
	f, err := flock.Open(database + lockSuffix)
	if err != nil {
		return nil, err
	}
	return &writeLock{file: f, wait: wait}, nil
}

// lock takes the lock, or fails with errLockTimeout after the time to wait.
func (l *writeLock) lock() error {
	timeout := time.NewTimer(l.wait)
	defer timeout.Stop()
	for {
		err := flock.Try(l.file)
		if err == nil {
			l.held = l.file
			return nil
		}
		if !errors.Is(err, flock.ErrTaken) {
			return err
		}
		if l.waiter == nil {
			l.waiter = startLockWaiter(l.file.Name())
		}
		select {
		case l.held = <-l.waiter.got:
			l.waiter = nil
			return nil
		case <-l.waiter.done:
			err := l.waiter.err
			l.waiter = nil
			if err != nil {
				return err
			}
		case <-timeout.C:
			return errLockTimeout
		}
	}
}

// unlock lets the next one write. It cannot fail: the descriptor is open and
// holds the lock.
func (l *writeLock) unlock() {
	if l.held == l.file {
		_ = flock.Release(l.held)
	} else {
		_ = l.held.Close()
	}
	l.held = nil
}

// close ends the use of the lock. A waiter that timed out ends by itself as
// soon as the lock is free.
func (l *writeLock) close() error { return l.file.Close() }

func startLockWaiter(path string) *lockWaiter {
	w := &lockWaiter{got: make(chan *os.File), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		f, err := flock.Open(path)
		if err != nil {
			w.err = err
			return
		}
		if w.err = flock.Wait(f); w.err == nil {
			select {
			case w.got <- f:
				return
			default:
			}
		}
		w.err = errors.Join(w.err, f.Close())
	}()
	return w
}
