package logging

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
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
// than all it has given.
func (c *cleaner) asideName(now time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
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

func (c *cleaner) clean(now time.Time) error {
	files, err := Rotated(c.path)
	if err != nil {
		return err
	}
	var errs []error
	for i, name := range files {
		tooMany := len(files)-i > c.rotation.MaxFiles
		switch {
		case tooMany || c.tooOld(name, now):
			errs = append(errs, os.Remove(name))
		case c.rotation.Compress && !strings.HasSuffix(name, gzipEnding):
			errs = append(errs, compress(name))
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
	path = filepath.Clean(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(path), e.Name())
		if _, ok := asideTime(path, name); ok && e.Type().IsRegular() {
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
// when it is whole.
func compress(name string) error {
	temporary := name + gzipEnding + unfinished
	err := writeCompressed(name, temporary)
	if err == nil {
		err = os.Rename(temporary, name+gzipEnding)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return os.Remove(name)
}

func writeCompressed(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return errors.Join(err, in.Close())
	}
	zip := gzip.NewWriter(out)
	_, err = io.Copy(zip, in)
	return errors.Join(err, zip.Close(), out.Close(), in.Close())
}
