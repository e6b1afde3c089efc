package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"procops/internal/fault"
)

// lockSupervisor takes the state directory for one supervisor. The kernel
// holds the lock and drops it with the process, however that ends, so a stale
// file means nothing; the pid in it is for people.
func lockSupervisor(dir string) (release func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Wrap(fault.Failure, err, "cannot make state directory %q", dir).
			WithHint("choose another one with --state-dir")
	}
	path := filepath.Join(dir, "supervise.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fault.Wrap(fault.Failure, err, "cannot lock state directory %q", dir).
			WithHint("make it writable for this user, or choose another one with --state-dir")
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 32))
		_ = f.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("cannot lock %q: %w", path, err)
		}
		return nil, fault.New(fault.Conflict, "a supervisor already runs on state directory %q (pid %s)", dir, strings.TrimSpace(string(holder))).
			WithHint("`procops supervise status` shows it; another one needs another --state-dir")
	}
	if err := writePID(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot write %q: %w", path, err)
	}
	return f.Close, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}
