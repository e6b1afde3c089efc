package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// retryConnect is the time between two attempts while the supervisor's backlog
// is full.
const retryConnect = 5 * time.Millisecond

// connect connects to the socket at path. While the supervisor has more
// connections waiting than the kernel keeps, it tries again.
func connect(ctx context.Context, path string) (net.Conn, error) {
	addr, err := newAddress(path)
	if err != nil {
		return nil, err
	}
	defer addr.close()
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unix", addr.name)
		if !errors.Is(err, unix.EAGAIN) {
			return conn, err
		}
		select {
		case <-time.After(retryConnect):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// credentials returns who is at the other end of a unix socket: who connected,
// or who listened.
func credentials(conn net.Conn) (*unix.Ucred, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("cannot tell who is at the other end of a %T", conn)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, os.NewSyscallError("getsockopt", credErr)
}

// gatekeeper lets in only the user's own connections and root's, and only so
// many at a time. The others wait in the kernel's backlog.
type gatekeeper struct {
	net.Listener
	user  uint32
	slots chan struct{}
	log   zerolog.Logger
	quit  chan struct{}
	once  sync.Once
}

func newGatekeeper(l net.Listener, connections int, log zerolog.Logger) *gatekeeper {
	return &gatekeeper{
		Listener: l,
		user:     uint32(os.Geteuid()), //nolint:gosec // a user number of the kernel
		slots:    make(chan struct{}, connections),
		log:      log,
		quit:     make(chan struct{}),
	}
}

// Accept returns the next connection of somebody who may come in.
func (g *gatekeeper) Accept() (net.Conn, error) {
	for {
		select {
		case g.slots <- struct{}{}:
		case <-g.quit:
			return nil, net.ErrClosed
		}
		conn, err := g.Listener.Accept()
		if err != nil {
			<-g.slots
			return nil, err
		}
		if g.admit(conn) {
			return &guest{Conn: conn, leave: sync.OnceFunc(func() { <-g.slots })}, nil
		}
		_ = conn.Close() // there is nobody to tell
		<-g.slots
	}
}

// Close stops accepting.
func (g *gatekeeper) Close() error {
	g.once.Do(func() { close(g.quit) })
	return g.Listener.Close()
}

func (g *gatekeeper) admit(conn net.Conn) bool {
	cred, err := credentials(conn)
	if err != nil {
		g.log.Warn().Err(err).Msg("refused a connection to the control socket")
		return false
	}
	if !mayEnter(cred.Uid, g.user) {
		g.log.Warn().Uint32("uid", cred.Uid).Int32("pid", cred.Pid).Msg("refused a connection to the control socket")
		return false
	}
	return true
}

// mayEnter reports whether uid may talk to a supervisor of user.
func mayEnter(uid, user uint32) bool { return uid == user || uid == 0 }

// guest is an admitted connection.
type guest struct {
	net.Conn
	leave func()
}

// Close closes the connection and makes room for another.
func (g *guest) Close() error {
	g.leave()
	return g.Conn.Close()
}
