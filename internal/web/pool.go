package web

import (
	"container/list"
	"context"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

const (
	// reservedFiles is how many open files the rest of procops may have: the
	// database and its log, the readers of it, the log files.
	reservedFiles = 128
	// fullNotice is the time between two records in the log that say that there
	// are too many connections.
	fullNotice = time.Minute
)

// connectionLimit returns how many connections can be open at once: wanted, or
// what the limit of open files leaves.
func connectionLimit(wanted int) int {
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil || files.Cur > uint64(wanted+reservedFiles) { //nolint:gosec // not negative
		return wanted
	}
	n := int(files.Cur) //nolint:gosec // less than wanted
	return max(1, n/2, n-reservedFiles)
}

// pool is a listener that bounds the open connections. When there are too many it
// closes the one that has waited for a whole request for the longest time, so
// that those who open connections and send little or nothing are in nobody's way
// but their own. A connection whose request is being answered is never closed; by
// those the bound may be exceeded for a moment.
type pool struct {
	net.Listener
	most int
	log  zerolog.Logger

	mu      sync.Mutex
	open    int
	waiting *list.List // of *conn, for the longest time first
	opened  uint64
	dropped uint64
	noticed time.Time
}

// conn is a connection of a pool.
type conn struct {
	net.Conn
	pool  *pool
	place *list.Element // in pool.waiting; nil while a request is answered
	begun bool          // the header of a request is there
	gone  bool
}

func newPool(l net.Listener, most int, log zerolog.Logger) *pool {
	return &pool{Listener: l, most: most, log: log, waiting: list.New()}
}

// Accept waits for a connection, and makes room for it.
func (p *pool) Accept() (net.Conn, error) {
	accepted, err := p.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, pool: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened++
	p.open++
	for full := p.open > p.most; full; { // by more than one if many were being answered
		full = p.drop() && p.open > p.most
	}
	c.place = p.waiting.PushBack(c)
	return c, nil
}

// drop closes the connection that has waited longest; it returns false if none waits.
// The caller holds p.mu.
func (p *pool) drop() bool {
	oldest := p.waiting.Front()
	if oldest == nil {
		return false
	}
	victim, _ := oldest.Value.(*conn)
	p.leave(victim)
	p.dropped++
	_ = victim.Conn.Close() // its owner finds out and has nothing to say
	if now := time.Now(); now.Sub(p.noticed) > fullNotice {
		p.noticed = now
		p.log.Warn().Int("connections", p.most).
			Msg("there are as many connections as there can be; those that have waited longest are closed")
	}
	return true
}

// leave forgets a connection. The caller holds p.mu.
func (p *pool) leave(c *conn) {
	if c.gone {
		return
	}
	c.gone = true
	p.open--
	if c.place != nil {
		p.waiting.Remove(c.place)
		c.place = nil
	}
}

// Close closes the connection.
func (c *conn) Close() error {
	c.pool.mu.Lock()
	c.pool.leave(c)
	c.pool.mu.Unlock()
	return c.Conn.Close()
}

// begins says that the header of a request is there.
func (c *conn) begins() {
	if c == nil {
		return
	}
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	c.begun = true
}

// answering takes c out of those that may be closed for another, until again is
// called. It returns false if c is closed.
func (c *conn) answering() bool {
	if c == nil {
		return true
	}
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	if c.place != nil {
		c.pool.waiting.Remove(c.place)
		c.place = nil
	}
	return !c.gone
}

// again says that c waits for its next request.
func (c *conn) again() {
	if c == nil {
		return
	}
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	c.begun = false
	if c.place == nil && !c.gone {
		c.place = c.pool.waiting.PushBack(c)
	}
}

// hasten gives those of whom no header is there until a time to send one.
func (p *pool) hasten(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.waiting.Front(); e != nil; e = e.Next() {
		if c, ok := e.Value.(*conn); ok && !c.begun {
			_ = c.SetReadDeadline(until) // one that is closed has no need of it
		}
	}
}

// hearOut waits until the header of a request is there of every connection, for
// lastWords at most.
func (p *pool) hearOut(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	look := time.NewTicker(lastWords / 50)
	defer look.Stop()
	for p.silent() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// silent returns of how many connections no header is there.
func (p *pool) silent() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for e := p.waiting.Front(); e != nil; e = e.Next() {
		if c, ok := e.Value.(*conn); ok && !c.begun {
			n++
		}
	}
	return n
}

// poolCounts are the numbers of a pool.
type poolCounts struct {
	open, most      int
	opened, dropped uint64
}

func (p *pool) counts() poolCounts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return poolCounts{open: p.open, most: p.most, opened: p.opened, dropped: p.dropped}
}

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// connOf returns the connection of a request; nil if it came through no pool. The
// methods do nothing then.
func connOf(ctx context.Context) *conn {
	c, _ := ctx.Value(connKey{}).(*conn)
	return c
}
