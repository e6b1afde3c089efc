package server

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"syscall"
	"time"

	"procops/internal/gearman/wire"
)

const (
	// maxLine is the longest line of the admin protocol.
	maxLine = 64 << 10
	// firstGrab is how much memory a large packet gets before it has come: a header
	// alone costs its sender nothing.
	firstGrab = 1 << 20
)

// conn is a connection. Its goroutine reads; the server's lock guards what is not
// marked as that goroutine's own.
type conn struct {
	server *Server
	net    net.Conn
	raw    syscall.RawConn       // nil: the connection can only be waited for
	write  func(fd uintptr) bool // of out, for raw
	read   func(fd uintptr) bool // of in, for raw
	in     input                 // the goroutine's
	packet wire.Packet           // the goroutine's
	lastFn *function             // the goroutine's: of the last submission
	number int                   // of its file, as `workers` shows it
	host   string                // where it comes from
	now    time.Time             // of this batch
	out    output

	id         string
	exceptions bool      // it wants to hear of them
	asked      wire.Type // its open question for a job; 0: there is none
	questions  uint64    // for a job that were held open
	sleeping   bool      // it waits for NOOP
	woken      bool      // it was sent one and has not asked since
	dirty      bool      // it is in server.dirty
	closing    bool      // nothing more is read
	abilities  []*ability
	held       []*job  // that it works on
	waiting    *client // the jobs that it waits for
	pending    []pending
	ended      []uint64 // durable jobs that have ended, and are to be removed from the disk
}

// input is what was read and not yet understood.
type input struct {
	server     *Server
	block      *block
	buf        []byte // the block, or memory of its own for a packet that is larger
	begin, end int
	n          int
	err        error
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{server: s, net: nc, raw: rawOf(nc), host: hostOf(nc), number: -1, in: input{server: s}}
	c.out.conn = c
	c.out.less.L = &c.out.mu
	c.write, c.read = c.out.writeNow, c.in.readNow
	if c.raw != nil {
		_ = c.raw.Control(func(fd uintptr) { c.number = int(fd) }) // it was opened just now
	}
	if tcp, ok := nc.(*net.TCPConn); ok {
		s.keepAlive(tcp)
	}
	return c
}

func (s *Server) keepAlive(tcp *net.TCPConn) {
	idle := s.cfg.Keepalive.Std()
	// An error means that the connection is gone, which shows soon enough.
	_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: idle > 0, Idle: idle, Interval: idle / 4, Count: 4})
}

// hostOf returns the address of the other end without its port.
func hostOf(nc net.Conn) string {
	host, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil || host == "" {
		return "-"
	}
	return host
}

// serve reads until the connection ends.
func (c *conn) serve() {
	defer c.leave()
	for !c.closing {
		if err := c.fill(); err != nil {
			c.shutOut(err)
			return
		}
		c.understand()
	}
	c.out.finish()
}

// fill waits for more.
func (c *conn) fill() error {
	in := &c.in
	if c.raw != nil {
		if err := c.raw.Read(c.read); err != nil {
			return err
		}
	} else {
		in.room()
		in.n, in.err = c.net.Read(in.buf[in.end:])
	}
	in.end += in.n
	return in.err
}

// readNow reads once; syscall.RawConn calls it again when there may be something.
func (in *input) readNow(fd uintptr) bool {
	in.room()
	for {
		n, err := syscall.Read(int(fd), in.buf[in.end:])
		switch err {
		case nil:
			in.n, in.err = n, nil
			if n == 0 {
				in.err = io.EOF
			}
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			in.giveBack()
			return false
		default:
			in.n, in.err = 0, err
		}
		return true
	}
}

// room sees to it that there is a buffer. need has seen to it that it is not full.
func (in *input) room() {
	if in.buf == nil {
		in.block, _ = in.server.blocks.Get().(*block)
		in.buf = in.block[:]
	}
}

// giveBack gives the buffer back if there is nothing in it.
func (in *input) giveBack() {
	if in.begin < in.end || in.buf == nil {
		return
	}
	if in.block != nil {
		in.server.blocks.Put(in.block)
	}
	in.block, in.buf, in.begin, in.end = nil, nil, 0, 0
}

// need makes room for a packet or line of size bytes, of which some are there. What
// is in memory of its own may have been kept, and stays as it is.
func (in *input) need(size int) {
	have := in.buf[in.begin:in.end]
	switch {
	case in.begin == 0 && in.end < len(in.buf):
		return
	case in.block != nil && size <= len(in.buf):
		in.begin, in.end = 0, copy(in.buf, have)
		return
	}
	before := in.block
	in.block, in.buf = nil, nil
	if size <= blockSize {
		in.room()
	} else {
		in.buf = make([]byte, min(size, max(firstGrab, 2*len(have))))
	}
	in.begin, in.end = 0, copy(in.buf, have)
	if before != nil {
		in.server.blocks.Put(before)
	}
}

// own reports whether what was read is in memory that is not used again, and so can
// be kept as it is.
func (in *input) own() bool { return in.block == nil }

// understand does what was read says, under one lock, and writes what comes of it.
func (c *conn) understand() {
	s := c.server
	s.mu.Lock()
	c.now = time.Now()
	for c.in.begin < c.in.end && !c.closing {
		if !c.one() {
			break
		}
	}
	c.settle()
	var few [8]*conn
	dirty := append(few[:0], s.dirty...)
	s.clean()
	s.mu.Unlock()
	c.flush()
	if len(dirty) > 0 && (len(dirty) > 1 || dirty[0] != c) {
		// Others who are ready may have more to say to the same connections.
		runtime.Gosched()
		flush(dirty)
	}
	for _, to := range dirty {
		to.out.waitForRoom()
	}
	if c.in.begin == c.in.end {
		c.in.begin, c.in.end = 0, 0
		if c.in.own() {
			c.in.buf = nil
		} else if c.raw == nil {
			c.in.giveBack()
		}
	}
}

// one does what the next packet or line says; false if it has not come whole.
func (c *conn) one() bool {
	raw := c.in.buf[c.in.begin:c.in.end]
	if raw[0] != 0 {
		return c.line(raw)
	}
	size, err := c.packet.Scan(raw, wire.Request, int64(c.server.cfg.MaxPacket))
	if errors.Is(err, wire.ErrMagic) && bytes.HasPrefix(raw, []byte("\x00RES")) {
		return c.response(raw)
	}
	if size > int64(len(raw)) {
		c.in.need(int(size))
		return false
	}
	if size == 0 {
		c.closing = true
		return false
	}
	c.in.begin += int(size)
	c.noJob() // what is asked first is answered first
	switch {
	case errors.Is(err, wire.ErrDirection):
		c.refuse(codeInvalidCommand, "Command not expected")
	case err != nil:
		c.refuse(codeInvalidPacket, "Wrong number of arguments")
	default:
		c.obey(&c.packet)
	}
	return true
}

// response refuses a packet that is an answer.
func (c *conn) response(raw []byte) bool {
	if len(raw) < 12 {
		c.in.need(12)
		return false
	}
	size := 12 + int(binary.BigEndian.Uint32(raw[8:]))
	switch {
	case int64(size) > int64(c.server.cfg.MaxPacket):
		c.closing = true
		return false
	case size > len(raw):
		c.in.need(size)
		return false
	}
	c.in.begin += size
	c.noJob()
	c.refuse(codeInvalidMagic, "Request magic expected")
	return true
}

// line does what a line of the admin protocol says.
func (c *conn) line(raw []byte) bool {
	if isHello(raw) {
		c.server.log.Warn().Str("from", c.host).Msg("a connection is refused: it speaks TLS, and this server does not (tls_cert in [worker.server])")
		c.closing = true
		return false
	}
	end := bytes.IndexByte(raw, '\n')
	if end < 0 {
		if len(raw) >= maxLine {
			c.closing = true
			return false
		}
		c.in.need(len(raw) + blockSize/2)
		return false
	}
	c.in.begin += end + 1
	c.noJob()
	c.admin(raw[:end])
	return true
}

// mark sees to it that what waits for the connection is written.
func (c *conn) mark() {
	if !c.dirty {
		c.dirty = true
		c.server.dirty = append(c.server.dirty, c)
	}
}

// flush writes what waits for the connection.
func (c *conn) flush() { c.out.flush() }

// begin returns a buffer with the header of an answer and room for n bytes behind
// it; finish is to follow.
func (c *conn) begin(t wire.Type, n int) []byte {
	return wire.AppendHeader(c.out.begin(12+n), wire.Response, t, 0)
}

// finish says how large the answer is that began at a place: of it, more bytes are
// to follow.
func (c *conn) finish(data []byte, at, more int) {
	binary.BigEndian.PutUint32(data[at+8:], uint32(len(data)-at-12+more))
	c.out.end(data)
	c.mark()
}

// answer sends an answer with these arguments.
func (c *conn) answer(t wire.Type, args ...[]byte) {
	size := 0
	for _, arg := range args {
		size += len(arg) + 1
	}
	data := c.begin(t, size)
	at := len(data) - 12
	for i, arg := range args {
		if i > 0 {
			data = append(data, 0)
		}
		data = append(data, arg...)
	}
	c.finish(data, at, 0)
}

// reply sends a packet without arguments.
func (c *conn) reply(t wire.Type) {
	data := c.begin(t, 0)
	c.finish(data, len(data)-12, 0)
}

// The codes of errors, as gearmand has them.
const (
	codeInvalidCommand = "INVALID_COMMAND"
	codeInvalidMagic   = "INVALID_MAGIC"
	codeInvalidPacket  = "INVALID_PACKET"
	codeJobNotFound    = "JOB_NOT_FOUND"
	codeTooLarge       = "ARGUMENT_TOO_LARGE"
	codeUnknownOption  = "UNKNOWN_OPTION"
	codeQueue          = "QUEUE_ERROR"
)

// refuse sends an error. What was asked before is answered before.
func (c *conn) refuse(code, text string) {
	c.settle()
	c.answer(wire.Error, []byte(code), []byte(text))
}

// leave ends the connection: its jobs go to others, and nobody waits here any more.
func (c *conn) leave() {
	s := c.server
	_ = c.net.Close()
	s.mu.Lock()
	delete(s.conns, c)
	c.closing = true
	if c.asked != 0 {
		c.answered()
	}
	for len(c.abilities) > 0 {
		s.cannot(c.abilities[len(c.abilities)-1])
	}
	for c.waiting != nil {
		s.noLonger(c.waiting)
	}
	for _, id := range c.ended {
		s.change(change{id: id, ended: true})
	}
	dirty := s.takeDirty()
	s.mu.Unlock()
	c.out.mu.Lock()
	c.out.closed = true
	c.out.discard()
	c.out.mu.Unlock()
	c.in.begin = c.in.end
	c.in.giveBack()
	flush(dirty)
	s.saveChanges()
}
