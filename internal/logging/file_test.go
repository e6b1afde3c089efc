package logging

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func openFile(t *testing.T, path string, r Rotation) *File {
	t.Helper()
	if r.OnError == nil {
		r.OnError = func(err error) { t.Errorf("told of: %v", err) }
	}
	f, err := OpenFile(path, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func write(t *testing.T, f *File, text string) {
	t.Helper()
	if n, err := io.WriteString(f, text); err != nil || n != len(text) {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(text), err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(path, gzipEnding) {
		return string(raw)
	}
	zip, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func rotated(t *testing.T, path string) []string {
	t.Helper()
	files, err := Rotated(path)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestFileMakesDirectoriesAndAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "web.log")
	for _, text := range []string{"one\n", "two\n"} {
		f := openFile(t, path, Rotation{})
		write(t, f, text)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t, path); got != "one\ntwo\n" {
		t.Errorf("got %q", got)
	}
	for name, want := range map[string]os.FileMode{path: 0o640, filepath.Dir(path): 0o750} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&^want != 0 {
			t.Errorf("%s has mode %o, want at most %o", name, info.Mode().Perm(), want)
		}
	}
}

func TestFileEndsALineThatACrashHasLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	if err := os.WriteFile(path, []byte("whole\nhal"), 0o640); err != nil {
		t.Fatal(err)
	}
	f := openFile(t, path, Rotation{})
	write(t, f, "next\n")
	if got := read(t, path); got != "whole\nhal\nnext\n" {
		t.Errorf("got %q", got)
	}
}

func TestFileRotatesBetweenLinesAndKeepsEveryLine(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		t.Run(fmt.Sprintf("compress=%v", compressed), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "web.log")
			f := openFile(t, path, Rotation{MaxSize: 100, MaxFiles: math.MaxInt, Compress: compressed})
			var all strings.Builder
			for i := range 200 {
				text := fmt.Sprintf("line %03d\n", i)
				all.WriteString(text)
				if i%7 == 0 { // several lines at once
					more := strings.Repeat(text, 30)
					all.WriteString(more)
					text += more
				}
				write(t, f, text)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			for _, name := range append(rotated(t, path), path) {
				text := read(t, name)
				if len(text) > 100 || !strings.HasSuffix(text, "\n") {
					t.Errorf("%s holds %q", name, text)
				}
				if name != path && strings.HasSuffix(name, gzipEnding) != compressed {
					t.Errorf("%s: compress is %v", name, compressed)
				}
				got.WriteString(text)
			}
			if got.String() != all.String() {
				t.Errorf("got %d bytes back, wrote %d; or in another order", got.Len(), all.Len())
			}
		})
	}
}

func TestFileTakesALineLargerThanItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	f := openFile(t, path, Rotation{MaxSize: 10, MaxFiles: 9})
	long := strings.Repeat("x", 50) + "\n"
	write(t, f, "a\n"+long+"b\n")
	files := rotated(t, path)
	if len(files) != 2 || read(t, files[0]) != "a\n" || read(t, files[1]) != long || read(t, path) != "b\n" {
		t.Errorf("put aside %d files, the last line is in %q", len(files), read(t, path))
	}
}

func TestFileKeepsATornLineTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	f := openFile(t, path, Rotation{MaxSize: 10, MaxFiles: 9})
	write(t, f, "begin")
	write(t, f, "ning of it\nnext\n")
	if files := rotated(t, path); len(files) != 1 || read(t, files[0]) != "beginning of it\n" {
		t.Errorf("put aside %d files", len(files))
	}
	if got := read(t, path); got != "next\n" {
		t.Errorf("got %q", got)
	}
}

func TestFileKeepsTheNewest(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	f := openFile(t, path, Rotation{MaxSize: 2, MaxFiles: 3})
	for i := range 10 {
		write(t, f, fmt.Sprintf("%d\n", i))
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var got string
	for _, name := range append(rotated(t, path), path) {
		got += read(t, name)
	}
	if got != "6\n7\n8\n9\n" {
		t.Errorf("kept %q", got)
	}
}

func TestFileRemovesOldOnesAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "web.log")
	old := time.Now().Add(-48 * time.Hour).UTC().Format(asideStamp)
	young := time.Now().Add(-time.Hour).UTC().Format(asideStamp)
	names := map[string]bool{ // stays?
		"web.log." + old: false, "web.log." + old + gzipEnding: false,
		"web.log." + young: true, "web.log.old": true, "web.log.1": true,
		"web2.log." + old: true, "web.log" + old: true, "other": true,
	}
	for name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o640); err != nil {
			t.Fatal(err)
		}
	}
	f := openFile(t, path, Rotation{MaxAge: 24 * time.Hour, MaxFiles: 100})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for name, stays := range names {
		if exists(filepath.Join(dir, name)) != stays {
			t.Errorf("%s: stays is %v", name, !stays)
		}
	}
}

func TestFileReopensAfterItWasMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	f := openFile(t, path, Rotation{})
	write(t, f, "one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, f, "two\n")
	if err := f.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, f, "three\n")
	if got := read(t, path+".1") + read(t, path); got != "one\ntwo\nthree\n" || read(t, path) != "three\n" {
		t.Errorf("got %q", got)
	}
}

func TestFileGoesOnWhenItCannotRotate(t *testing.T) {
	// There is no room in the name for a time stamp.
	path := filepath.Join(t.TempDir(), strings.Repeat("x", 250))
	var told []error
	f := openFile(t, path, Rotation{MaxSize: 10, MaxFiles: 3, OnError: func(err error) { told = append(told, err) }})
	var all string
	for range 100 {
		write(t, f, "a line\n")
		all += "a line\n"
	}
	if got := read(t, path); got != all {
		t.Errorf("kept %d of %d bytes", len(got), len(all))
	}
	if len(told) != 1 || !errors.Is(told[0], syscall.ENAMETOOLONG) {
		t.Errorf("told of %v", told)
	}
}

func TestFileGoesOnWhenItCannotReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	f := openFile(t, path, Rotation{})
	if err := errors.Join(os.Rename(path, path+".moved"), os.Mkdir(path, 0o750)); err != nil {
		t.Fatal(err)
	}
	if err := f.Reopen(); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("reopen: %v", err)
	}
	write(t, f, "a line\n")
	if got := read(t, path+".moved"); got != "a line\n" {
		t.Errorf("got %q", got)
	}
}

func TestOpenFileRefusals(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                           "is a directory",
		fifo:                          "no such device or address",
		filepath.Join(plain, "x.log"): "not a directory",
	} {
		_, err := OpenFile(path, Rotation{})
		if want = fmt.Sprintf("cannot open log file %q: %s", path, want); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestFileOnADeviceDoesNotRotate(t *testing.T) {
	f := openFile(t, "/dev/null", Rotation{MaxSize: 1})
	write(t, f, "one\ntwo\n")
	if files := rotated(t, "/dev/null"); len(files) > 0 {
		t.Errorf("put aside %q", files)
	}
}

func TestFileAfterClose(t *testing.T) {
	f := openFile(t, filepath.Join(t.TempDir(), "web.log"), Rotation{})
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("x\n")); !errors.Is(err, os.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if err := f.Reopen(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("reopen: %v", err)
	}
}

func TestFileIsSafeForConcurrentUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	f := openFile(t, path, Rotation{MaxSize: 200, MaxFiles: 3, Compress: true})
	var users sync.WaitGroup
	for range 4 {
		users.Go(func() {
			for range 100 {
				if _, err := io.WriteString(f, "some line\n"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	users.Go(func() {
		for range 20 {
			if err := f.Reopen(); err != nil {
				t.Error(err)
			}
		}
	})
	users.Wait()
}

// TestQueueAndFileOnAFullDisk uses a limit on the size of files, which the
// kernel treats as a full disk: it writes what fits and refuses the rest.
func TestQueueAndFileOnAFullDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	path := filepath.Join(t.TempDir(), "web.log")
	f := openFile(t, path, Rotation{})
	full := make(chan error, 10)
	q := NewQueue(f, 1<<20)
	q.OnGap = gapNotice
	q.OnError = func(err error) { full <- err }

	limitFiles(t, 1005)
	text := strings.Repeat("x", 99)
	for range 50 {
		q.Append(line(text))
	}
	err := <-full
	if !errors.Is(err, syscall.EFBIG) {
		t.Fatalf("told of %v", err)
	}
	limitFiles(t, math.MaxUint64)
	q.Append(line(text))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := q.Close(ctx); err != nil {
		t.Fatal(err)
	}
	whole, told := 0, uint64(0)
	for got := range strings.Lines(read(t, path)) {
		var n uint64
		if _, err := fmt.Sscanf(got, "gap %d\n", &n); err == nil {
			told += n
		} else if got != text+"\n" {
			t.Errorf("torn line %q", got)
		} else {
			whole++
		}
	}
	if whole < 11 || told == 0 || told != q.Dropped() || uint64(whole)+told != 51 {
		t.Errorf("%d whole lines, %d told as dropped, %d dropped", whole, told, q.Dropped())
	}
}

func limitFiles(t *testing.T, size uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	limit.Cur = min(size, limit.Max)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkFile(b *testing.B) {
	f, err := OpenFile(filepath.Join(b.TempDir(), "x.log"), Rotation{MaxSize: 100 << 20, MaxFiles: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	batch := bytes.Repeat([]byte(strings.Repeat("x", 99)+"\n"), 640)
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		if _, err := f.Write(batch); err != nil {
			b.Fatal(err)
		}
	}
}
