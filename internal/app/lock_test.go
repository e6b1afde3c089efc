package app

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"procops/internal/fault"
)

// heldLock takes the lock of dir as if it were the process pid and returns what
// drops it.
func heldLock(t *testing.T, dir string, pid int) (drop func()) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, "supervise.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(strconv.Itoa(pid) + "\n"); err != nil {
		t.Fatal(err)
	}
	return func() { _ = f.Close() }
}

func TestLockOfALivingSupervisor(t *testing.T) {
	dir := t.TempDir()
	defer heldLock(t, dir, os.Getppid())()
	_, err := lockSupervisor(t.Context(), dir)
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), strconv.Itoa(os.Getppid())) {
		t.Errorf("error %v", err)
	}
}

func TestLockThatADeadSupervisorLeaves(t *testing.T) {
	const nobody = 1 << 30 // above the highest pid
	dir := t.TempDir()
	drop := heldLock(t, dir, nobody)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := lockSupervisor(ctx, dir); !fault.Is(err, fault.Conflict) {
		t.Errorf("while somebody keeps it: error %v", err)
	}
	time.AfterFunc(20*time.Millisecond, drop)
	release, err := lockSupervisor(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "supervise.lock")); err != nil || string(text) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("the lock says %q, %v", text, err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
