package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"procops/internal/fault"
	"procops/internal/flock"
	"procops/internal/proc"
)

// lockSupervisor takes the state directory for one supervisor. The kernel
// holds the lock and drops it with the process, however that ends, so a stale
// file means nothing; the pid in it is for people.
func lockSupervisor(ctx context.Context, dir string) (*os.File, error) {
	if err := makeStateDir(dir); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "supervise.lock")
	f, err := flock.Open(path)
	if err != nil {
		return nil, fault.Wrap(fault.Failure, err, "cannot lock state directory %q", dir).
			WithHint("make it writable for this user, or choose another one with --state-dir")
	}
	if err := takeLock(ctx, f); err != nil {
		pid := holder(f)
		_ = f.Close()
		if !errors.Is(err, flock.ErrTaken) {
			return nil, err
		}
		return nil, fault.New(fault.Conflict, "a supervisor already runs on state directory %q (pid %d)", dir, pid).
			WithHint("`procops supervise status` shows it; another one needs another --state-dir")
	}
	if err := writePID(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("cannot write %q: %w", path, err)
	}
	return f, nil
}

// makeStateDir makes the state directory if it does not exist.
func makeStateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fault.Wrap(fault.Failure, err, "cannot make state directory %q", dir).
			WithHint("choose another one with --state-dir")
	}
	return nil
}

// A supervisor that was killed while it started a child leaves the lock to that
// child until it has become another program or followed its parent: a matter of
// milliseconds.
const (
	lockPatience = 5 * time.Second
	lockLook     = 2 * time.Millisecond
)

// takeLock takes the lock of f. While it is held and its owner is dead, or has
// not written its pid yet, it waits. The error is flock.ErrTaken when another owner
// lives.
func takeLock(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	look := time.NewTicker(lockLook)
	defer look.Stop()
	for {
		err := flock.Try(f)
		if err == nil || !errors.Is(err, flock.ErrTaken) || proc.Runs(holder(f)) {
			return err
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return err
		}
	}
}

// holder returns the pid in the lock file, 0 if there is none.
func holder(f *os.File) int {
	text := make([]byte, 32)
	n, _ := f.ReadAt(text, 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text[:n]))) // 0 if it is none
	return pid
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}
