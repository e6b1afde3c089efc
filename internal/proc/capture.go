package proc

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// keepSmall is how much of an unfinished line is kept without a whole buffer
// while the stream is silent.
const keepSmall = 4 << 10

// lastLook is how many bytes are still read without waiting when a pipe is
// abandoned: as much as a pipe can hold.
const lastLook = 1 << 20

// maxBatch is how many lines are delivered together: enough for lines of a
// usual length, and no more than 16 KB of Lines.
const maxBatch = 256

// buffer is what one read goes into, and the lines that are found in it.
type buffer struct {
	data  [MaxLine]byte
	batch [maxBatch]Line
}

// buffers hands out read buffers. A silent stream holds none.
type buffers struct{ pool sync.Pool }

func (b *buffers) get() *buffer {
	if buf, ok := b.pool.Get().(*buffer); ok {
		return buf
	}
	return new(buffer)
}

func (b *buffers) put(buf *buffer) { b.pool.Put(buf) }

// capture reads one stream to its end, in a goroutine of its own or in that of
// Process.Attend.
type capture struct {
	stream Stream
	fd     int      // our end of the pipe; not valid any more when there is a file
	file   *os.File // the same, known to the network poller; nil before open
	lines  func(Line)
	batch  func([]Line) // the same, many at a time; instead of lines
	raw    func(Stream, []byte)
	pool   *buffers

	buf   *buffer // nil while the stream is silent
	n     int     // bytes of an unfinished line in buf
	ready int     // lines in buf that are to be delivered
	rest  []byte  // the unfinished line while there is no buf

	pausing atomic.Bool   // reading is to end without the end of the stream
	stopped chan struct{} // closed when the goroutine that reads has ended
	ended   bool          // the stream has come to its end; valid after stopped
}

// newCapture makes a pipe and returns the end for the child, too.
func newCapture(stream Stream, pool *buffers) (*capture, *os.File, error) {
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		return nil, nil, err
	}
	// Only our end does not block; the child expects a file that does.
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, syscall.Close(fds[0]), syscall.Close(fds[1]))
	}
	theirs := os.NewFile(uintptr(fds[1]), stream.String())
	return newCaptureOf(fds[0], stream, pool), theirs, nil
}

// newCaptureOf makes a capture of our end of a pipe, which does not block.
func newCaptureOf(fd int, stream Stream, pool *buffers) *capture {
	stopped := make(chan struct{})
	close(stopped)
	return &capture{stream: stream, fd: fd, pool: pool, stopped: stopped}
}

// open makes our end known to the network poller. It is done before the process is known
// to the reaper, or under its lock.
func (c *capture) open() {
	if c.file == nil {
		c.file = os.NewFile(uintptr(c.fd), c.stream.String())
	}
}

// close closes our end. A pipe that was read has nothing to lose.
func (c *capture) close() {
	if c.file != nil {
		_ = c.file.Close()
		return
	}
	_ = syscall.Close(c.fd)
}

// read reads a stream of p, in a goroutine, until its end or until it is paused.
func (h *Host) read(p *Process, c *capture) {
	stopped := make(chan struct{})
	c.stopped = stopped
	h.ended.Go(func() {
		defer close(stopped)
		if c.ended = c.run(); c.ended {
			p.streamEnded()
		}
	})
}

// pause ends the reading and returns when nobody reads any more.
func (c *capture) pause() {
	c.pausing.Store(true)
	_ = c.file.SetReadDeadline(time.Unix(1, 0)) // fails only when it is closed
	<-c.stopped
}

// resume prepares for reading on after a pause; it reports whether there is
// something to read.
func (c *capture) resume() bool {
	c.pausing.Store(false)
	_ = c.file.SetReadDeadline(time.Time{})
	return !c.ended
}

// handed returns the descriptor of a paused stream and what was read of its
// unfinished line.
func (c *capture) handed() (fd int, rest []byte, open bool) {
	conn, err := c.file.SyscallConn()
	if c.ended || err != nil {
		return 0, nil, false
	}
	err = conn.Control(func(number uintptr) { fd = int(number) })
	return fd, c.rest, err == nil
}

// run reads until the end, or until abandon's delay is over, and closes the file;
// or until it is paused, and returns false.
func (c *capture) run() (ended bool) {
	conn, err := c.file.SyscallConn()
	if err != nil {
		return true
	}
	var n int
	var failed syscall.Errno
	read := func(fd uintptr) bool {
		n, failed = c.read(int(fd))
		return failed != syscall.EAGAIN
	}
	for {
		if err := conn.Read(read); err != nil {
			if c.pausing.Load() {
				c.putAside()
				return false
			}
			c.lookOnce(conn)
			break
		}
		if failed != 0 || n == 0 {
			break
		}
		c.deliver(n)
	}
	c.finish()
	c.close()
	return true
}

// putAside keeps the unfinished line without a buffer.
func (c *capture) putAside() {
	if c.buf == nil {
		return
	}
	c.rest = append(c.rest[:0], c.buf.data[:c.n]...)
	c.pool.put(c.buf)
	c.buf, c.n = nil, 0
}

// lookOnce takes what the pipe holds without waiting for more.
func (c *capture) lookOnce(conn syscall.RawConn) {
	_ = conn.Control(func(fd uintptr) {
		for total := 0; total < lastLook; {
			n, errno := c.read(int(fd))
			if errno != 0 || n == 0 {
				return
			}
			total += n
			c.deliver(n)
		}
	})
}

// read reads once, behind the unfinished line.
func (c *capture) read(fd int) (int, syscall.Errno) {
	if c.buf == nil {
		c.buf = c.pool.get()
		c.n = copy(c.buf.data[:], c.rest)
	}
	for {
		n, errno := readOnce(fd, c.buf.data[c.n:])
		if errno == syscall.EINTR {
			continue
		}
		if errno == syscall.EAGAIN && c.n <= keepSmall {
			c.putAside()
		}
		return n, errno
	}
}

// readOnce is read(2) with the error as a number: it is asked for often.
func readOnce(fd int, buf []byte) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return int(n), errno
}

// deliver hands on the n bytes that were read, and keeps an unfinished line.
func (c *capture) deliver(n int) {
	data := c.buf.data[:c.n+n]
	if c.raw != nil {
		c.raw(c.stream, data)
		c.n = 0
		return
	}
	if c.lines == nil && c.batch == nil {
		c.n = 0
		return
	}
	now := time.Now()
	fresh := c.n // what was there before has no newline
	for {
		i := bytes.IndexByte(data[fresh:], '\n')
		if i < 0 {
			break
		}
		c.add(Line{Time: now, Stream: c.stream, Text: data[:fresh+i]})
		data = data[fresh+i+1:]
		fresh = 0
	}
	if len(data) == len(c.buf.data) {
		c.add(Line{Time: now, Stream: c.stream, Text: data, Partial: true})
		data = nil
	}
	c.flush()
	c.n = copy(c.buf.data[:], data)
}

// add delivers a line, alone or together with those that follow.
func (c *capture) add(l Line) {
	if c.batch == nil {
		c.lines(l)
		return
	}
	c.buf.batch[c.ready] = l
	if c.ready++; c.ready == maxBatch {
		c.flush()
	}
}

// flush delivers what add has put together.
func (c *capture) flush() {
	if c.ready > 0 {
		c.batch(c.buf.batch[:c.ready])
		c.ready = 0
	}
}

// finish delivers the unfinished line at the end.
func (c *capture) finish() {
	data := c.rest
	if c.buf != nil {
		data = c.buf.data[:c.n]
	}
	last := Line{Time: time.Now(), Stream: c.stream, Text: data, Partial: true}
	switch {
	case len(data) == 0:
	case c.batch != nil:
		c.batch([]Line{last})
	case c.lines != nil:
		c.lines(last)
	}
	if c.buf != nil {
		c.pool.put(c.buf)
		c.buf = nil
	}
	c.rest = nil
}

// abandon ends the reading after the delay: whoever still holds the other end
// does not belong to the process any more. Before open it is Process.Attend that
// sees to that.
func (c *capture) abandon(delay time.Duration) {
	if c.file != nil {
		_ = c.file.SetReadDeadline(time.Now().Add(delay))
	}
}
