package logging

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"procops/internal/flock"
)

const (
	// asideStamp names files that are put aside, in UTC.
	asideStamp = "20060102T150405.000000Z"
	gzipEnding = ".gz"
	// unfinished ends the name of a file that is being compressed.
	unfinished = ".tmp"
)

// cleaner compresses and removes the files that were put aside, one run at a
// time, in a goroutine that exists only during a run.
type cleaner struct {
	path     string
	rotation Rotation
	runs     sync.WaitGroup

	mu      sync.Mutex
	running bool
	again   bool      // more was put aside during the run
	last    time.Time // newest name given
}

// asideName returns a name for the file that does not exist yet and is later
// than all that were given, by other processes as well.
func (c *cleaner) asideName(now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if files, err := asides(c.path); err == nil && len(files) > 0 {
		if newest, _ := asideTime(c.path, files[len(files)-1]); newest.After(c.last) {
			c.last = newest
		}
	}
	now = now.UTC().Truncate(time.Microsecond)
	if !now.After(c.last) {
		now = c.last.Add(time.Microsecond)
	}
	for {
		name := c.path + "." + now.Format(asideStamp)
		if !exists(name) && !exists(name+gzipEnding) {
			c.last = now
			return name
		}
		now = now.Add(time.Microsecond)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// start cleans up in the background.
func (c *cleaner) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running {
		c.again = true
		return
	}
	c.running = true
	c.runs.Go(c.run)
}

// wait returns when no run is under way. Nobody may call start meanwhile.
func (c *cleaner) wait() { c.runs.Wait() }

func (c *cleaner) run() {
	for more := true; more; more = c.next() {
		if err := c.clean(time.Now()); err != nil {
			c.rotation.report(fmt.Errorf("cannot clean up after log file %q: %w", c.path, err))
		}
	}
}

// next reports whether to run again.
func (c *cleaner) next() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	again := c.again
	c.again, c.running = false, again
	return again
}

// clean does what is to do. Another process may do the same at the same time.
func (c *cleaner) clean(now time.Time) error {
	all, err := asides(c.path)
	if err != nil {
		return err
	}
	files := withoutTwins(all)
	var errs []error
	for i, name := range files {
		tooMany := len(files)-i > c.rotation.MaxFiles
		switch {
		case tooMany || c.tooOld(name, now):
			errs = append(errs, remove(name))
		case c.rotation.Compress && !strings.HasSuffix(name, gzipEnding):
			errs = append(errs, compress(name))
		}
	}
	return errors.Join(append(errs, c.tidy(all))...)
}

// tidy removes what somebody has left who was killed while compressing: the file
// that is compressed, and compressed ones that are not whole.
func (c *cleaner) tidy(files []string) error {
	var errs []error
	for _, name := range files {
		if slices.Contains(files, name+gzipEnding) {
			errs = append(errs, remove(name))
		}
	}
	halves, err := listAsides(c.path, gzipEnding+unfinished)
	errs = append(errs, err)
	for _, half := range halves {
		if !exists(strings.TrimSuffix(half, gzipEnding+unfinished)) {
			errs = append(errs, remove(half))
		}
	}
	return errors.Join(errs...)
}

func (c *cleaner) tooOld(name string, now time.Time) bool {
	t, ok := asideTime(c.path, name)
	return ok && c.rotation.MaxAge > 0 && now.Sub(t) > c.rotation.MaxAge
}

// Rotated returns the paths of the files put aside for the log file path, the
// oldest first.
func Rotated(path string) ([]string, error) {
	files, err := asides(filepath.Clean(path))
	return withoutTwins(files), err
}

// withoutTwins leaves out files that are there in compressed form as well.
func withoutTwins(files []string) (single []string) {
	for i, name := range files {
		if i+1 == len(files) || files[i+1] != name+gzipEnding {
			single = append(single, name)
		}
	}
	return single
}

// asides returns all that is put aside for a path, the oldest first. While a file
// is being compressed and replaced there is a moment in which both exist.
func asides(path string) ([]string, error) { return listAsides(path, "") }

// listAsides returns the files with the name of one put aside and an ending.
func listAsides(path, ending string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(path), e.Name())
		aside, found := strings.CutSuffix(name, ending)
		if _, ok := asideTime(path, aside); ok && found && e.Type().IsRegular() {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files, nil
}

// asideTime returns when the file of the given name was put aside for path.
func asideTime(path, name string) (time.Time, bool) {
	stamp, ok := strings.CutPrefix(name, path+".")
	if !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(asideStamp, strings.TrimSuffix(stamp, gzipEnding))
	return t, err == nil
}

// compress replaces a file by a compressed one, which appears under its name
// when it is whole. If somebody else is at it, or the file still being written to,
// it does nothing; if the file is gone, neither.
func compress(name string) error {
	err := compressAlone(name)
	if errors.Is(err, flock.ErrTaken) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// compressAlone has the lock of the unfinished file meanwhile.
func compressAlone(name string) error {
	if err := drain(name); err != nil {
		return err
	}
	temporary := name + gzipEnding + unfinished
	out, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	if err := lockAt(temporary, out); err != nil {
		return err
	}
	if err := writeCompressed(name, out); err != nil {
		return errors.Join(err, remove(temporary))
	}
	if err := os.Rename(temporary, name+gzipEnding); err != nil {
		return err
	}
	return remove(name)
}

// lockAt locks a file that has just been opened at a path. It fails with
// flock.ErrTaken as well when somebody else has finished with it meanwhile.
func lockAt(path string, file *os.File) error {
	if err := flock.Try(file); err != nil {
		return err
	}
	opened, err := file.Stat()
	if err != nil {
		return err
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(now, opened) {
		return flock.ErrTaken
	}
	return nil
}

func writeCompressed(from string, out *os.File) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	zip := gzip.NewWriter(out)
	err = out.Truncate(0)
	if err == nil {
		_, err = io.Copy(zip, in)
	}
	return errors.Join(err, zip.Close(), in.Close())
}

// remove removes a file that another process may remove as well.
func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
