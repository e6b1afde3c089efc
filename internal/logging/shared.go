package logging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	"procops/internal/flock"
)

// patience is how long a write to a shared file waits for the writer before it.
// Only one that is stopped (SIGSTOP) in the middle of a write takes as long; the
// others then write without the lock, rather than stand still with it.
const patience = time.Second

// hold locks the file for a write to it or for its rotation, and looks at what the
// other processes have made of it: the path may be another file by now, and this
// one have grown. A file of one process is only its own and needs none of it.
//
// The lock is on the file itself. Whoever waits for it while it is put aside gets
// it in the end, sees that the path has moved on, and follows.
func (f *File) hold() {
	if !f.rotation.Shared {
		return
	}
	for f.regular {
		f.lock()
		info, err := os.Stat(f.path)
		switch {
		case err == nil && os.SameFile(info, f.info):
			f.complained = f.complained && !f.held
			f.look(info.Size())
			return
		case errors.Is(err, fs.ErrNotExist) && f.movedAway():
			f.lookAgain()
			return
		case err == nil || errors.Is(err, fs.ErrNotExist):
			err = f.reopen()
		}
		if err != nil {
			f.complain(fmt.Errorf("cannot follow log file %q: %w", f.path, cause(err)))
			f.lookAgain()
			return
		}
	}
}

// release lets the other processes write.
func (f *File) release() {
	if f.held {
		f.held = false
		f.complain(flock.Release(f.file))
	}
}

// lock takes the lock of the file, or loses patience. A wait that was given up
// goes on in its goroutine; a later write finds out whether it has succeeded.
func (f *File) lock() {
	if f.held {
		return
	}
	if f.waiting == nil {
		err := flock.Try(f.file)
		if !errors.Is(err, flock.ErrTaken) {
			f.locked(err)
			return
		}
		f.waiting = make(chan error, 1)
		go func(file *os.File, done chan<- error) { done <- flock.Wait(file) }(f.file, f.waiting)
	}
	wait := patience
	if f.impatient {
		wait = 0
	}
	select {
	case err := <-f.waiting:
		f.locked(err)
	case <-time.After(wait):
		f.impatient = true
	}
}

func (f *File) locked(err error) {
	f.held, f.waiting, f.impatient = err == nil, nil, false
	f.complain(err)
}

// complain reports trouble of a shared file, only the first until all is well.
func (f *File) complain(err error) {
	if err != nil && !f.complained {
		f.complained = true
		f.rotation.report(err)
	}
}

// look takes the size from the file. If another process has written, its last line
// may be one that it was killed in.
func (f *File) look(size int64) {
	if size == f.size {
		return
	}
	f.size, f.midline = size, false
	f.unended = size > 0 && lastByte(f.path, size) != '\n'
}

// lookAgain does so for a file that is no longer at its path, whose last line
// cannot be read.
func (f *File) lookAgain() {
	if info, err := f.file.Stat(); err == nil && info.Size() != f.size {
		f.size, f.midline, f.unended = info.Size(), false, false
	}
}

// movedAway reports whether somebody else has moved the file away, who says when
// to open the path again. A file that is removed, or that a process has put
// aside and been killed before it could open the next, is not worth waiting.
func (f *File) movedAway() bool {
	info, err := f.file.Stat()
	if err != nil {
		return false
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Nlink == 0 {
		return false
	}
	if !f.moved {
		f.moved = !isAside(f.path, info)
	}
	return f.moved
}

// isAside reports whether the file is one of those put aside for the path, as far as
// can be seen.
func isAside(path string, file os.FileInfo) bool {
	files, err := asides(path)
	for _, name := range files {
		if aside, err := os.Lstat(name); err == nil && os.SameFile(aside, file) {
			return true
		}
	}
	return err != nil
}

// drain returns when nobody writes to a file that was put aside: whoever still has
// it open looks at the path before the next write. It fails with flock.ErrTaken
// when a writer is stopped in the middle of a write.
func drain(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	f := File{file: file}
	f.lock()
	if !f.held {
		return flock.ErrTaken
	}
	return nil
}
