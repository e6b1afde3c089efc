package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The sizes in bytes of what is read and written.
const (
	firstRead = 4 << 10  // of the buffer of a line; it doubles when a line is longer
	keepRead  = 64 << 10 // a larger buffer is not kept for the next line
	lastRead  = 1 << 20  // how much is still read of one who is not waited for any longer: what a pipe can hold
)

// errWoken says that somebody has called wake and nothing more is there to read.
var errWoken = errors.New("woken")

// errTooLong says that a line is longer than it may be.
var errTooLong = errors.New("its line is too long")

// talk is the pipes between procops and a co-process. The one who has the unit of work
// reads and writes it himself: no goroutine stands between.
type talk struct {
	in, out, err *os.File // our ends of its streams 0, 1 and 2, which do not block
	inConn       syscall.RawConn
	outConn      syscall.RawConn
	errConn      syscall.RawConn
	limit        int // the longest line in bytes

	message []byte // to be written
	line    []byte // what was read; nil while nothing is expected
	from    int    // where the next line begins in it
	seen    int    // as far as there is no newline
	late    int    // bytes read since the last wake

	// What the system calls take and return; the functions are made once, because a
	// closure for each would be garbage.
	n             int
	errno         error
	read, written func(fd uintptr) bool
}

// newTalk makes the pipes and returns the ends of the co-process, too.
func newTalk(limit int) (t *talk, theirs [3]*os.File, err error) {
	t = &talk{limit: limit}
	var ours [3]*os.File
	for i := range ours {
		r, w, failed := os.Pipe()
		if failed != nil {
			closeAll(ours[:]...)
			closeAll(theirs[:]...)
			return nil, theirs, fmt.Errorf("cannot create a pipe to talk to it: %w", failed)
		}
		if i == 0 {
			theirs[i], ours[i] = r, w
		} else {
			ours[i], theirs[i] = r, w
		}
	}
	t.in, t.out, t.err = ours[0], ours[1], ours[2]
	// They are open: there is no other reason for which this could fail.
	t.inConn, _ = t.in.SyscallConn()
	t.outConn, _ = t.out.SyscallConn()
	t.errConn, _ = t.err.SyscallConn()
	t.read, t.written = t.readOnce, t.writeOnce
	return t, theirs, nil
}

// closeAll closes pipes, of which nothing can be lost.
func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// readOnce reads behind what there is. It reports whether there was something, or an
// end.
func (t *talk) readOnce(fd uintptr) bool {
	t.n, t.errno = readFD(int(fd), t.line[len(t.line):cap(t.line)])
	return !errors.Is(t.errno, syscall.EAGAIN)
}

// writeOnce writes as much of the message as there is room for in the pipe.
func (t *talk) writeOnce(fd uintptr) bool {
	for {
		t.n, t.errno = unix.Write(int(fd), t.message)
		if !errors.Is(t.errno, syscall.EINTR) {
			return true
		}
	}
}

func readFD(fd int, b []byte) (int, error) {
	for {
		n, err := unix.Read(fd, b)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// send writes the message and returns what did not fit. The error says that nobody
// reads: then nothing at all was taken.
func (t *talk) send() (rest []byte, err error) {
	if err := t.inConn.Write(t.written); err != nil {
		return t.message, err
	}
	switch {
	case errors.Is(t.errno, syscall.EAGAIN):
		return t.message, nil // it is so full of what was not read before
	case t.errno != nil:
		return t.message, t.errno
	default:
		return t.message[t.n:], nil
	}
}

// unread reports whether nothing of the message was taken out of the pipe, into which
// it went at once.
func (t *talk) unread() bool {
	waiting := 0
	err := t.inConn.Control(func(fd uintptr) { waiting, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return err == nil && waiting >= len(t.message)
}

// next returns the next line, without its newline. It is valid until next is called
// again. The error is io.EOF at the end, errWoken, errTooLong or errNoJSON: then rest
// is what was read of the line.
func (t *talk) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(t.line[t.seen:], '\n'); i >= 0 {
			line := t.line[t.from : t.seen+i]
			if !begins(line, false) {
				return nil, errNoJSON
			}
			t.from = t.seen + i + 1
			t.seen = t.from
			return line, nil
		}
		t.seen = len(t.line)
		if !begins(t.line[t.from:], true) {
			return nil, errNoJSON // no need to wait for the end of the line
		}
		if err := t.room(); err != nil {
			return nil, err
		}
		if err := t.fill(); err != nil {
			return nil, err
		}
	}
}

// begins reports whether a line begins as a JSON object does, or may do so when more
// is read.
func begins(line []byte, more bool) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return c == '{'
		}
	}
	return more
}

// room makes room behind what was read.
func (t *talk) room() error {
	if t.from > 0 && (t.from == len(t.line) || len(t.line) == cap(t.line)) {
		n := copy(t.line, t.line[t.from:])
		t.line, t.seen, t.from = t.line[:n], t.seen-t.from, 0
	}
	switch {
	case len(t.line)-t.from > t.limit:
		return errTooLong
	case t.line == nil:
		t.line = make([]byte, 0, firstRead)
	case len(t.line) == cap(t.line):
		t.line = append(make([]byte, 0, 2*cap(t.line)), t.line...)
	}
	return nil
}

// fill reads something, and waits for it if need be.
func (t *talk) fill() error {
	t.n, t.errno = 0, nil
	err := t.outConn.Read(t.read)
	if err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) || t.late > lastRead {
			return errWoken
		}
		if err := t.outConn.Control(func(fd uintptr) { t.read(fd) }); err != nil || errors.Is(t.errno, syscall.EAGAIN) {
			return errWoken
		}
		t.late += max(0, t.n)
	}
	if t.n <= 0 || t.errno != nil {
		return io.EOF
	}
	t.line = t.line[:len(t.line)+t.n]
	return nil
}

// wake makes the one who waits in next look up. It may be called from any goroutine.
func (t *talk) wake() {
	_ = t.out.SetReadDeadline(time.Unix(1, 0)) // fails only when it is closed
}

// rearm lets next wait again. Whoever wakes it has said why before: the reasons are
// looked at afterwards.
func (t *talk) rearm() {
	_ = t.out.SetReadDeadline(time.Time{})
	t.late = 0
}

// rest returns what was read beyond the last line.
func (t *talk) rest() []byte { return t.line[t.from:] }

// quiet reports whether nothing has come since the last line, as it must be before a
// unit is handed over. What has come, if it has not ended, is in rest.
func (t *talk) quiet() (ok bool) {
	if t.room() != nil {
		return false
	}
	err := t.outConn.Control(func(fd uintptr) { t.read(fd) })
	if err == nil && errors.Is(t.errno, syscall.EAGAIN) {
		return true
	}
	t.line = t.line[:len(t.line)+max(0, t.n)]
	return false
}

// reset lets go of large buffers, and of every one that nothing is expected in.
func (t *talk) reset() {
	t.line, t.from, t.seen = t.line[:0], 0, 0
	if cap(t.line) > keepRead {
		t.line = nil
	}
	if cap(t.message) > keepRead {
		t.message = nil
	}
}

// keep returns the bytes of a line for longer than the line is valid.
func (t *talk) keep(b []byte) []byte {
	if len(b) < keepRead {
		return bytes.Clone(b)
	}
	// They are worth more than the buffer, of which they are most.
	t.line = append([]byte(nil), t.rest()...)
	t.from, t.seen = 0, 0
	return slices.Clip(b)
}
