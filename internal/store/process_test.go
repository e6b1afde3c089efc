package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/internal/event"
)

func TestManyProcessesMigrateAtOnce(t *testing.T) {
	for range 3 {
		dir := filepath.Join(t.TempDir(), "state")
		var wg sync.WaitGroup
		for range 20 {
			cmd := helper(t, "open", dir, Process)
			wg.Go(func() {
				if out, ok := output(t, cmd); !ok {
					t.Errorf("a process could not open the new state: %s", out)
				}
			})
		}
		wg.Wait()
		if err := emit(openIn(t, dir, Options{}), "x"); err != nil {
			t.Error(err)
		}
	}
}

func TestFourSaturatedWriters(t *testing.T) {
	for _, d := range []Durability{Process, Power} {
		t.Run(string(d), func(t *testing.T) {
			dir := t.TempDir()
			s := openIn(t, dir, Options{Durability: d})
			const writers = 4
			stop := make(chan struct{})
			results := make(chan saturation, writers)
			for range writers {
				cmd := helper(t, "saturate", dir, d)
				stdin, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					<-stop
					_ = stdin.Close()
				}()
				go func() {
					out, ok := output(t, cmd)
					var seen saturation
					if err := json.Unmarshal([]byte(out), &seen); !ok || err != nil {
						t.Errorf("a writer failed: %s", out)
					}
					results <- seen
				}()
			}
			longest := time.Duration(0)
			for begin := time.Now(); time.Since(begin) < time.Second; {
				start := time.Now()
				if err := emit(s, "x"); err != nil {
					t.Error(err)
				}
				longest = max(longest, time.Since(start))
			}
			close(stop)
			for range writers {
				seen := <-results
				t.Logf("%d commits, the longest took %s", seen.Count, seen.Longest)
				if seen.Count < 2 { // of a second, on a disk that may be busy
					t.Errorf("a writer starved: %d commits", seen.Count)
				}
			}
			t.Logf("the longest commit beside them took %s", longest)
			if longest > 2*time.Second {
				t.Errorf("a commit beside four saturated writers took %s", longest)
			}
		})
	}
}

// TestKillLosesNothingAcknowledged kills writers at random moments; what they
// had printed as committed must be there, and the database whole.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	const rounds, writers = 15, 2
	acknowledged := map[string]bool{}
	var mu sync.Mutex
	for round := range rounds {
		var wg sync.WaitGroup
		for range writers {
			cmd := helper(t, "ledger", dir, Process)
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				lines := bufio.NewReader(stdout)
				for n := 0; ; n++ {
					line, err := lines.ReadString('\n')
					if err != nil {
						break
					}
					mu.Lock()
					acknowledged[strings.TrimSpace(line)] = true
					mu.Unlock()
					if n == 20+round*37 {
						_ = cmd.Process.Kill()
					}
				}
				_ = cmd.Wait()
			})
		}
		wg.Wait()
	}
	s := openIn(t, dir, Options{})
	for _, subject := range subjects(t, s) {
		delete(acknowledged, subject)
	}
	if len(acknowledged) > 0 {
		t.Errorf("%d acknowledged updates are missing", len(acknowledged))
	}
	checkIntegrity(t, s)
}

func checkIntegrity(t *testing.T, s *Store) {
	t.Helper()
	err := s.View(t.Context(), func(tx *Tx) error {
		var verdict string
		if err := tx.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil {
			return err
		}
		if verdict != "ok" {
			t.Errorf("integrity check: %s", verdict)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestLeftLog lets many processes leave the log to the next one.
func TestLeftLog(t *testing.T) {
	dir := t.TempDir()
	const runs = 60
	for range runs {
		if out, ok := output(t, helper(t, "brief", dir, Process)); !ok {
			t.Fatal(out)
		}
		info, err := os.Stat(filepath.Join(dir, File+"-wal"))
		if err == nil && info.Size() > leftLog+100_000 {
			t.Fatalf("the log has grown to %d bytes", info.Size())
		}
	}
	s := openIn(t, dir, Options{})
	if n := len(subjects(t, s)); n != runs*briefEvents {
		t.Errorf("%d events are left, want %d", n, runs*briefEvents)
	}
	checkIntegrity(t, s)
}

// startHolder starts a process that holds the write lock until release.
func startHolder(t *testing.T, dir string) (release func()) {
	t.Helper()
	cmd := helper(t, "hold", dir, Process)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "holding\n" {
		t.Fatalf("the helper printed %q: %v", line, err)
	}
	return sync.OnceFunc(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func TestBusyStateFailsInTime(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{BusyTimeout: 100 * time.Millisecond})
	release := startHolder(t, dir)
	defer release()
	for range 2 {
		begin := time.Now()
		err := emit(s, "x")
		if err == nil || !strings.Contains(err.Error(), "another process holds the write lock") {
			t.Errorf("an update beside a process that holds the lock: %v", err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("it took %s to give up", took)
		}
	}
	release()
	if err := emit(s, "after"); err != nil {
		t.Errorf("the lock is free again: %v", err)
	}
	// The wait that timed out must not have left the lock taken.
	if err := emit(openIn(t, dir, Options{BusyTimeout: 5 * time.Second}), "other"); err != nil {
		t.Error(err)
	}
}

func TestEndOfContextFreesAWaitingUpdate(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{})
	release := startHolder(t, dir)
	defer release()
	cause := errors.New("enough")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, cause)
	defer cancel()
	ran := false
	err := s.Update(ctx, func(*Tx) error { ran = true; return nil })
	if !errors.Is(err, cause) {
		t.Errorf("error %v, want the context's cause", err)
	}
	release()
	if err := emit(s, "after"); err != nil {
		t.Error(err)
	}
	if ran {
		t.Error("an update ran that its caller had given up")
	}
}

// TestWaiterGivesTheLockBack lets a wait time out and the lock become free only
// then, while nobody wants it any more.
func TestWaiterGivesTheLockBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	holder, err := openWriteLock(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.lock(); err != nil {
		t.Fatal(err)
	}
	waiter, err := openWriteLock(path, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := waiter.lock(); !errors.Is(err, errLockTimeout) {
		t.Fatalf("error %v, want a time-out", err)
	}
	late := waiter.waiter
	holder.unlock()
	<-late.done
	if err := holder.lock(); err != nil {
		t.Errorf("the lock is not free: %v", err)
	}
	holder.unlock()
	if err := waiter.lock(); err != nil {
		t.Errorf("the lock is not free: %v", err)
	}
	waiter.unlock()
	if err := errors.Join(holder.close(), waiter.close()); err != nil {
		t.Error(err)
	}
}

func TestUnwritableState(t *testing.T) {
	whole := t.TempDir()
	for _, prepare := range []struct {
		name string
		make func(t *testing.T, dir string)
	}{
		{"directory cannot be made", func(*testing.T, string) {}},
		{"directory cannot be written", func(t *testing.T, dir string) {
			mustMkdir(t, dir, 0o555)
		}},
		{"database belongs to another user", func(t *testing.T, dir string) {
			if os.Geteuid() != 0 {
				mustMkdir(t, dir, 0o755)
				mustWrite(t, filepath.Join(dir, File), nil, 0o444)
				return
			}
			openIn(t, dir, Options{})
			mustChmod(t, dir, 0o777)
		}},
	} {
		t.Run(prepare.name, func(t *testing.T) {
			parent := filepath.Join(whole, strings.ReplaceAll(prepare.name, " ", "-"))
			mustMkdir(t, parent, 0o755)
			dir := filepath.Join(parent, "state")
			prepare.make(t, dir)
			if prepare.name == "directory cannot be made" {
				mustChmod(t, parent, 0o555)
			}
			// The temporary directories above are private to the one who runs the tests.
			for up := parent; up != os.TempDir() && up != "/"; up = filepath.Dir(up) {
				if up != parent {
					mustChmod(t, up, 0o755)
				}
			}
			before := listing(t, parent)
			cmd := helper(t, "open", dir, Process)
			cmd.Path = copyOfTestBinary(t)
			nobody(cmd)
			out, ok := output(t, cmd)
			if ok || !strings.Contains(out, "permission denied") || !strings.Contains(out, "cannot open state") || !strings.Contains(out, "--state-dir") {
				t.Errorf("opened: %v, printed %s", ok, out)
			}
			if after := listing(t, parent); after != before {
				t.Errorf("files before: %s, after: %s", before, after)
			}
		})
	}
}

// copyOfTestBinary returns a path of the test binary that every user can run.
func copyOfTestBinary(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mustChmod(t, dir, 0o755)
	mustChmod(t, filepath.Dir(dir), 0o755)
	path := filepath.Join(dir, "helper")
	mustWrite(t, path, raw, 0o755)
	return path
}

func mustMkdir(t *testing.T, dir string, mode os.FileMode) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mustChmod(t, dir, mode)
}

func mustChmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func mustWrite(t *testing.T, path string, data []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	mustChmod(t, path, mode)
}

// listing names all files below dir with their sizes.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

// TestFullDisk fills a file system of its own, in a mount namespace that ends
// with the helper, so that nothing of it stays behind.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	cmd := helper(t, "fill", filepath.Join(dir, "state"), Process)
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	cmd.SysProcAttr = attr
	cmd.Args = append([]string{"sh", "-c", `mount -t tmpfs -o size=1m tmpfs "$1" && exec "$0" "$2" "$3"`, copyOfTestBinary(t), dir}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	out, ok := output(t, cmd)
	if ok || !strings.Contains(out, "cannot write state") || !strings.Contains(out, "hint: the disk is full") {
		t.Errorf("filled: %v, printed %s", ok, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "state")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the mount has left the namespace of the helper: %v", err)
	}
}

// TestFollowAcrossProcesses follows while other processes write.
func TestFollowAcrossProcesses(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir, Options{})
	if err := emit(s, "first"); err != nil {
		t.Fatal(err)
	}
	const writers, wanted = 3, 3000
	for range writers {
		cmd := helper(t, "ledger", dir, Process)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	enough := errors.New("enough")
	last, count := int64(0), 0
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := s.Follow(ctx, EventFilter{}, func(events []event.Event) error {
		for _, e := range events {
			if e.ID != last+1 {
				t.Errorf("event %d came after %d", e.ID, last)
			}
			last = e.ID
			count++
		}
		if count >= wanted {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("following ended with %v after %d events", err, count)
	}
}
