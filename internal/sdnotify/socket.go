package sdnotify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxMessage is the size of the longest message in bytes, as under systemd
	// (NOTIFY_BUFFER_MAX). A longer one is passed over.
	maxMessage = 4096
	// maxDescriptors is how many descriptors that come with a message are taken,
	// to be closed; the kernel closes the others.
	maxDescriptors = 4
	// MessagesPerSecond is how many messages of one process are read. Who sends
	// more has to wait.
	MessagesPerSecond = 200
	// finishLimit is how long Finish waits for room in the queue.
	finishLimit = 100 * time.Millisecond
)

// Socket hears what a process says by sd_notify(3). Each run has a socket of its own, so
// that nothing an earlier run has said can be taken for its successor's.
//
// Its name is abstract: nothing is left behind in a directory when procops is
// killed, and a process that runs as another user can reach it. So can everybody
// else: who speaks is known by the credentials that the kernel adds to a message.
type Socket struct {
	Name     string // value of NOTIFY_SOCKET
	conn     *net.UnixConn
	finished chan struct{}
	paused   atomic.Bool
}

// Prefix is what the names of these sockets begin with.
const Prefix = "@procops-notify-"

// Open opens a socket with a name of its own.
func Open() (*Socket, error) { return listen(Prefix + rand.Text()) }

// Reopen opens the socket that a process was told of by a former procops.
func Reopen(name string) (*Socket, error) {
	if !strings.HasPrefix(name, Prefix) {
		return nil, fmt.Errorf("cannot open a socket for sd_notify: %q is none of ours", name)
	}
	return listen(name)
}

func listen(name string) (*Socket, error) {
	config := net.ListenConfig{Control: passCredentials}
	conn, err := config.ListenPacket(context.Background(), "unixgram", name)
	if err != nil {
		return nil, fmt.Errorf("cannot open a socket for sd_notify: %w", err)
	}
	return newSocket(name, conn)
}

// Inherit opens the socket that a former program in this process has left open.
func Inherit(fd int, name string) (*Socket, error) {
	file := os.NewFile(uintptr(fd), name)
	conn, err := net.FilePacketConn(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return newSocket(name, conn)
}

func newSocket(name string, conn net.PacketConn) (*Socket, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("cannot open a socket for sd_notify: it is a %T", conn), conn.Close())
	}
	return &Socket{Name: name, conn: unixConn, finished: make(chan struct{})}, nil
}

// Pause ends Listen; what is said from then on waits. Resume comes before the next Listen.
func (n *Socket) Pause() {
	n.paused.Store(true)
	_ = n.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed socket
}

// Resume undoes Pause.
func (n *Socket) Resume() {
	n.paused.Store(false)
	_ = n.conn.SetReadDeadline(time.Time{})
}

// FD returns the number of its descriptor.
func (n *Socket) FD() (int, error) { return descriptor(n.conn) }

// descriptor returns the number of an open descriptor, without touching it.
func descriptor(of syscall.Conn) (number int, err error) {
	raw, err := of.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { number = int(fd) })
	}
	return number, err
}

// passCredentials has the kernel say who sends. It is called before the socket
// has its name, so that no message is without.
func passCredentials(_, _ string, raw syscall.RawConn) error {
	var set error
	err := raw.Control(func(fd uintptr) {
		set = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1)
	})
	return errors.Join(err, os.NewSyscallError("setsockopt", set))
}

// Close closes it when there is nobody to listen to.
func (n *Socket) Close() { _ = n.conn.Close() }

// Finish ends Listen, which first hears what has been said so far: it puts an empty message from procops itself behind what is in the queue. If there
// is no room for it somebody floods the socket, and misses nothing.
func (n *Socket) Finish() {
	close(n.finished)
	_ = n.conn.SetWriteDeadline(time.Now().Add(finishLimit)) // fails only on a closed socket
	if _, err := n.conn.WriteToUnix(nil, &net.UnixAddr{Name: n.Name, Net: "unixgram"}); err != nil {
		_ = n.conn.Close()
	}
}

// Listen tells hear what is said by processes that are ours, and stranger of others who
// speak, until Finish is called; then it closes the socket and returns true. It returns
// false when Pause was called. The descriptors that come with a message are closed when it
// has been heard: BARRIER=1 brings one for its sender to wait for.
func (n *Socket) Listen(ours func(pid int) bool, hear func(Message), stranger func(pid int)) (over bool) {
	message := make([]byte, maxMessage)
	control := make([]byte, syscall.CmsgSpace(syscall.SizeofUcred)+syscall.CmsgSpace(maxDescriptors*4))
	defer func() {
		if over {
			_ = n.conn.Close()
		}
	}()
	var pace pace
	for {
		pace.wait(n.finished)
		size, controlSize, flags, _, err := n.conn.ReadMsgUnix(message, control)
		if errors.Is(err, net.ErrClosed) {
			return true
		}
		if err != nil && n.paused.Load() {
			return false
		}
		if err != nil {
			continue // of this message; the pace keeps it from becoming a busy loop
		}
		sender, descriptors := readControl(control[:controlSize])
		switch {
		case sender == os.Getpid() && size == 0:
			return true
		case sender == 0 || flags&syscall.MSG_TRUNC != 0:
		case !ours(sender):
			stranger(sender)
		default:
			hear(Parse(string(message[:size])))
		}
		for _, fd := range descriptors {
			_ = syscall.Close(fd) // it is not ours and was not used
		}
	}
}

// readControl returns the pid of the sender, 0 if it is not known, and the
// descriptors that came with the message.
func readControl(control []byte) (sender int, descriptors []int) {
	parts, err := syscall.ParseSocketControlMessage(control)
	if err != nil {
		return 0, nil
	}
	for i := range parts {
		if who, err := syscall.ParseUnixCredentials(&parts[i]); err == nil {
			sender = int(who.Pid)
		}
		if fds, err := syscall.ParseUnixRights(&parts[i]); err == nil {
			descriptors = append(descriptors, fds...)
		}
	}
	return sender, descriptors
}

// pace lets MessagesPerSecond through.
type pace struct {
	second time.Time
	count  int
}

// wait waits until one more may pass, or until hurry is closed.
func (p *pace) wait(hurry <-chan struct{}) {
	now := time.Now()
	if now.Sub(p.second) >= time.Second {
		p.second, p.count = now, 0
	}
	if p.count++; p.count <= MessagesPerSecond {
		return
	}
	timer := time.NewTimer(time.Second - now.Sub(p.second))
	defer timer.Stop()
	select {
	case <-timer.C:
		p.second, p.count = time.Now(), 1
	case <-hurry:
	}
}
