package pidfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"procops/internal/fault"
)

// aPidfile returns the path of a pidfile in a directory of its own, with the given content;
// none if it is "-".
func aPidfile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report-production.pid")
	if content != "-" {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func claimed(t *testing.T, path string, pid int) *File {
	t.Helper()
	p, err := Claim(path, pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("the pidfile has %q, %v, want %q", got, err, want)
	}
}

// leftBehind are contents of pidfiles of which no daemon has the lock. The pid is that of
// a process that runs and is somebody else: as if the number had been used again.
func leftBehind() map[string]string {
	alive := strconv.Itoa(os.Getppid())
	return map[string]string{
		"none": "-", "empty": "", "garbage": "\x00\xff not a number", "newline": "\n", "negative": "-1\n", "zero": "0\n",
		"nobody's pid": "4194303\n", "recycled pid": alive + "\n", "recycled pid and a start": alive + "\n4711 boot\n",
		"its own pid": strconv.Itoa(os.Getpid()) + "\n", "huge": strings.Repeat("9", 1<<16),
	}
}

// TestClaimWhatIsLeft: whatever stands in a pidfile that nobody has is in nobody's way.
func TestClaimWhatIsLeft(t *testing.T) {
	for name, content := range leftBehind() {
		t.Run(name, func(t *testing.T) {
			path := aPidfile(t, content)
			if pid, held := Holder(path); held {
				t.Errorf("before: it is held by %d", pid)
			}
			p := claimed(t, path, 4711)
			wantContent(t, path, "4711\n")
			if pid, held := Holder(path); !held || pid != 4711 {
				t.Errorf("it is held: %v, by %d", held, pid)
			}
			if err := p.Release(); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it is left: %v", err)
			}
		})
	}
}

// TestClaimOnce: of 50 who want the pidfile at the same time exactly one gets it, while
// others look who has it.
func TestClaimOnce(t *testing.T) {
	const claimants, lookers = 50, 4
	contents := leftBehind()
	for name, rounds := range map[string]int{"none": 100, "empty": 25, "recycled pid": 25} {
		t.Run(name, func(t *testing.T) {
			for round := range rounds {
				path := aPidfile(t, contents[name])
				var (
					all, looking sync.WaitGroup
					owners       = make(chan *File, claimants)
					refused      = make(chan error, claimants)
					begin, end   = make(chan struct{}), make(chan struct{})
				)
				for range lookers {
					looking.Go(func() {
						for {
							select {
							case <-end:
								return
							default:
								Holder(path)
							}
						}
					})
				}
				for n := range claimants {
					all.Go(func() {
						<-begin
						p, err := Claim(path, n+1)
						if err != nil {
							refused <- err
							return
						}
						owners <- p
					})
				}
				close(begin)
				all.Wait()
				close(end)
				looking.Wait()
				close(owners)
				close(refused)
				if len(owners) != 1 {
					t.Fatalf("round %d: %d daemons have the pidfile", round, len(owners))
				}
				for err := range refused {
					if !fault.Is(err, fault.Conflict) {
						t.Errorf("round %d: %v", round, err)
					}
				}
				if err := (<-owners).Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestClaimInTurn: who comes while the owner gives the file up either gets it or is told
// of the owner, and never has a file that is not at its path.
func TestClaimInTurn(t *testing.T) {
	path := aPidfile(t, "-")
	var (
		all    sync.WaitGroup
		mu     sync.Mutex
		inside int
	)
	for n := range 8 {
		all.Go(func() {
			for range 200 {
				p, err := Claim(path, n+1)
				if fault.Is(err, fault.Conflict) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				inside++
				if inside != 1 || !p.current() {
					t.Errorf("%d have the file, and it is at its path: %v", inside, p.current())
				}
				inside--
				mu.Unlock()
				if err := p.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// TestClaimTaken: the second is told who has it, however the file was changed meanwhile.
func TestClaimTaken(t *testing.T) {
	for content, want := range map[string]string{
		"4711\n": "it already runs (pid 4711)", "": "it already runs: it has", "rubbish": "it already runs: it has",
	} {
		path := aPidfile(t, "-")
		p := claimed(t, path, 4711)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Claim(path, 1); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), want) {
			t.Errorf("with %q in it: %v", content, err)
		}
		if err := p.Release(); err != nil {
			t.Error(err)
		}
	}
}

// TestClaimHosted: a daemon without a process of its own holds an empty file.
func TestClaimHosted(t *testing.T) {
	path := aPidfile(t, "123456\n")
	p := claimed(t, path, 0)
	wantContent(t, path, "")
	if pid, held := Holder(path); !held || pid != 0 {
		t.Errorf("it is held: %v, by %d", held, pid)
	}
	if err := p.Release(); err != nil {
		t.Error(err)
	}
}

// TestReleaseWhatIsOurs: only who has the file removes it.
func TestReleaseWhatIsOurs(t *testing.T) {
	t.Run("it was removed", func(t *testing.T) {
		path := aPidfile(t, "-")
		p := claimed(t, path, 1)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		other := claimed(t, path, 2)
		if err := p.Release(); err != nil {
			t.Error(err)
		}
		wantContent(t, path, "2\n")
		if err := other.Release(); err != nil {
			t.Error(err)
		}
	})
	t.Run("it was replaced", func(t *testing.T) {
		path := aPidfile(t, "-")
		p := claimed(t, path, 1)
		if err := os.WriteFile(path+".new", []byte("other\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		if err := p.Release(); err != nil {
			t.Error(err)
		}
		wantContent(t, path, "other\n")
	})
	t.Run("its directory is gone", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "run", "x.pid")
		p := claimed(t, path, 1)
		if err := os.RemoveAll(filepath.Dir(path)); err != nil {
			t.Fatal(err)
		}
		if err := p.Release(); err != nil {
			t.Error(err)
		}
	})
}

// TestClaimWhatIsNoFile: something else in the place of the pidfile is left as it is, and
// said.
func TestClaimWhatIsNoFile(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"directory":     {func(path string) error { return os.Mkdir(path, 0o700) }, "it is no regular file"},
		"fifo":          {func(path string) error { return syscall.Mkfifo(path, 0o600) }, "it is no regular file"},
		"link":          {func(path string) error { return os.Symlink("/etc/hostname", path) }, "it is a symbolic link"},
		"dangling link": {func(path string) error { return os.Symlink(path+".target", path) }, "it is a symbolic link"},
	} {
		t.Run(name, func(t *testing.T) {
			path := aPidfile(t, "-")
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			p, err := Claim(path, 1)
			if err == nil {
				_ = p.Release()
			}
			if err == nil || fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("claim: %v, want %q", err, c.want)
			}
			if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
				t.Errorf("it was changed: %v", err)
			}
			if _, err := os.Lstat(path + ".target"); err == nil {
				t.Error("what the link leads to was made")
			}
			if _, held := Holder(path); held {
				t.Error("somebody has it")
			}
		})
	}
}

// TestClaimForeign: another user's pidfile is left alone, by root as well.
func TestClaimForeign(t *testing.T) {
	const nobody = 65534
	path := aPidfile(t, "4711\n")
	switch err := os.Chown(path, nobody, nobody); {
	case errors.Is(err, syscall.EPERM): // who may not give files away has others' nearby
		path = "/etc/passwd"
	case err != nil:
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Claim(path, 1); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "belongs to user") {
		t.Errorf("claim: %v", err)
	}
	wantContent(t, path, string(before))
}

// TestClaimDirectory: the directory is made; one that cannot be is said.
func TestClaimDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "x.pid")
	if err := claimed(t, path, 1).Release(); err != nil {
		t.Error(err)
	}
	file := aPidfile(t, "")
	for _, under := range []string{file, "/proc/self"} {
		if _, err := Claim(filepath.Join(under, "run", "x.pid"), 1); err == nil || fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "directory of the pidfile") {
			t.Errorf("below %s: %v", under, err)
		}
	}
}

// TestClaimLeavesNothingOpen: whoever is refused has no descriptor left.
func TestClaimLeavesNothingOpen(t *testing.T) {
	path := aPidfile(t, "-")
	p := claimed(t, path, 1)
	defer func() { _ = p.Release() }()
	before := descriptors(t)
	for range 50 {
		if _, err := Claim(path, 2); err == nil {
			t.Fatal("two have it")
		}
		Holder(path)
	}
	if after := descriptors(t); after > before+10 {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
