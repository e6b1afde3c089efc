package harness

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// Recording is a proxy before a server that keeps what passes through it.
type Recording struct {
	Port int // where it listens, on loopback

	tb       testing.TB
	target   int
	mu       sync.Mutex
	sessions []*Session
	work     sync.WaitGroup
}

// Session is what was said on one connection.
type Session struct {
	ToServer, FromServer *bytes.Buffer
}

// Record starts a proxy before the server on a port. It ends with the test.
func Record(tb testing.TB, target int) *Recording {
	tb.Helper()
	r := &Recording{Port: FreePort(tb), tb: tb, target: target}
	l, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", Loopback(r.Port))
	if err != nil {
		tb.Fatal(err)
	}
	r.work.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			r.work.Go(func() { r.pass(client) })
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		r.work.Wait()
	})
	return r
}

// pass connects a client with the server until either of them closes.
func (r *Recording) pass(client net.Conn) {
	server, err := new(net.Dialer).DialContext(r.tb.Context(), "tcp", Loopback(r.target))
	if err != nil {
		_ = client.Close()
		return
	}
	s := &Session{&bytes.Buffer{}, &bytes.Buffer{}}
	r.mu.Lock()
	r.sessions = append(r.sessions, s)
	r.mu.Unlock()
	var both sync.WaitGroup
	for _, way := range []struct {
		from, to net.Conn
		keep     *bytes.Buffer
	}{{client, server, s.ToServer}, {server, client, s.FromServer}} {
		both.Go(func() {
			_, _ = io.Copy(io.MultiWriter(lockedWriter{&r.mu, way.keep}, way.to), way.from)
			_, _ = client.Close(), server.Close()
		})
	}
	both.Wait()
}

// Sessions returns copies of what was said so far.
func (r *Recording) Sessions() []Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	copies := make([]Session, len(r.sessions))
	for i, s := range r.sessions {
		copies[i] = Session{bytes.NewBuffer(bytes.Clone(s.ToServer.Bytes())), bytes.NewBuffer(bytes.Clone(s.FromServer.Bytes()))}
	}
	return copies
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
