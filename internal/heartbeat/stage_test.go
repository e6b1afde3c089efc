package heartbeat

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"procops/internal/proc"
)

// deadline bounds every wait of these tests.
const deadline = 20 * time.Second

// stage is where commands are run, with pipes in place of the standard streams.
type stage struct {
	*world
	host    *proc.Host
	signals chan os.Signal
	stdin   *os.File // what the command reads is written here
	stdout  *collector
	stderr  *collector
	wrap    Wrap
	warned  chan error
}

func newStage(t *testing.T) *stage {
	t.Helper()
	host, err := proc.NewHost(proc.HostOptions{Subreaper: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &stage{
		world: newWorld(t, Config{}), host: host, signals: make(chan os.Signal, 8),
		warned: make(chan error, 8),
	}
	read, write := pipe(t)
	s.stdin = write
	out, outWrite := pipe(t)
	err2, errWrite := pipe(t)
	s.stdout, s.stderr = collect(t, out, outWrite), collect(t, err2, errWrite)
	s.wrap = Wrap{
		Name: "job", Stdin: read, Stdout: outWrite, Stderr: errWrite,
		Signals: s.signals, LockDir: t.TempDir(),
		Open: func(context.Context) (*List, func() error, error) {
			return s.List, func() error { return nil }, nil
		},
		Warn: func(err error) { s.warned <- err },
	}
	return s
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		_ = w.Close()
	})
	return r, w
}

// collector reads what is written to a pipe.
type collector struct {
	t       *testing.T
	write   *os.File
	got     bytes.Buffer
	chunks  chan []byte
	drained bool
}

func collect(t *testing.T, r, w *os.File) *collector {
	t.Helper()
	c := &collector{t: t, write: w, chunks: make(chan []byte, 1024)}
	go func() {
		defer close(c.chunks)
		for {
			chunk := make([]byte, 64<<10)
			n, err := r.Read(chunk)
			if err != nil {
				return
			}
			c.chunks <- chunk[:n]
		}
	}()
	return c
}

// until waits until the output so far holds text.
func (c *collector) until(text string) string {
	c.t.Helper()
	timeout := time.After(deadline)
	for !bytes.Contains(c.got.Bytes(), []byte(text)) {
		select {
		case chunk, ok := <-c.chunks:
			if !ok {
				c.t.Fatalf("the output ended without %q: %q", text, c.got.String())
			}
			c.got.Write(chunk)
		case <-timeout:
			c.t.Fatalf("no %q in the output %q", text, c.got.String())
		}
	}
	return c.got.String()
}

// all returns the whole output, once nobody writes any more.
func (c *collector) all() string {
	c.t.Helper()
	_ = c.write.Close()
	timeout := time.After(deadline)
	for !c.drained {
		select {
		case chunk, ok := <-c.chunks:
			c.got.Write(chunk)
			c.drained = !ok
		case <-timeout:
			c.t.Fatal("the output does not end")
		}
	}
	return c.got.String()
}

type outcome struct {
	code int
	err  error
}

// start runs a command in the background.
func (s *stage) start(argv ...string) <-chan outcome {
	s.t.Helper()
	w := s.wrap
	w.Argv = argv
	done := make(chan outcome, 1)
	go func() {
		p := usualPatience()
		p.end, p.kill, p.reader = 2*time.Second, 2*time.Second, time.Second
		code, err := w.run(context.Background(), s.host, p)
		done <- outcome{code, err}
	}()
	return done
}

func (s *stage) wait(done <-chan outcome) outcome {
	s.t.Helper()
	select {
	case o := <-done:
		return o
	case <-time.After(deadline):
		s.t.Fatal("the run does not end")
		return outcome{}
	}
}

// run runs a shell script to its end and returns its code.
func (s *stage) run(script string) int {
	s.t.Helper()
	o := s.wait(s.start("/bin/sh", "-c", script))
	if o.err != nil {
		s.t.Fatal(o.err)
	}
	return o.code
}

// lastRun returns the record of the newest run.
func (s *stage) lastRun() Run {
	s.t.Helper()
	runs, err := s.Runs(context.Background(), "job", KeptFilter{Limit: 1})
	s.must(err)
	return runs[0]
}
