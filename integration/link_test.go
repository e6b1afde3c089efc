package integration

import (
	"io"
	"net"
	"sync"
	"testing"

	"procops/integration/harness"
)

// link passes on what comes to one port to another one, until it is cut.
type link struct {
	tb       testing.TB
	from, to int

	mu       sync.Mutex
	listener net.Listener
	open     []net.Conn
}

func newLink(tb testing.TB, from, to int) *link {
	tb.Helper()
	l := &link{tb: tb, from: from, to: to}
	l.mend()
	tb.Cleanup(l.cut)
	return l
}

// mend makes it listen.
func (l *link) mend() {
	l.tb.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(l.tb.Context(), "tcp", harness.Loopback(l.from))
	if err != nil {
		l.tb.Fatal(err)
	}
	l.mu.Lock()
	l.listener = listener
	l.mu.Unlock()
	go l.accept(listener)
}

func (l *link) accept(listener net.Listener) {
	for {
		here, err := listener.Accept()
		if err != nil {
			return
		}
		var dialer net.Dialer
		there, err := dialer.Dial("tcp", harness.Loopback(l.to))
		if err != nil {
			_ = here.Close()
			continue
		}
		if !l.add(listener, here, there) {
			continue
		}
		for _, way := range [][2]net.Conn{{here, there}, {there, here}} {
			go func() {
				_, _ = io.Copy(way[0], way[1])
				_ = way[0].Close()
			}()
		}
	}
}

// add notes the two ends of a connection; false, and they are closed, when the link was cut
// meanwhile.
func (l *link) add(listener net.Listener, ends ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener == listener {
		l.open = append(l.open, ends...)
		return true
	}
	for _, c := range ends {
		_ = c.Close()
	}
	return false
}

// cut ends all connections; nobody listens any more.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != nil {
		_ = l.listener.Close()
	}
	for _, c := range l.open {
		_ = c.Close()
	}
	l.listener, l.open = nil, nil
}
