package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Scan takes the packet at the beginning of raw, which is what has come of a
// stream so far. It copies nothing: the arguments are parts of raw. size is what
// the packet takes of the stream. If it is more than there is in raw, p is not set
// and Scan is to be called again with at least that much; before the header is
// there, size is that of the header. A body may have limit bytes at the most.
//
// The errors are those of Reader.Next; with ErrArguments and ErrDirection the size
// is known and the stream goes on behind it.
func (p *Packet) Scan(raw []byte, m Magic, limit int64) (size int64, err error) {
	if len(raw) >= 4 && Magic(binary.BigEndian.Uint32(raw)) != m {
		return 0, &MagicError{bytes.Clone(raw[:4])}
	}
	if len(raw) < headerSize {
		return headerSize, nil
	}
	t, body := Type(binary.BigEndian.Uint32(raw[4:])), int64(binary.BigEndian.Uint32(raw[8:]))
	if !t.Known() {
		return 0, fmt.Errorf("%w: %s", ErrType, t)
	}
	if body > limit {
		return 0, fmt.Errorf("%w: %s with %d bytes, the limit is %d", ErrSize, t, body, limit)
	}
	size = headerSize + body
	if size > int64(len(raw)) {
		return size, nil
	}
	p.Type = t
	p.last, err = p.split(m, raw[headerSize:size:size], int(body))
	p.whole = true
	p.small.Reset(p.last)
	return size, err
}

// Raw returns the last argument of a packet that Scan has taken, or of a small one
// of a Reader.
func (p *Packet) Raw() []byte { return p.last }

// AppendHeader appends the header of a packet whose arguments, with the NULs
// between them, take size bytes and are to follow.
func AppendHeader(dst []byte, m Magic, t Type, size int) []byte {
	return appendHeader(dst, m, t, uint32(size))
}
