package flock

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestOneHolderAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := open(t, path), open(t, path)
	if err := Try(a); err != nil {
		t.Fatal(err)
	}
	if err := Try(b); !errors.Is(err, ErrTaken) {
		t.Errorf("a lock that is taken: %v", err)
	}
	got := make(chan error, 1)
	go func() { got <- Wait(b) }()
	if err := Release(a); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Errorf("waiting for the lock: %v", err)
	}
	if err := Try(a); !errors.Is(err, ErrTaken) {
		t.Errorf("after the waiter got it: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Try(a); err != nil {
		t.Errorf("after its holder's file was closed: %v", err)
	}
}

// TestClaimed: who looks whether a lock is taken is in nobody's way.
func TestClaimed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	a, b := open(t, path), open(t, path)
	looking, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = looking.Close() }()
	want := func(want bool) {
		t.Helper()
		if got, err := Claimed(looking); err != nil || got != want {
			t.Errorf("it is taken: %v, %v", got, err)
		}
	}
	want(false)
	if err := Claim(a); err != nil {
		t.Fatal(err)
	}
	want(true)
	if err := Claim(b); !errors.Is(err, ErrTaken) {
		t.Errorf("a lock that is taken: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	want(false)
	if err := Claim(b); err != nil {
		t.Errorf("after its holder's file was closed: %v", err)
	}
}

func TestClosedFile(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "lock"))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Try(f); err == nil || errors.Is(err, ErrTaken) {
		t.Errorf("locking a closed file: %v", err)
	}
}

func TestOpenIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	open(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestOpenRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	link, target := filepath.Join(dir, "lock"), filepath.Join(dir, "target")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if f, err := Open(link); err == nil {
		_ = f.Close()
		t.Error("a symbolic link was followed")
	}
	if _, err := os.Lstat(target); !os.IsNotExist(err) {
		t.Errorf("the link's target: %v", err)
	}
}
