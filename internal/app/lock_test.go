package app

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestLockFollowsNoLink: the lock of a state directory that others may write to
// must not overwrite the file that a link there leads to.
func TestLockFollowsNoLink(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(victim, filepath.Join(dir, "supervise.lock")); err != nil {
		t.Fatal(err)
	}
	if lock, err := lockSupervisor(t.Context(), dir); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("the lock was taken through a link: %v", err)
		if err == nil {
			if err := lock.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	if raw, err := os.ReadFile(victim); err != nil || string(raw) != "precious" {
		t.Errorf("the file behind the link holds %q, %v", raw, err)
	}
}
