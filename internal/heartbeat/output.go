package heartbeat

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// outputKept is how many bytes of a command's output are kept with its run.
const outputKept = 10_000

// largestPipe is how much a pipe can hold: /proc/sys/fs/pipe-max-size, unless
// somebody has raised it.
const largestPipe = 1 << 20

// tail keeps the last bytes written to it. It is safe for concurrent use.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

func (t *tail) add(p []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(p) >= outputKept {
		t.kept = append(t.kept[:0], p[len(p)-outputKept:]...)
		return
	}
	t.kept = append(t.kept, p...)
	// Moving the rest down only when there is twice too much makes it cheap.
	if len(t.kept) >= 2*outputKept {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-outputKept:]...)
	}
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]byte(nil), t.kept[max(0, len(t.kept)-outputKept):]...)
}

// tees pass the output of a command on and keep its end.
type tees struct {
	tail    tail
	stdout  *os.File // what the command gets
	stderr  *os.File
	readers []*os.File
	writers []*os.File
	watches []*os.File
	done    sync.WaitGroup // passing on
	watched sync.WaitGroup
}

// newTees gives the command pipes in place of stdout and stderr: one for both
// where both are the same file, so that their order is kept. A terminal it gets
// itself, because programs behave differently on one; its output is not kept.
func newTees(stdout, stderr *os.File) (*tees, error) {
	t := &tees{stdout: stdout, stderr: stderr}
	together := sameFile(stdout, stderr)
	if !isTerminal(stdout) {
		if err := t.tee(stdout, &t.stdout); err != nil {
			return nil, err
		}
		if together {
			t.stderr = t.stdout
			return t, nil
		}
	}
	if !isTerminal(stderr) {
		if err := t.tee(stderr, &t.stderr); err != nil {
			t.started()
			<-t.finish(0)
			return nil, err
		}
	}
	return t, nil
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

func sameFile(a, b *os.File) bool {
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

// tee copies from a new pipe to a file until the pipe's end.
func (t *tees) tee(to *os.File, writer **os.File) error {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	// Only this end may be non-blocking: the command's is not prepared for it.
	if err := syscall.SetNonblock(ends[0], true); err != nil {
		return fmt.Errorf("cannot make a pipe: %w", err)
	}
	r, w := os.NewFile(uintptr(ends[0]), "output"), os.NewFile(uintptr(ends[1]), "output")
	*writer = w
	t.writers = append(t.writers, w)
	watch := watchReader(to)
	if watch != nil && readerGone(int(watch.Fd())) {
		return errors.Join(watch.Close(), r.Close())
	}
	t.readers = append(t.readers, r)
	t.done.Go(func() { t.copy(to, r) })
	if watch != nil {
		t.watches = append(t.watches, watch)
		t.watched.Go(func() { endWithReader(watch, r) })
	}
	return nil
}

// watchReader returns an epoll descriptor that becomes readable when the reader of
// a pipe goes. It returns nil for other files: to a pipe with a name another reader
// may come. The descriptor can itself be waited for, which costs no thread.
func watchReader(to *os.File) *os.File {
	var system unix.Statfs_t
	if err := unix.Fstatfs(int(to.Fd()), &system); err != nil || system.Type != unix.PIPEFS_MAGIC {
		return nil
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	// Errors are reported without being asked for.
	err = unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, int(to.Fd()), &unix.EpollEvent{})
	if err == nil {
		err = unix.SetNonblock(epoll, true)
	}
	if err != nil {
		_ = unix.Close(epoll)
		return nil
	}
	return os.NewFile(uintptr(epoll), "reader")
}

func readerGone(epoll int) bool {
	n, _ := unix.EpollWait(epoll, make([]unix.EpollEvent, 1), 0)
	return n > 0
}

// endWithReader ends the passing on when the reader has gone, before anything is
// written to it: then the command gets the SIGPIPE that it would get without procops.
func endWithReader(watch, from *os.File) {
	raw, err := watch.SyscallConn()
	if err != nil {
		return
	}
	if err := raw.Read(func(fd uintptr) bool { return readerGone(int(fd)) }); err == nil { // otherwise it was closed
		_ = from.SetReadDeadline(time.Now())
	}
}

// copy passes each read on at once until nobody writes any more, or until the
// deadline that finish sets; then it passes on what is still in the pipe.
func (t *tees) copy(to io.Writer, from *os.File) {
	defer func() { _ = from.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if !t.pass(to, buffer[:n]) {
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.drain(to, from, buffer)
			return
		}
		if err != nil {
			return
		}
	}
}

// pass passes output on and returns false when nobody takes it any more: then
// the pipe is closed, and the command learns of it as it would without procops.
// Another error, such as a full disk, must not end a command that would not
// mind it.
func (t *tees) pass(to io.Writer, output []byte) bool {
	t.tail.add(output)
	_, err := to.Write(output)
	return !errors.Is(err, syscall.EPIPE)
}

// drain passes on what is in the pipe without waiting for more. A process that
// writes without a pause does not keep it for ever.
func (t *tees) drain(to io.Writer, from *os.File, buffer []byte) {
	if err := from.SetReadDeadline(time.Time{}); err != nil {
		return
	}
	raw, err := from.SyscallConn()
	if err != nil {
		return
	}
	for total := 0; total < largestPipe; {
		var n int
		failed := raw.Read(func(fd uintptr) bool {
			n, err = syscall.Read(int(fd), buffer)
			return true // do not wait
		})
		if failed != nil || err != nil || n <= 0 || !t.pass(to, buffer[:n]) {
			return
		}
		total += n
	}
}

// started closes this process's ends of the pipes that the command has now.
func (t *tees) started() {
	for _, w := range t.writers {
		_ = w.Close()
	}
}

// finish closes passed when all has been passed on that the command has written.
// A process that it left in the background may hold the pipes open: after patience
// what is there is still passed on, but no more is waited for.
func (t *tees) finish(patience time.Duration) (passed <-chan struct{}) {
	for _, w := range t.watches {
		_ = w.Close()
	}
	t.watched.Wait()
	for _, r := range t.readers {
		if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, os.ErrClosed) {
			_ = r.Close()
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.done.Wait()
	}()
	return done
}
