package bench

import (
	"context"
	"fmt"
	"net"
	"time"

	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/gearman/wire"
)

// readSize is how much is read with one system call, in bytes.
const readSize = 64 << 10

// link is a connection that speaks the raw protocol: it reads many packets with one system
// call and writes many with one. One goroutine uses it.
type link struct {
	cfg        *gearman.Config
	server     gearman.Address
	ctx        context.Context
	net        net.Conn
	unhook     func() bool
	in         []byte
	begin, end int
	packet     wire.Packet
}

// dial connects; the end of ctx closes the connection.
func (b *bench) dial(ctx context.Context) (*link, error) {
	conn, err := b.cfg.Dial(ctx, b.server)
	if err != nil {
		return nil, err
	}
	b.began = true
	return &link{
		cfg: &b.cfg, server: b.server, ctx: ctx, net: conn, in: make([]byte, readSize),
		unhook: context.AfterFunc(ctx, func() { _ = conn.Close() }),
	}, nil
}

func (l *link) close() {
	l.unhook()
	_ = l.net.Close()
}

// failed says what an error of the connection means.
func (l *link) failed(err error) error {
	if err != nil && l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	return l.cfg.Broken(l.server, err)
}

func (l *link) write(data []byte) error {
	err := l.net.SetWriteDeadline(time.Now().Add(l.cfg.AnswerTimeout.Std()))
	if err == nil {
		_, err = l.net.Write(data)
	}
	if err != nil {
		return l.failed(err)
	}
	return nil
}

// next returns the next packet, which is valid until the call after it.
func (l *link) next() (*wire.Packet, error) {
	for {
		p, need, err := l.buffered()
		if err != nil {
			return nil, l.failed(err)
		}
		if p != nil {
			return p, l.refusal(p)
		}
		if err := l.fill(need); err != nil {
			return nil, l.failed(err)
		}
	}
}

// buffered returns the next packet if it has come whole, else how large it is.
func (l *link) buffered() (*wire.Packet, int, error) {
	have := l.in[l.begin:l.end]
	size, err := l.packet.Scan(have, wire.Response, wire.MaxBody)
	if err != nil || size > int64(len(have)) {
		return nil, int(size), err
	}
	l.begin += int(size)
	return &l.packet, 0, nil
}

// more reports whether another packet has come whole already.
func (l *link) more() bool {
	have := l.in[l.begin:l.end]
	size, err := new(wire.Packet).Scan(have, wire.Response, wire.MaxBody)
	return err == nil && size <= int64(len(have))
}

// fill reads something, with room for a packet of the size need.
func (l *link) fill(need int) error {
	if need > len(l.in) {
		l.in = append(make([]byte, 0, need), l.in[l.begin:l.end]...)
		l.begin, l.end = 0, len(l.in)
		l.in = l.in[:cap(l.in)]
	} else {
		l.begin, l.end = 0, copy(l.in, l.in[l.begin:l.end])
	}
	if err := l.net.SetReadDeadline(time.Now().Add(l.cfg.AnswerTimeout.Std())); err != nil {
		return err
	}
	n, err := l.net.Read(l.in[l.end:])
	l.end += n
	if n > 0 {
		return nil
	}
	return err
}

// refusal is the error that a packet says.
func (l *link) refusal(p *wire.Packet) error {
	if p.Type != wire.Error {
		return nil
	}
	return &gearman.ServerError{Server: l.server, Code: string(p.Arg(0)), Text: string(p.Raw())}
}

// strange says that a packet cannot come where it has come.
func (l *link) strange(p *wire.Packet) error {
	return fault.New(fault.Unreachable, "%s: an answer that procops does not understand: %s", l.server, p.Type)
}

// packet returns a packet to a server. Its arguments are procops' own, so that there is
// nothing wrong with them.
func packet(t wire.Type, args ...string) []byte {
	p, err := wire.Append(nil, wire.Request, t, args...)
	if err != nil {
		panic(fmt.Sprintf("defect: %v", err))
	}
	return p
}
