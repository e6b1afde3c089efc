package supervise

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"procops/internal/proc"
	"procops/internal/sdnotify"
)

// firstExtra is the number of the first descriptor after the standard ones.
const firstExtra = 3

// maxUnready is how many bytes a process can write to its notification descriptor
// before the newline.
const maxUnready = 64 << 10

// notifyPipe hears a process that says by a newline on a descriptor that it is
// ready, as s6 has it: https://skarnet.org/software/s6/notifywhenup.html
type notifyPipe struct {
	fd     int
	ours   *os.File
	theirs *os.File // nil once the process has its own
	paused atomic.Bool
}

// inheritNotifyPipe opens the pipe that a former supervisor in this process has handed
// over.
func inheritNotifyPipe(ours, fd int) *notifyPipe {
	syscall.CloseOnExec(ours)
	return &notifyPipe{fd: fd, ours: os.NewFile(uintptr(ours), "readiness")}
}

func (n *notifyPipe) pause() {
	n.paused.Store(true)
	_ = n.ours.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed file
}

func (n *notifyPipe) resume() {
	n.paused.Store(false)
	_ = n.ours.SetReadDeadline(time.Time{})
}

func (n *notifyPipe) handed() handedChannel {
	fd, err := descriptor(n.ours)
	if err != nil {
		return handedChannel{}
	}
	return handedChannel{FD: fd}
}

func openNotifyPipe(fd int) (*notifyPipe, error) {
	ours, theirs, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot create a pipe for readiness: %w", err)
	}
	return &notifyPipe{fd: fd, ours: ours, theirs: theirs}, nil
}

func (n *notifyPipe) prepare(spec *proc.Spec) {
	spec.ExtraFiles = make([]*os.File, n.fd-firstExtra+1)
	spec.ExtraFiles[n.fd-firstExtra] = n.theirs
}

// finish ends a read of listen. That the process is ready is no news any more.
func (n *notifyPipe) finish() { _ = n.ours.Close() }

func (n *notifyPipe) discard() {
	_ = n.theirs.Close()
	_ = n.ours.Close()
}

// listen reads until the newline. Then it closes the pipe, as s6 does: what
// a process writes afterwards nobody would read.
func (n *notifyPipe) listen(_ child, hear func(notice)) (over bool) {
	if n.theirs != nil {
		_ = n.theirs.Close() // the process has its own by now, and is to be the last that holds it
		n.theirs = nil
	}
	defer func() {
		if over {
			_ = n.ours.Close()
		}
	}()
	buffer := make([]byte, 512)
	for total := 0; total < maxUnready; {
		size, err := n.ours.Read(buffer)
		if bytes.IndexByte(buffer[:size], '\n') >= 0 {
			hear(notice{Message: sdnotify.Message{Ready: true}})
			return true
		}
		switch total += size; {
		case errors.Is(err, io.EOF):
			hear(notice{unready: fmt.Sprintf("it closed descriptor %d without a newline", n.fd)})
			return true
		case err != nil:
			return !n.paused.Load() // finish was called
		}
	}
	hear(notice{unready: fmt.Sprintf("it wrote %d bytes to descriptor %d without a newline", maxUnready, n.fd)})
	return true
}

// descriptor returns the number of an open descriptor, without touching it.
func descriptor(of syscall.Conn) (number int, err error) {
	raw, err := of.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { number = int(fd) })
	}
	return number, err
}
