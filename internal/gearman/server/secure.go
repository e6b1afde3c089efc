package server

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// shutOut says why somebody who has connected with TLS, or should have, is not let in: to
// the log, and as far as the protocol has words for it to him.
func (c *conn) shutOut(err error) {
	secure, ok := c.net.(*tls.Conn)
	if !ok || secure.ConnectionState().HandshakeComplete || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return
	}
	c.server.log.Warn().Err(err).Str("from", c.host).Msg("a connection is refused")
	tcp, ok := secure.NetConn().(*net.TCPConn)
	if !ok {
		return
	}
	if _, isPlain := errors.AsType[tls.RecordHeaderError](err); isPlain {
		_, _ = tcp.Write(alertUnexpected()) // it may be gone
	}
	// What was sent meanwhile and nobody has read would make the kernel throw away what he
	// is still to be told.
	_ = tcp.CloseWrite()
	_ = tcp.SetReadDeadline(time.Now().Add(lastWords))
	_, _ = io.Copy(io.Discard, io.LimitReader(tcp, maxOutput))
}

// alertUnexpected is what a server with TLS says to somebody who speaks something else: a
// fatal alert "unexpected message".
func alertUnexpected() []byte { return []byte{0x15, 3, 3, 0, 2, 2, 10} }

// isHello reports whether what begins so is the hello of TLS: no packet and no line does.
func isHello(raw []byte) bool { return len(raw) >= 2 && raw[0] == 0x16 && raw[1] == 3 }
