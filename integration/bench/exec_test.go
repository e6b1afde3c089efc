//go:build bench

package bench

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"procops/integration/harness"
)

// execution is the moment at which a program was executed.
type execution struct {
	program string // base name
	at      time.Time
}

// programs makes n programs in dir that are all sleep(1), each under a name of
// its own, and returns their paths and a channel with each execution of one.
// The kernel opens a program's file to execute it, and inotify tells: nobody
// has to look again and again, which would slow down whom it looks at.
func programs(t *testing.T, dir string, n int) (paths []string, executions <-chan execution) {
	t.Helper()
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		path := filepath.Join(dir, fmt.Sprintf("sleep-%03d", i))
		if i == 0 {
			err = os.WriteFile(path, sleep, 0o755)
		} else {
			err = os.Link(paths[0], path)
		}
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths, watch(t, dir)
}

func watch(t *testing.T, dir string) <-chan execution {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	executions, done := make(chan execution, 16384), make(chan struct{})
	go func() {
		defer close(done)
		forward(t, file, executions)
	}()
	t.Cleanup(func() {
		_ = file.Close()
		<-done
	})
	return executions
}

// forward reads events until the file is closed.
func forward(t *testing.T, file io.Reader, executions chan<- execution) {
	buffer := make([]byte, 64*1024)
	for {
		n, err := file.Read(buffer)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("cannot read inotify events: %v", err)
			}
			return
		}
		at := time.Now()
		for rest := buffer[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			event := (*unix.InotifyEvent)(unsafe.Pointer(&rest[0]))
			name := rest[unix.SizeofInotifyEvent:][:event.Len]
			rest = rest[unix.SizeofInotifyEvent+int(event.Len):]
			executions <- execution{unix.ByteSliceToString(name), at}
		}
	}
}

// next returns the next execution of a program that wanted accepts.
func next(t *testing.T, executions <-chan execution, wanted func(program string) bool) execution {
	t.Helper()
	deadline := time.NewTimer(2 * harness.Patience)
	defer deadline.Stop()
	for {
		select {
		case e := <-executions:
			if wanted(e.program) {
				return e
			}
		case <-deadline.C:
			t.Fatal("waited in vain for a program to be executed")
		}
	}
}
