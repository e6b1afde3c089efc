package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"time"
)

// watch tells when a file of a directory has been written, through inotify(7).
type watch struct {
	file    *os.File
	name    string
	changed chan struct{} // holds one sign at most
	done    chan struct{}
}

func newWatch(dir, name string) (*watch, error) {
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("cannot watch %q: %w", dir, err)
	}
	const signs = syscall.IN_MODIFY | syscall.IN_CREATE | syscall.IN_MOVED_TO | syscall.IN_DELETE
	w := &watch{
		file:    os.NewFile(uintptr(fd), "inotify"),
		name:    name,
		changed: make(chan struct{}, 1),
		done:    make(chan struct{}),
	}
	if _, err := syscall.InotifyAddWatch(fd, dir, signs); err != nil {
		_ = w.file.Close()
		return nil, fmt.Errorf("cannot watch %q: %w", dir, err)
	}
	go w.run()
	return w, nil
}

// wait returns true when the file has been written since the last call, and
// false after patience. Its error is the cause of ctx's end.
func (w *watch) wait(ctx context.Context, patience time.Duration) (changed bool, err error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-w.changed:
		changed = true
	case <-timer.C:
	case <-ctx.Done():
	}
	return changed, context.Cause(ctx)
}

func (w *watch) close() {
	_ = w.file.Close()
	<-w.done
}

func (w *watch) run() {
	defer close(w.done)
	buffer := make([]byte, 64<<10)
	for {
		n, err := w.file.Read(buffer)
		if err != nil {
			return // closed
		}
		if !mentions(buffer[:n], w.name) {
			continue
		}
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

// mentions reports whether one of the inotify events is about the file, or says
// that events were lost.
func mentions(events []byte, name string) bool {
	for len(events) >= syscall.SizeofInotifyEvent {
		mask := binary.NativeEndian.Uint32(events[4:])
		length := int(binary.NativeEndian.Uint32(events[12:]))
		events = events[syscall.SizeofInotifyEvent:]
		if length > len(events) {
			return true
		}
		text, _, _ := bytes.Cut(events[:length], []byte{0})
		if mask&syscall.IN_Q_OVERFLOW != 0 || string(text) == name {
			return true
		}
		events = events[length:]
	}
	return false
}
