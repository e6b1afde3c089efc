package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"procops/internal/fault"
)

// dialTimeout is how long somebody who listens on a socket may take to accept a
// connection before he counts as there anyway.
const dialTimeout = time.Second

// socketMode lets the user and the group of procops connect, such as a reverse
// proxy that is in the group.
const socketMode = 0o660

// Listen listens where c says. An address that is in use is a fault.Conflict, one
// that others can reach without a token a fault.Usage. Closing the listener
// removes its socket.
func Listen(ctx context.Context, c Config) (net.Listener, error) {
	if err := errors.Join(c.Listen.check(), c.checkExposure()); err != nil {
		return nil, fault.Wrap(fault.Usage, err, "cannot listen")
	}
	network, address := "tcp", string(c.Listen)
	config := net.ListenConfig{}
	if path, ok := c.Listen.socket(); ok {
		if err := removeStale(ctx, path); err != nil {
			return nil, err
		}
		network, address, config.Control = "unix", path, limited
	}
	l, err := config.Listen(ctx, network, address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, inUse(address)
	}
	if err != nil {
		return nil, cannotListen(address, err)
	}
	if network == "unix" {
		if err := os.Chmod(address, socketMode); err != nil { // what the umask has taken away
			return nil, errors.Join(cannotListen(address, err), l.Close())
		}
	}
	return l, nil
}

// limited limits the mode of the file of the socket: Linux takes that of the socket,
// less the umask, when it is bound, so that there is no moment at which others may.
func limited(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), socketMode) }); e != nil {
		return e
	}
	return err
}

// removeStale removes the socket at path if nobody listens on it.
func removeStale(ctx context.Context, path string) error {
	before, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return cannotListen(path, err)
	}
	if before.Mode().Type() != fs.ModeSocket {
		return cannotListen(path, errors.New("it exists and is not a socket"))
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(inUse(path), conn.Close())
	}
	if now, statErr := os.Lstat(path); !errors.Is(err, syscall.ECONNREFUSED) || statErr != nil || !os.SameFile(before, now) {
		return inUse(path) // somebody is there, if only too busy
	}
	if err := os.Remove(path); err != nil {
		return cannotListen(path, err)
	}
	return nil
}

func inUse(address string) error {
	return fault.New(fault.Conflict, "cannot listen on %q: somebody does already", address).
		WithHint("another procops serve may run; --listen or `listen` in [serve] names another address")
}

func cannotListen(address string, err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("cannot listen on %q: %w", address, err)
}

// Where returns the URL of what listens, for people.
func Where(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return unixPrefix + l.Addr().String()
	}
	return "http://" + l.Addr().String()
}
