package heartbeat

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSignalBeforeTheStart comes while the start is recorded.
func TestSignalBeforeTheStart(t *testing.T) {
	s := newStage(t)
	open := s.wrap.Open
	opened, released := make(chan struct{}), make(chan struct{})
	s.wrap.Open = func(ctx context.Context) (*List, func() error, error) {
		close(opened)
		<-released
		return open(ctx)
	}
	done := s.start("/bin/sh", "-c", "echo never")
	<-opened
	s.signals <- syscall.SIGUSR1
	s.signals <- syscall.SIGHUP
	for len(s.signals) > 0 {
		runtime.Gosched()
	}
	close(released)
	if o := s.wait(done); o.code != 128+1 || o.err != nil {
		t.Errorf("%+v", o)
	}
	if got := s.stdout.all(); got != "" {
		t.Errorf("the command said %q", got)
	}
	if r := s.lastRun(); r.State != RunFailed || r.Code != 129 || r.Message != "ended by signal HUP before it was started" {
		t.Errorf("recorded %+v", r)
	}
}

// TestEarlySignalReachesTheCommand sends one that does not ask it to end.
func TestEarlySignalReachesTheCommand(t *testing.T) {
	s := newStage(t)
	s.signals <- syscall.SIGUSR1
	if o := s.wait(s.start("/bin/sh", "-c", "sleep 1000")); o.code != 128+int(syscall.SIGUSR1) || o.err != nil {
		t.Errorf("%+v", o)
	}
}

// TestReaderThatStopsReading does not keep a run that was to end.
func TestReaderThatStopsReading(t *testing.T) {
	for name, end := range map[string]func(s *stage, done <-chan outcome) outcome{
		"after a signal": func(s *stage, done <-chan outcome) outcome {
			s.signals <- syscall.SIGTERM
			return s.wait(done)
		},
		"after signals": func(s *stage, done <-chan outcome) outcome {
			for { // the first ends the command, a further one the waiting
				select {
				case s.signals <- syscall.SIGTERM:
				case o := <-done:
					return o
				}
			}
		},
		"after --max-runtime": func(s *stage, done <-chan outcome) outcome { return s.wait(done) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			r, w := pipe(t)
			s.wrap.Stdout = w
			code := 143
			if strings.Contains(name, "max") {
				s.wrap.MaxRuntime, code = time.Second, CodeTimeout
			}
			done := s.start("/usr/bin/yes")
			for full := false; !full; runtime.Gosched() {
				n, err := unix.Poll([]unix.PollFd{{Fd: int32(w.Fd()), Events: unix.POLLOUT}}, 0)
				full = n == 0 && err == nil
			}
			if o := end(s, done); o.code != code || o.err != nil {
				t.Errorf("%+v", o)
			}
			if got := s.lastRun(); got.Code != code || len(got.Output) != outputKept {
				t.Errorf("recorded code %d and %d bytes of output", got.Code, len(got.Output))
			}
			_ = r.Close() // what still writes ends
		})
	}
}

// TestWarningThatNobodyReads does not keep a command from running or from ending.
func TestWarningThatNobodyReads(t *testing.T) {
	s := newStage(t)
	s.wrap.Open = func(context.Context) (*List, func() error, error) { return nil, nil, errors.New("broken") }
	released := make(chan struct{})
	defer close(released)
	s.wrap.Warn = func(error) { <-released }
	if code := s.run("echo hello; exit 3"); code != 3 || s.stdout.all() != "hello\n" {
		t.Errorf("code %d", code)
	}
}
