package logging

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/internal/flock"
)

// helperLines names the variable that makes the test binary a writer of so many lines.
const helperLines = "PROCOPS_LOGGING_TEST_LINES"

func TestMain(m *testing.M) {
	if lines := os.Getenv(helperLines); lines != "" {
		if err := flood(os.Args[1], lines); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const tinySize = 8192

// tiny has a file rotate all the time and loses nothing on purpose.
func tiny() Rotation {
	return Rotation{MaxSize: tinySize, MaxFiles: math.MaxInt, Compress: true, Shared: true}
}

// flood writes numbered lines, some at a time and some longer than a page of memory,
// and prints the number of the last after each write. HUP has it reopen the file.
func flood(path, count string) error {
	rotation := tiny()
	rotation.OnError = func(err error) { fmt.Fprintln(os.Stderr, "told of:", err) }
	f, err := OpenFile(path, rotation)
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	fmt.Println(-1)
	lines, err := strconv.Atoi(count)
	var batch []byte
	for n := 0; err == nil && n < lines; {
		batch = batch[:0]
		for range min(1+rand.IntN(40), lines-n) {
			pad := rand.IntN(100)
			if rand.IntN(100) == 0 {
				pad = 5000
			}
			batch = fmt.Appendf(batch, "%d %d %s.\n", os.Getpid(), n, strings.Repeat("x", pad))
			n++
		}
		if _, err = f.Write(batch); err == nil {
			_, err = fmt.Println(n - 1)
		}
		select {
		case <-hup:
			err = errors.Join(err, f.Reopen())
		default:
		}
	}
	return errors.Join(err, f.Close())
}

// writer is a process that floods.
type writer struct {
	cmd  *exec.Cmd
	acks chan int // number of the last line that is written; closed at the end
	last int      // the last of them
}

// startWriter starts one and returns when it is about to write.
func startWriter(t *testing.T, path string, lines int) *writer {
	t.Helper()
	w := &writer{cmd: exec.CommandContext(t.Context(), "/proc/self/exe", path), acks: make(chan int)}
	w.cmd.Env = append(os.Environ(), helperLines+"="+strconv.Itoa(lines), "GORACE=atexit_sleep_ms=0")
	stderr := new(strings.Builder)
	w.cmd.Stderr = stderr
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		defer close(w.acks)
		for text := bufio.NewScanner(stdout); text.Scan(); {
			n, err := strconv.Atoi(text.Text())
			if err != nil {
				t.Errorf("a writer said %q", text.Text())
			}
			if n < 0 {
				close(ready)
				continue
			}
			w.acks <- n
		}
		if err := w.cmd.Wait(); err != nil && !killed(w.cmd) {
			t.Errorf("a writer: %v", err)
		}
		if stderr.Len() > 0 {
			t.Errorf("a writer said: %s", stderr)
		}
	}()
	<-ready
	return w
}

func killed(cmd *exec.Cmd) bool {
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signal() == syscall.SIGKILL
}

// await reads what the writer says until it has written line n.
func (w *writer) await(n int) {
	for w.last < n {
		ack, ok := <-w.acks
		if !ok {
			return
		}
		w.last = ack
	}
}

// finish reads the rest.
func (w *writer) finish() { w.await(math.MaxInt) }

// checkFlood reads all lines of all files. Those that each writer has reported must be
// there once; the end of one that was killed may be torn.
func checkFlood(t *testing.T, files []string, writers []*writer, torn int) {
	t.Helper()
	seen := map[int]map[int]int{}
	for _, w := range writers {
		seen[w.cmd.Process.Pid] = map[int]int{}
	}
	for _, name := range files {
		for text := range strings.Lines(read(t, name)) {
			var pid, n int
			var pad string
			_, err := fmt.Sscanf(text, "%d %d %s\n", &pid, &n, &pad)
			switch whole := err == nil && strings.Trim(pad, "x") == "." && seen[pid] != nil; {
			case whole:
				seen[pid][n]++
			case torn == 0:
				t.Errorf("%s: torn line %.200q", name, text)
			default:
				torn--
			}
		}
	}
	for _, w := range writers {
		lines := seen[w.cmd.Process.Pid]
		for n := range w.last + 1 {
			if lines[n] != 1 {
				t.Errorf("line %d of writer %d is there %d times", n, w.cmd.Process.Pid, lines[n])
			}
			delete(lines, n)
		}
		for n, times := range lines { // written, and killed before it could say so
			if times != 1 {
				t.Errorf("line %d of the killed writer %d is there %d times", n, w.cmd.Process.Pid, times)
			}
		}
	}
}

// TestProcessesShareAFile has three writers flood one file that rotates all the time.
func TestProcessesShareAFile(t *testing.T) {
	const lines = 4_000
	path := filepath.Join(t.TempDir(), "web.log")
	var writers []*writer
	for range 3 {
		writers = append(writers, startWriter(t, path, lines))
	}
	var all sync.WaitGroup
	for _, w := range writers {
		all.Go(w.finish)
	}
	all.Wait()
	for _, w := range writers {
		if w.last != lines-1 {
			t.Errorf("a writer came to line %d", w.last)
		}
	}
	files := append(rotated(t, path), path)
	checkFlood(t, files, writers, 0)
	if len(files) < 100 {
		t.Errorf("rotated %d times", len(files))
	}
	for _, name := range files {
		if text := read(t, name); len(text) > tinySize && strings.Count(text, "\n") > 1 {
			t.Errorf("%s has %d bytes", name, len(text))
		}
	}
}

// TestProcessesShareAFileThroughMovesAndKills moves the file away, as logrotate does
// with and without create, has the writers reopen it and kills some.
func TestProcessesShareAFileThroughMovesAndKills(t *testing.T) {
	const lines, moves = 4_000, 25
	dir := t.TempDir()
	path := filepath.Join(dir, "web.log")
	var writers []*writer
	for range 2 {
		writers = append(writers, startWriter(t, path, lines))
	}
	var all sync.WaitGroup
	all.Go(writers[1].finish)
	first := writers[0]
	for i := range moves {
		first.await(i * lines / moves)
		victim := startWriter(t, path, math.MaxInt)
		writers = append(writers, victim)
		victim.await(rand.IntN(300))
		if err := os.Rename(path, fmt.Sprintf("%s.moved.%d", path, i)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := os.WriteFile(path, nil, 0o640); err != nil {
				t.Fatal(err)
			}
		}
		for _, w := range []*writer{writers[0], writers[1], victim} {
			if err := w.cmd.Process.Signal(syscall.SIGHUP); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
		}
		victim.await(victim.last + 1 + rand.IntN(300))
		if err := victim.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		victim.finish()
	}
	first.finish()
	all.Wait()

	f := openFile(t, path, tiny()) // what the last one has left to do
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	moved, err := filepath.Glob(path + ".moved.*")
	if err != nil {
		t.Fatal(err)
	}
	files := append(append(rotated(t, path), path), moved...)
	checkFlood(t, files, writers, moves)
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) != len(files) {
		t.Errorf("there are %d files, %d of them logs", len(left), len(files))
	}
}

func shared(t *testing.T, path string) *File {
	t.Helper()
	return openFile(t, path, Rotation{MaxSize: 100, MaxFiles: 3, Shared: true})
}

func TestSharedFileFollowsToTheNextFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	a, b := shared(t, path), shared(t, path)
	write(t, a, strings.Repeat("a", 89)+"\n")
	write(t, b, "from b: 8\n") // 100 bytes
	write(t, b, "next\n")
	write(t, a, "after\n")
	if files := rotated(t, path); len(files) != 1 || read(t, path) != "next\nafter\n" {
		t.Errorf("put aside %q, the file has %q", files, read(t, path))
	}
}

func TestSharedFileThatIsMovedAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	a, b := shared(t, path), shared(t, path)
	write(t, a, "one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, b, "two\n") // until somebody says otherwise
	if err := a.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, b, "three\n")
	write(t, a, "four\n")
	if got := read(t, path+".1"); got != "one\ntwo\n" {
		t.Errorf("the moved file has %q", got)
	}
	if got := read(t, path); got != "three\nfour\n" {
		t.Errorf("the file has %q", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, b, "five\n")
	if got := read(t, path); got != "five\n" {
		t.Errorf("after it was removed: %q", got)
	}
}

// TestSharedFileAfterARotationThatWasKilled has the file put aside and no new one made.
func TestSharedFileAfterARotationThatWasKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	f := shared(t, path)
	write(t, f, "one\n")
	if err := os.Rename(path, f.cleaner.asideName(time.Now())); err != nil {
		t.Fatal(err)
	}
	write(t, f, "two\n")
	if got := read(t, path); got != "two\n" {
		t.Errorf("got %q", got)
	}
}

// TestSharedFileEndsTheLineOfOneThatWasKilled has another process killed in the middle
// of a write.
func TestSharedFileEndsTheLineOfOneThatWasKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	f := shared(t, path)
	write(t, f, "one\n")
	other, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.WriteString("two\nthr"); err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, f, "four\n")
	if got := read(t, path); got != "one\ntwo\nthr\nfour\n" {
		t.Errorf("got %q", got)
	}
}

// TestSharedFileLosesPatience has another process stopped in the middle of a write.
func TestSharedFileLosesPatience(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	f := shared(t, path)
	stopped, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stopped.Close() })
	if err := flock.Try(stopped); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	write(t, f, "one\n")
	if took := time.Since(begun); took < patience {
		t.Errorf("waited %v", took)
	}
	for range 20 { // twenty times as long would be noticed
		write(t, f, "more\n")
	}
	if took := time.Since(begun); took > 15*patience {
		t.Errorf("waits again and again: %v", took)
	}
	if err := flock.Release(stopped); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); f.waiting != nil && time.Now().Before(end); {
		write(t, f, "on\n")
	}
	if f.waiting != nil || f.held {
		t.Error("the lock did not come back")
	}
}

// TestCompressionThatWasKilled finds what one who was killed at each point has left.
func TestCompressionThatWasKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "web.log")
	name := path + "." + time.Now().UTC().Format(asideStamp)
	for text, files := range map[string]map[string]string{
		"while compressing": {name: "one\n", name + gzipEnding + unfinished: "half"},
		"before removing":   {name: "one\n", name + gzipEnding: "one, compressed"},
		"after the removal": {name + gzipEnding + unfinished: "half"},
	} {
		t.Run(text, func(t *testing.T) {
			for file, content := range files {
				if err := os.WriteFile(file, []byte(content), 0o640); err != nil {
					t.Fatal(err)
				}
			}
			f := openFile(t, path, tiny())
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			for file := range files {
				if left := exists(file); left != strings.HasSuffix(file, gzipEnding) {
					t.Errorf("%s: left is %v", file, left)
				}
			}
			_, wasThere := files[name]
			if exists(name+gzipEnding) != wasThere {
				t.Errorf("compressed is %v", !wasThere)
			}
			if err := remove(name + gzipEnding); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func BenchmarkSharedFile(b *testing.B) {
	f, err := OpenFile(filepath.Join(b.TempDir(), "x.log"), Rotation{MaxSize: 100 << 20, MaxFiles: 1, Shared: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	line := []byte(strings.Repeat("x", 99) + "\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Write(line); err != nil {
			b.Fatal(err)
		}
	}
}
