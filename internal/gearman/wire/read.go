package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// What can be wrong with a packet. After ErrArguments and ErrDirection the
// boundaries of the packets are still known, and reading can go on; after the
// others it cannot.
var (
	ErrMagic     = errors.New("not a Gearman packet")
	ErrType      = errors.New("unknown type of packet")
	ErrSize      = errors.New("packet too large")
	ErrDirection = errors.New("packet in the wrong direction")
	ErrArguments = errors.New("wrong arguments in a packet")
)

// MagicError is an ErrMagic that knows what there is instead of a packet.
type MagicError struct{ Begin []byte }

// Error quotes what there is.
func (e *MagicError) Error() string { return fmt.Sprintf("%v: it begins with %q", ErrMagic, e.Begin) }

// Unwrap returns ErrMagic.
func (e *MagicError) Unwrap() error { return ErrMagic }

const (
	// bufferSize is the size of a Reader's buffer. A packet that fits into it is
	// never copied.
	bufferSize = 16 << 10

	// maxHead is the limit of all arguments but the last: names, keys, handles
	// and numbers.
	maxHead = bufferSize / 2

	// firstGrab is how much of a large last argument Data makes room for before
	// it has come: a header alone costs its sender nothing.
	firstGrab = 1 << 20
)

// Reader reads packets of one direction from a stream. It is not for use by
// several goroutines at once.
type Reader struct {
	from   *bufio.Reader
	magic  Magic
	limit  int64
	packet Packet
	head   []byte // arguments of a packet that does not fit into the buffer
	broken error  // why nothing more can be read
}

// NewReader returns a Reader of packets with magic m, whose bodies have at most
// limit bytes (limit < 1: what a header can announce, 4 GiB). It reads ahead, as
// far as its buffer goes. A *bufio.Reader with a buffer of 16 KiB or more is
// used as it is: then other things than packets can be read from it in between.
func NewReader(from io.Reader, m Magic, limit int64) *Reader {
	if limit < 1 {
		limit = MaxBody
	}
	r := &Reader{from: bufio.NewReaderSize(from, bufferSize), magic: m, limit: limit}
	r.packet.body.from = r.from
	return r
}

// Packet is a packet as it comes in. It and all that it returns are valid until
// the next call of Next, but for what Data returns of a large one.
type Packet struct {
	Type Type

	args  [maxArgs - 1][]byte // all but the last
	last  []byte              // the last one, if it is in the buffer
	whole bool                // last is all of it
	small bytes.Reader        // of last
	body  body                // the last one, if it is not in the buffer
}

// Arg returns an argument but the last, counted from 0.
func (p *Packet) Arg(i int) []byte { return p.args[:max(0, p.Type.Args()-1)][i] }

// Size returns the size of the last argument.
func (p *Packet) Size() int64 {
	if p.whole {
		return int64(len(p.last))
	}
	return p.body.size
}

// Data returns the last argument, in memory. If Stream was read from, it returns
// the rest. The error is that of the stream.
func (p *Packet) Data() ([]byte, error) {
	if p.whole {
		return p.last[len(p.last)-p.small.Len():], nil
	}
	var (
		left = p.body.left
		data = make([]byte, 0, min(left, firstGrab))
	)
	for int64(len(data)) < left {
		if len(data) == cap(data) {
			data = append(make([]byte, 0, min(left, 2*int64(cap(data)))), data...)
		}
		n, err := io.ReadFull(&p.body, data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err != nil {
			return data, unexpected(err)
		}
	}
	return data, nil
}

// Stream returns the last argument as a stream that ends where the packet does;
// io.Copy passes it on without a buffer of its own. Each call returns what is
// left of the same stream.
func (p *Packet) Stream() io.Reader {
	if p.whole {
		return &p.small
	}
	return &p.body
}

// body is a last argument that has not been read yet.
type body struct {
	from *bufio.Reader
	size int64
	left int64
}

// Read reads from the argument; at its end the error is io.EOF, and
// io.ErrUnexpectedEOF if the connection ends first.
func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	n, err := b.from.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if b.left > 0 {
		err = unexpected(err)
	}
	return n, err
}

// WriteTo writes what is left of the argument, from the reader's own buffer.
func (b *body) WriteTo(w io.Writer) (written int64, err error) {
	for b.left > 0 {
		if b.from.Buffered() == 0 {
			if _, err := b.from.Peek(1); err != nil {
				return written, unexpected(err)
			}
		}
		chunk, err := b.from.Peek(int(min(b.left, int64(b.from.Buffered()))))
		if err != nil {
			return written, unexpected(err)
		}
		n, err := w.Write(chunk)
		_, _ = b.from.Discard(n) // it is in the buffer
		b.left -= int64(n)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// Next waits for the next packet; what was not read of the one before is thrown
// away. At the end of the stream, between two packets, the error is io.EOF;
// within one it is io.ErrUnexpectedEOF.
func (r *Reader) Next() (*Packet, error) {
	if r.broken == nil {
		r.broken = r.skip()
	}
	if r.broken != nil {
		return nil, r.broken
	}
	err := r.next()
	if err == nil {
		return &r.packet, nil
	}
	if !errors.Is(err, ErrArguments) && !errors.Is(err, ErrDirection) {
		r.broken = err
	}
	return nil, err
}

// skip goes to the end of the packet before.
func (r *Reader) skip() error {
	p := &r.packet
	for p.body.left > 0 {
		n, err := r.from.Discard(int(min(p.body.left, 1<<30)))
		p.body.left -= int64(n)
		if err != nil {
			return unexpected(err)
		}
	}
	p.args, p.last, p.whole = [maxArgs - 1][]byte{}, nil, false
	return nil
}

func (r *Reader) next() error {
	// Whoever speaks another protocol may wait for an answer and never send as
	// much as a header.
	begin, err := r.from.Peek(4)
	if len(begin) == 4 && Magic(binary.BigEndian.Uint32(begin)) != r.magic {
		return &MagicError{bytes.Clone(begin)}
	}
	header, more := r.from.Peek(headerSize)
	if err == nil {
		err = more
	}
	if err != nil {
		if len(header) > 0 {
			err = unexpected(err)
		}
		return err
	}
	t, size := Type(binary.BigEndian.Uint32(header[4:])), int64(binary.BigEndian.Uint32(header[8:]))
	if !t.Known() {
		return fmt.Errorf("%w: %s", ErrType, t)
	}
	if size > r.limit {
		return fmt.Errorf("%w: %s with %d bytes, the limit is %d", ErrSize, t, size, r.limit)
	}
	r.packet.Type = t
	if headerSize+size > int64(r.from.Size()) {
		return r.large(size)
	}
	return r.small(int(size))
}

// small reads a packet that fits into the buffer. It stays there until the
// next call of Next, which is why it counts as unread until then.
func (r *Reader) small(size int) error {
	p := &r.packet
	raw, err := r.from.Peek(headerSize + size)
	if err != nil {
		return unexpected(err)
	}
	p.body.size, p.body.left = 0, int64(headerSize+size)
	rest, err := p.split(r.magic, raw[headerSize:], size)
	p.last, p.whole = rest, true
	p.small.Reset(rest)
	return err
}

// large reads the head of a packet that does not fit into the buffer.
func (r *Reader) large(size int64) error {
	p := &r.packet
	_, _ = r.from.Discard(headerSize) // it is in the buffer
	p.body.size, p.body.left = size, size
	if !p.Type.Goes(r.magic) || p.Type.Args() == 0 {
		_, err := p.split(r.magic, nil, 1)
		return err
	}
	if err := r.readHead(); err != nil {
		return err
	}
	_, err := p.split(r.magic, r.head, -1)
	p.body.size = p.body.left
	return err
}

// readHead copies all arguments but the last, each with the NUL behind it.
func (r *Reader) readHead() error {
	r.head = r.head[:0]
	for range r.packet.Type.Args() - 1 {
		for {
			if len(r.head) == maxHead {
				return fmt.Errorf("%w: more than %d bytes before the last one of %s", ErrArguments, maxHead, r.packet.Type)
			}
			c, err := r.from.ReadByte()
			if err != nil {
				return unexpected(err)
			}
			r.packet.body.left--
			r.head = append(r.head, c)
			if c == 0 {
				break
			}
		}
	}
	return nil
}

// split takes all arguments but the last from raw and returns the rest of it.
// size is the size of the body, or -1 if the last argument is not in raw.
func (p *Packet) split(m Magic, raw []byte, size int) ([]byte, error) {
	if !p.Type.Goes(m) {
		return nil, fmt.Errorf("%w: %s as a %s", ErrDirection, p.Type, m)
	}
	n := p.Type.Args()
	if n == 0 && size > 0 {
		return nil, fmt.Errorf("%w: %s has none", ErrArguments, p.Type)
	}
	for i := range n - 1 {
		end := bytes.IndexByte(raw, 0)
		if end < 0 {
			return nil, fmt.Errorf("%w: %s has %d, want %d", ErrArguments, p.Type, i+1, n)
		}
		p.args[i], raw = raw[:end:end], raw[end+1:]
	}
	return raw, nil
}

// unexpected turns the end of the stream into an error, for it comes within a
// packet.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
