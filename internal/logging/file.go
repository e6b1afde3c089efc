package logging

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"procops/internal/unit"
)

// Rotation says when a log file is put aside and what is kept. The zero value
// never rotates.
type Rotation struct {
	MaxSize  unit.Size     // largest size of the file; 0: it never rotates
	MaxFiles int           // how many files that were put aside are kept
	MaxAge   time.Duration // those older than this are removed; 0: age does not matter
	Compress bool          // with gzip; the file gets the ending .gz
	// Shared says that other processes write to the same path, all of them with
	// Shared. Then every Write is one or more whole lines.
	Shared bool
	// OnError, if set, is told of trouble that does not stop the writing: a file
	// that cannot be put aside, compressed or removed. It is called from any
	// goroutine.
	OnError func(error)
}

// File is a log file that rotates itself. What is put aside is named after the
// file and the time, as in "web.log.20261122T105412.345678Z", so that names
// sort by time. The file is appended to, and a line that a crash has left
// unfinished is ended first. There must be one File for a path at a time, unless
// the rotation is Shared.
//
// Files that share a path, of whatever processes, lose and double no line: each
// write and each rotation has the file to itself, one that is killed frees it, and
// all follow to the next file with their next write. A file that another program
// moves away is written to until the path is a file again or Reopen is called. The
// largest size is that of the file; how many are kept, how old and whether
// compressed is done by whoever rotates.
type File struct {
	path     string
	rotation Rotation
	cleaner  cleaner

	mu      sync.Mutex
	file    *os.File // nil after Close
	size    int64
	midline bool  // what was written last does not end with a newline
	unended bool  // an earlier writer was killed in the middle of the last line
	retryAt int64 // size at which rotation is tried again after it failed
	regular bool  // only such a file rotates

	// Of a shared file.
	info       os.FileInfo // which file it is
	held       bool        // its lock is
	waiting    chan error  // tells of a wait for the lock that was given up
	impatient  bool        // and nobody waits for it any more
	moved      bool        // away, by another program
	complained bool        // trouble is reported
}

// OpenFile opens the log file for appending, mode 0640. It makes directories
// that do not exist, mode 0750.
func OpenFile(path string, r Rotation) (*File, error) {
	path = filepath.Clean(path)
	f := &File{path: path, rotation: r, cleaner: cleaner{path: path, rotation: r}}
	if err := f.open(); err != nil {
		return nil, err
	}
	if r.MaxAge > 0 || r.Compress { // which one that was killed may have left to do
		f.cleaner.start()
	}
	return f, nil
}

// Path returns the path of the file.
func (f *File) Path() string { return f.path }

// Write appends p, which is one or more lines. The file rotates between lines
// only, when the next would make it larger than the largest size.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return 0, fmt.Errorf("cannot write to log file %q: %w", f.path, os.ErrClosed)
	}
	f.hold()
	defer f.release()
	written := 0
	for len(p) > written {
		n, err := f.appendLines(f.nextPart(p[written:]))
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// appendLines ends first what an earlier writer has left unfinished.
func (f *File) appendLines(p []byte) (int, error) {
	if f.unended {
		if _, err := f.append([]byte{'\n'}); err != nil {
			return 0, err
		}
		f.unended = false
	}
	return f.append(p)
}

func (f *File) append(p []byte) (int, error) {
	n, err := f.file.Write(p)
	f.size += int64(n)
	if n > 0 {
		f.midline = p[n-1] != '\n'
	}
	if err != nil {
		return n, fmt.Errorf("cannot write to log file %q: %w", f.path, cause(err))
	}
	return n, nil
}

// nextPart returns the lines of p that the file still takes, after rotating it
// if it takes none.
func (f *File) nextPart(p []byte) []byte {
	limit := max(f.rotation.MaxSize.Bytes(), f.retryAt)
	if limit == 0 || !f.regular || f.size+int64(len(p)) <= limit {
		return p
	}
	if f.midline {
		return firstLine(p)
	}
	if room := limit - f.size; room > 0 {
		if i := bytes.LastIndexByte(p[:room], '\n'); i >= 0 {
			return p[:i+1]
		}
	}
	if f.size == 0 {
		return firstLine(p)
	}
	f.rotate()
	return f.nextPart(p)
}

func firstLine(p []byte) []byte {
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return p[:i+1]
	}
	return p
}

// rotate puts the file aside and opens a new one. If that fails, writing goes
// on in the old one, and it is tried again after as much again.
func (f *File) rotate() {
	aside := f.cleaner.asideName(time.Now())
	if err := os.Rename(f.path, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.postpone(fmt.Errorf("cannot rotate log file %q: %w", f.path, cause(err)))
		return
	}
	old := f.file
	if err := f.open(); err != nil {
		f.postpone(errors.Join(err, rename(aside, f.path)))
		return
	}
	if err := old.Close(); err != nil {
		f.rotation.report(fmt.Errorf("cannot close log file %q: %w", aside, cause(err)))
	}
	f.cleaner.start()
	f.hold()
}

// rename fails if there is a file of the new name.
func rename(from, to string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE); err != nil {
		return fmt.Errorf("cannot rename %q to %q: %w", from, to, err)
	}
	return nil
}

func (f *File) postpone(err error) {
	f.retryAt = f.size + max(f.rotation.MaxSize.Bytes(), 1<<20)
	f.rotation.report(err)
}

func (r Rotation) report(err error) {
	if r.OnError != nil {
		r.OnError(err)
	}
}

// Reopen opens the path again, for when another program has moved the file
// away. If that fails, writing goes on in the old file.
func (f *File) Reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return fmt.Errorf("cannot reopen log file %q: %w", f.path, os.ErrClosed)
	}
	return f.reopen()
}

func (f *File) reopen() error {
	old := f.file
	if err := f.open(); err != nil {
		return err
	}
	return old.Close()
}

// Close closes the file and waits until the files put aside are in order.
func (f *File) Close() error {
	f.mu.Lock()
	file := f.file
	f.file = nil
	f.mu.Unlock()
	if file == nil {
		return nil
	}
	f.cleaner.wait()
	return file.Close()
}

// open opens the path; if it fails, f is as before. It does not block on a FIFO
// that nobody reads.
func (f *File) open() error {
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | syscall.O_NONBLOCK
	file, err := os.OpenFile(f.path, flags, 0o640)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(f.path), 0o750); err == nil {
			file, err = os.OpenFile(f.path, flags, 0o640)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot open log file %q: %w", f.path, cause(err))
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("cannot open log file %q: %w", f.path, cause(err)), file.Close())
	}
	f.file, f.size, f.regular, f.retryAt = file, info.Size(), info.Mode().IsRegular(), 0
	f.info, f.held, f.waiting, f.impatient, f.moved = info, false, nil, false, false
	f.midline = false
	f.unended = f.regular && f.size > 0 && lastByte(f.path, f.size) != '\n'
	return nil
}

// lastByte returns the last byte of the file, a newline if it may not be read.
func lastByte(path string, size int64) byte {
	last := []byte{'\n'}
	file, err := os.Open(path)
	if err != nil {
		return '\n'
	}
	_, err = file.ReadAt(last, size-1)
	if errors.Join(err, file.Close()) != nil {
		return '\n'
	}
	return last[0]
}

// cause takes the path off an error whose text names the path already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
