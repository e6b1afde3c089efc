package server

import (
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// blockSize is the size of the buffers of connections. A connection that is
	// silent has none.
	blockSize = 32 << 10
	// maxOutput is how much may wait for a connection before whoever sends it more
	// is not read from.
	maxOutput = 8 << 20
	// writePart is how much is written within the time to write.
	writePart = 256 << 10
)

type block [blockSize]byte

// output is what waits to be written to a connection.
type output struct {
	conn    *conn
	mu      sync.Mutex
	less    sync.Cond // size has become less, of mu
	parts   []part
	spare   []part
	size    int
	writing bool // somebody writes, and goes on until nothing is left
	closed  bool

	// Of the one who writes.
	now    []byte
	wrote  int
	failed error
}

// part is a piece of output: in a block, of which it is the only user, or somebody
// else's memory that does not change.
type part struct {
	block *block
	data  []byte
}

// begin returns a buffer with room for n more bytes; end is to follow.
func (o *output) begin(n int) []byte {
	o.mu.Lock()
	if last := len(o.parts) - 1; last >= 0 {
		if p := o.parts[last]; p.block != nil && cap(p.data)-len(p.data) >= n {
			return p.data
		}
	}
	p := part{}
	if n <= blockSize {
		p.block, _ = o.conn.server.blocks.Get().(*block)
		p.data = p.block[:0]
	} else {
		p.data = make([]byte, 0, n)
	}
	o.parts = append(o.parts, p)
	return p.data
}

// end puts back the buffer of begin.
func (o *output) end(data []byte) {
	last := &o.parts[len(o.parts)-1]
	o.size += len(data) - len(last.data)
	last.data = data
	if o.closed {
		o.discard()
	}
	o.mu.Unlock()
}

// share appends memory that never changes. It is not copied if it is large.
func (o *output) share(data []byte) {
	if len(data) <= blockSize/2 {
		o.end(append(o.begin(len(data)), data...))
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.parts = append(o.parts, part{data: data})
		o.size += len(data)
	}
}

func (o *output) discard() {
	for _, p := range o.parts {
		o.recycle(p)
	}
	clear(o.parts)
	o.parts, o.size = o.parts[:0], 0
	o.less.Broadcast()
}

func (o *output) recycle(p part) {
	if p.block != nil {
		o.conn.server.blocks.Put(p.block)
	}
}

// flush writes what waits, unless somebody does already. If the kernel takes no
// more, a goroutine goes on.
func (o *output) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing || len(o.parts) == 0 || o.closed {
		return
	}
	o.writing = true
	if o.conn.raw == nil {
		o.goOn()
		return
	}
	for len(o.parts) > 0 {
		parts := o.take()
		o.mu.Unlock()
		left := o.try(parts)
		o.mu.Lock()
		o.done(parts, left)
		if o.failed != nil {
			o.fail()
			return
		}
		if len(o.parts) > 0 && left > 0 {
			o.goOn()
			return
		}
	}
	o.writing = false
}

// goOn has a goroutine write; o.writing is set.
func (o *output) goOn() { o.conn.server.work.Go(o.drain) }

// take takes all parts.
func (o *output) take() []part {
	parts := o.parts
	o.parts, o.spare = o.spare[:0], nil
	return parts
}

// done counts what was written of parts and puts the rest, the last left of them,
// back to the front.
func (o *output) done(parts []part, left int) {
	written := len(parts) - left
	for _, p := range parts[:written] {
		o.size -= len(p.data)
		o.recycle(p)
	}
	if left > 0 {
		o.size -= o.wrote
		rest := append([]part(nil), parts[written:]...)
		rest[0].data = rest[0].data[o.wrote:]
		o.parts = append(rest, o.parts...)
	}
	clear(parts)
	o.spare = parts[:0]
	o.less.Broadcast()
}

// try writes parts as far as the kernel takes them at once, and returns how many
// are left; o.wrote is how much of the first of those was written.
func (o *output) try(parts []part) (left int) {
	for i, p := range parts {
		o.now, o.wrote = p.data, 0
		if err := o.conn.raw.Write(o.conn.write); err != nil {
			o.failed = err
		}
		if o.failed != nil || o.wrote < len(p.data) {
			return len(parts) - i
		}
	}
	return 0
}

// writeNow writes once; syscall.RawConn calls it.
func (o *output) writeNow(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), o.now)
		switch err {
		case nil:
			o.wrote = n
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
		default:
			o.failed = err
		}
		return true
	}
}

// fail ends the output; o.mu is held.
func (o *output) fail() {
	o.closed, o.writing = true, false
	o.discard()
	_ = o.conn.net.Close()
}

// drain writes what waits, and waits itself.
func (o *output) drain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.parts) > 0 && !o.closed {
		parts := o.take()
		o.mu.Unlock()
		err := o.wait(parts)
		o.mu.Lock()
		o.wrote = 0
		o.done(parts, 0)
		if err != nil {
			o.fail()
			return
		}
	}
	o.writing = false
	o.less.Broadcast()
}

// wait writes parts, each piece within the time to write.
func (o *output) wait(parts []part) error {
	for _, p := range parts {
		for data := p.data; len(data) > 0; {
			n := min(len(data), writePart)
			err := o.conn.net.SetWriteDeadline(time.Now().Add(o.conn.server.cfg.WriteTimeout.Std()))
			if err == nil {
				_, err = o.conn.net.Write(data[:n])
			}
			if err != nil {
				return err
			}
			data = data[n:]
		}
	}
	return nil
}

// waitForRoom waits until no more waits than may.
func (o *output) waitForRoom() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.size > maxOutput && !o.closed {
		o.less.Wait()
	}
}

// lastWords is how long a connection has at the end to take what is still to be
// said to it.
const lastWords = 500 * time.Millisecond

// finish closes the connection, once what waits is written.
func (o *output) finish() {
	o.flush()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing && !o.closed {
		limit := time.AfterFunc(lastWords, func() { _ = o.conn.net.Close() })
		defer limit.Stop()
		for o.writing && !o.closed {
			o.less.Wait()
		}
	}
	o.closed = true
	o.discard()
	_ = o.conn.net.Close()
}

// rawOf returns how to reach the file of a connection without waiting, nil if that
// is not possible: TLS has work of its own to do.
func rawOf(nc net.Conn) syscall.RawConn {
	file, ok := nc.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
