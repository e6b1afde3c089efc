package gearman

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"procops/internal/fault"
	"procops/internal/gearman/wire"
	"procops/internal/unit"
)

// conn is a connection of a client to one server. One goroutine uses it at a
// time; the end of its context closes it.
type conn struct {
	cfg    *Config
	server Address
	net    net.Conn
	reader *wire.Reader
	answer time.Duration // how long the server may take to answer
	ctx    context.Context
	unhook func() bool
}

// connect connects to a server. The end of ctx closes the connection.
func (c *Client) connect(ctx context.Context, server Address) (*conn, error) {
	nc, err := c.cfg.Dial(ctx, server)
	if err != nil {
		return nil, err
	}
	return &conn{
		cfg: &c.cfg, server: server, net: nc, answer: c.cfg.AnswerTimeout.Std(), ctx: ctx,
		reader: wire.NewReader(nc, wire.Response, 0),
		unhook: context.AfterFunc(ctx, func() { _ = nc.Close() }),
	}, nil
}

// Dial connects to a server, with TLS if the config says so. The error is a
// fault.Unreachable, unless ctx has ended; or a fault.Usage if a file that TLS needs
// cannot be used.
func (c Config) Dial(ctx context.Context, server Address) (net.Conn, error) {
	secure, err := c.secure(server)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: c.ConnectTimeout.Std()}
	nc, err := dialer.DialContext(ctx, server.network(), string(server))
	if err != nil {
		return nil, cannotConnect(ctx, server, c.ConnectTimeout, err)
	}
	if secure != nil {
		return c.shake(ctx, server, nc, secure)
	}
	return nc, nil
}

func cannotConnect(ctx context.Context, server Address, timeout unit.Duration, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", server, context.Cause(ctx))
	}
	if timedOut(err) {
		return unreachable(server, "no connection within %s", timeout)
	}
	// net tells operation, network and address as well, which are known.
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		err = call.Err
	}
	return unreachable(server, "%w", err)
}

func timedOut(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// unreachable says why a server cannot be spoken with.
func unreachable(server Address, format string, args ...any) *fault.Error {
	return &fault.Error{Kind: fault.Unreachable, Message: string(server), Cause: fmt.Errorf(format, args...)}
}

func (c *conn) close() {
	c.unhook()
	_ = c.net.Close()
}

// chunk is how much of a workload is written within the time for an answer: a
// slow line is no dead server.
const chunk = 1 << 20

// together is the largest workload that is copied behind its head, so that
// both leave in one piece.
const together = 16 << 10

// send writes a packet in two parts.
func (c *conn) send(head, data []byte) error {
	if len(data) <= together {
		head, data = append(head, data...), nil
	}
	if err := c.write(head); err != nil {
		return err
	}
	for len(data) > 0 {
		n := min(len(data), chunk)
		if err := c.write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func (c *conn) write(data []byte) error {
	err := c.net.SetWriteDeadline(time.Now().Add(c.answer))
	if err == nil {
		_, err = c.net.Write(data)
	}
	return c.failed(err)
}

// ask sends a small packet.
func (c *conn) ask(t wire.Type, args ...string) error {
	packet, err := wire.Append(nil, wire.Request, t, args...)
	if err != nil {
		return fault.Wrap(fault.Usage, err, "the protocol has no room for it")
	}
	return c.send(packet, nil)
}

// receive waits for an answer: a packet of type want, or a *ServerError.
func (c *conn) receive(want wire.Type) (*wire.Packet, error) {
	p, err := c.next(time.Now().Add(c.answer))
	if err != nil {
		return nil, err
	}
	if p.Type == wire.Error {
		return nil, c.refusal(p)
	}
	if p.Type != want {
		return nil, c.strange("%s instead of %s", p.Type, want)
	}
	return p, nil
}

// next waits for a packet of any type until the deadline; the zero time stands
// for no deadline.
func (c *conn) next(deadline time.Time) (*wire.Packet, error) {
	if err := c.net.SetReadDeadline(deadline); err != nil {
		return nil, c.failed(err)
	}
	p, err := c.reader.Next()
	return p, c.failed(err)
}

// failed says what an error of the connection means.
func (c *conn) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case c.ctx.Err() != nil:
		return fmt.Errorf("%s: %w", c.server, context.Cause(c.ctx))
	}
	return c.cfg.Broken(c.server, err)
}

const notUnderstood = "an answer that procops does not understand: "

// strange says that the server does not speak the protocol as it should.
func (c *conn) strange(format string, args ...any) error {
	return unreachable(c.server, notUnderstood+format, args...)
}

// maxText is the limit of texts in answers: codes, messages, numbers.
const maxText = 64 << 10

// last returns the last argument of an answer, which is a short text.
func (c *conn) last(p *wire.Packet) (string, error) {
	if p.Size() > maxText {
		return "", c.strange("%s with %d bytes", p.Type, p.Size())
	}
	data, err := p.Data()
	return string(data), c.failed(err)
}

// refusal reads an ERROR packet.
func (c *conn) refusal(p *wire.Packet) error {
	code := string(p.Arg(0))
	text, err := c.last(p)
	if err != nil {
		return err
	}
	return &ServerError{Server: c.server, Code: code, Text: text}
}

// ServerError is a server's answer that it will not do what it was asked for.
type ServerError struct {
	Server Address
	Code   string // as the server has it, such as "QUEUE_ERROR"
	Text   string // for people
}

// Error returns the server's words.
func (e *ServerError) Error() string {
	return fmt.Sprintf("%s: it refuses: %s (%s)", e.Server, forPeople(e.Text), forPeople(e.Code))
}

// number reads a number in an answer; what is none is 0, for the numbers come
// from workers, which may write what they like.
func number(text []byte) uint64 {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
