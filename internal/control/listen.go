package control

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

// dialTimeout is how long a supervisor that is there may take to accept a
// connection before it counts as there anyway.
const dialTimeout = time.Second

// Listen listens on a unix socket at path, which only the user may connect to.
// A socket that somebody answers on is a fault.Conflict; one that nobody
// listens on any more is replaced; what is not a socket is left alone. Closing
// the listener removes the socket.
//
// Two calls at the same moment are kept apart by the caller's lock on the state
// directory.
func Listen(path string) (Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	addr, err := newAddress(path)
	if err != nil {
		return nil, cannotListen(path, err)
	}
	defer addr.close()
	config := net.ListenConfig{Control: private}
	l, err := config.Listen(context.Background(), "unix", addr.name)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, conflict(path)
	}
	if err != nil {
		return nil, cannotListen(path, err)
	}
	return own(path, l)
}

// Listener listens for operators.
type Listener interface {
	net.Listener
	// Descriptor returns the number of the socket, for another program in this process.
	Descriptor() (int, error)
}

// Inherit goes on listening on a socket that another program in this process was
// listening on. It closes file.
func Inherit(path string, file *os.File) (Listener, error) {
	l, err := net.FileListener(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, cannotListen(path, err)
	}
	return own(path, l)
}

// private makes the socket's file one that only its owner may connect to.
// Linux gives that file the mode that the socket has when it is bound, so there
// is no moment at which others can connect, whatever the umask is.
func private(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o600) }); e != nil {
		return e
	}
	return err
}

// removeStale removes the socket at path if nobody listens on it.
func removeStale(path string) error {
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
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	conn, err := connect(ctx, path)
	if err == nil {
		return errors.Join(conflict(path), conn.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return conflict(path) // somebody is there, if only too busy
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(before, now) {
		return conflict(path) // somebody has come meanwhile
	}
	if err := os.Remove(path); err != nil {
		return cannotListen(path, err)
	}
	return nil
}

func conflict(path string) error {
	return fault.New(fault.Conflict, "a supervisor is already running on socket %q", path)
}

func cannotListen(path string, err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("cannot listen on socket %q: %w", path, err)
}

// listener removes its socket when it is closed, unless another has taken the
// place.
type listener struct {
	*net.UnixListener
	path string
	file os.FileInfo
}

func own(path string, l net.Listener) (Listener, error) {
	u, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(cannotListen(path, fmt.Errorf("it is a %T", l)), l.Close())
	}
	u.SetUnlinkOnClose(false) // by a name that may go through a closed descriptor
	file, err := os.Lstat(path)
	if err != nil {
		return nil, errors.Join(cannotListen(path, err), l.Close())
	}
	return &listener{UnixListener: u, path: path, file: file}, nil
}

// Descriptor returns the number of the socket.
func (l *listener) Descriptor() (number int, err error) {
	raw, err := l.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { number = int(fd) })
	}
	return number, err
}

// Close stops listening and removes the socket.
func (l *listener) Close() error {
	var err error
	if now, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(l.file, now) {
		err = os.Remove(l.path)
	}
	return errors.Join(err, l.UnixListener.Close())
}
