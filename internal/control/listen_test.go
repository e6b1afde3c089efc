package control

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"procops/internal/fault"
)

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // some tests close it themselves
	return l
}

func TestSocketIsForItsOwnerWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	path := filepath.Join(t.TempDir(), "s")
	listen(t, path)
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := fs.ModeSocket | 0o600; info.Mode() != want {
		t.Errorf("mode %v, want %v", info.Mode(), want)
	}
}

func TestLiveSocketIsAConflict(t *testing.T) {
	path := serve(t, healthy(), testLimits())
	_, err := Listen(path)
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	mustAnswer(t, path)
}

func TestBusySocketIsAConflict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	full(t, path)
	if _, err := Listen(path); !fault.Is(err, fault.Conflict) {
		t.Errorf("got %v", err)
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.Listen("unix", path) //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false) //nolint:errcheck,forcetypeassert // that is what it is
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	listen(t, path)
	conn, err := connect(limited(t), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

func TestWhatIsNotASocketStays(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, link, dir} {
		if _, err := Listen(path); err == nil || !strings.HasSuffix(err.Error(), "it exists and is not a socket") {
			t.Errorf("%s: got %v", path, err)
		}
	}
	if raw, err := os.ReadFile(link); err != nil || string(raw) != "precious" {
		t.Errorf("file holds %q, %v", raw, err)
	}
	if _, err := Listen(filepath.Join(dir, "no", "where")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestCloseRemovesOnlyItsOwnSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first := listen(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := listen(t, path)
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the second socket is gone: %v", err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the second socket is still there: %v", err)
	}
}

func TestLongPaths(t *testing.T) {
	dir := t.TempDir()
	for _, length := range []int{maxAddress - 1, maxAddress, maxAddress + 1, 300, 1000} {
		deep := dir
		for len(deep)+2+200 < length {
			deep = filepath.Join(deep, strings.Repeat("d", 200))
		}
		if more := length - len(deep) - len("/") - len("/s"); more > 0 {
			deep = filepath.Join(deep, strings.Repeat("e", more))
		}
		path := filepath.Join(deep, "s")
		if len(path) != length {
			t.Fatalf("made a path of %d bytes, want %d", len(path), length)
		}
		if err := os.MkdirAll(deep, 0o700); err != nil {
			t.Fatal(err)
		}
		before := descriptors(t)
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := connect(limited(t), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Listen(path); !fault.Is(err, fault.Conflict) {
			t.Errorf("length %d: %v", length, err)
		}
		if err := errors.Join(conn.Close(), l.Close()); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("length %d: the socket is still there: %v", length, err)
		}
		if after := descriptors(t); after != before {
			t.Errorf("length %d: %d descriptors are open, %d were", length, after, before)
		}
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("n", 150))); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Errorf("long name: %v", err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// full listens at path with a backlog that is full, and returns a function that
// accepts one connection.
func full(t *testing.T, path string) (accept func()) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.Dial("unix", path) //nolint:noctx // it does not wait
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	return func() {
		accepted, _, err := unix.Accept(fd)
		if err != nil {
			t.Error(err)
			return
		}
		_ = unix.Close(accepted)
	}
}

func TestConnectWaitsWhileTheBacklogIsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	accept := full(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 4*retryConnect)
	defer cancel()
	if _, err := connect(ctx, path); !errors.Is(err, unix.EAGAIN) && !os.IsTimeout(err) {
		t.Errorf("got %v", err)
	}
	connected := make(chan error, 1)
	go func() {
		c, err := connect(limited(t), path)
		if err == nil {
			err = c.Close()
		}
		connected <- err
	}()
	accept()
	if err := within(t, connected); err != nil {
		t.Error(err)
	}
}

func TestStrangersGetNothing(t *testing.T) {
	for _, c := range []struct {
		uid, user uint32
		want      bool
	}{{0, 0, true}, {1000, 1000, true}, {0, 1000, true}, {1000, 0, false}, {1001, 1000, false}} {
		if got := mayEnter(c.uid, c.user); got != c.want {
			t.Errorf("uid %d at the supervisor of %d: %v", c.uid, c.user, got)
		}
	}
	// An abstract socket: no file keeps strangers out before the gatekeeper does.
	name := "@" + t.TempDir()
	l, err := net.Listen("unix", name) //nolint:noctx // it does not wait
	if err != nil {
		t.Fatal(err)
	}
	g := newGatekeeper(l, 1, zerolog.Nop())
	g.user = 12345
	accepted := make(chan error, 1)
	go func() {
		_, err := g.Accept()
		accepted <- err
	}()
	for range 3 { // each must give its slot back
		c := dialAsStranger(t, name)
		if n, err := c.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("read %d bytes, %v", n, err)
		}
		_ = c.Close()
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := within(t, accepted); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
}

// dialAsStranger connects as a user who is neither root nor 12345: root, who
// would be let in, as nobody.
func dialAsStranger(t *testing.T, name string) net.Conn {
	t.Helper()
	const nobody, same = 65534, ^uintptr(0)
	var conn net.Conn
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The system call changes this thread only, which is not used again.
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, same, nobody, same); errno != 0 {
				err = errno
				return
			}
		}
		conn, err = net.Dial("unix", name) //nolint:noctx // it does not wait
	}()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
