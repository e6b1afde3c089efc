package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Running is the process of a supervisor that was asked who it is.
type Running struct {
	PID   int
	pidfd *os.File
}

// Find returns the process that listens on the socket. The caller closes it.
func (c *Client) Find(ctx context.Context) (*Running, error) {
	conn, err := connect(ctx, c.path)
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	defer func() { _ = conn.Close() }()
	cred, err := credentials(conn)
	if err != nil {
		return nil, err
	}
	// While it keeps the socket open its number cannot belong to another.
	fd, err := unix.PidfdOpen(int(cred.Pid), unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch process %d: %w", cred.Pid, err)
	}
	return &Running{PID: int(cred.Pid), pidfd: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Wait returns when the process has ended, or with the cause of ctx's end.
func (r *Running) Wait(ctx context.Context) error {
	raw, err := r.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.pidfd.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = raw.Read(hasEnded)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return context.Cause(ctx)
	}
	return err
}

// hasEnded reports whether the process behind a pidfd has ended: then there is
// something to read (pidfd_open(2)).
func hasEnded(pidfd uintptr) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, 0) //nolint:gosec // descriptors are small
	return n > 0 || (err != nil && !errors.Is(err, unix.EINTR))
}

// Close lets go of the process.
func (r *Running) Close() error { return r.pidfd.Close() }
