package bench

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"time"

	"procops/internal/gearman/wire"
)

// client submits jobs, some at a time.
type client struct {
	*link
	ends      wire.Type            // what ends a job for it
	window    int                  // how many are on their way
	one       []byte               // the packet of a job
	many      []byte               // of as many as may be on their way
	sent      []time.Time          // of those whose handle is not known, the oldest first
	handles   map[string]time.Time // of those that are waited for
	latencies []time.Duration
}

func (b *bench) client(l *link, t, ends wire.Type) *client {
	one := packet(t, b.function, "", strings.Repeat("w", b.opt.Size))
	return &client{
		link: l, ends: ends, window: b.opt.InFlight, one: one, many: bytes.Repeat(one, min(b.opt.InFlight, max(1, maxBatch/len(one)))),
		handles: map[string]time.Time{},
	}
}

// maxBatch is about how much of many jobs is written with one system call, in bytes.
const maxBatch = 256 << 10

// send submits n jobs.
func (c *client) send(n int) error {
	for n > 0 {
		some := min(n, len(c.many)/len(c.one))
		now := time.Now()
		for range some {
			c.sent = append(c.sent, now)
		}
		if err := c.write(c.many[:some*len(c.one)]); err != nil {
			return err
		}
		n -= some
	}
	return nil
}

// run submits share jobs and returns when all have ended.
func (c *client) run(share int) error {
	left := share - min(share, c.window)
	if err := c.send(share - left); err != nil {
		return err
	}
	for done := 0; done < share; {
		come, err := c.take()
		if err != nil {
			return err
		}
		done += come
		some := min(come, left)
		left -= some
		if err := c.send(some); err != nil {
			return err
		}
	}
	return nil
}

// take takes what has come, at least a packet, and returns how many jobs have ended.
func (c *client) take() (ended int, err error) {
	p, err := c.next()
	if err != nil {
		return 0, err
	}
	now := time.Now()
	for {
		switch {
		case p.Type == wire.JobCreated && c.ends == wire.JobCreated:
			c.latencies = append(c.latencies, now.Sub(c.sent[0]))
			c.sent = c.sent[1:]
			ended++
		case p.Type == wire.JobCreated && len(c.sent) > 0:
			c.handles[string(p.Raw())] = c.sent[0]
			c.sent = c.sent[1:]
		case p.Type == wire.WorkComplete && c.ends == wire.WorkComplete:
			handle := string(p.Arg(0))
			c.latencies = append(c.latencies, now.Sub(c.handles[handle]))
			delete(c.handles, handle)
			ended++
		default:
			return ended, c.strange(p)
		}
		if !c.more() {
			return ended, nil
		}
		if p, err = c.next(); err != nil {
			return ended, err
		}
	}
}

// each runs do on n connections at once, and returns how long all together take and the
// first error, which ends the others.
func (b *bench) each(ctx context.Context, n int, do func(i int, l *link) error) (time.Duration, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	links := make([]*link, 0, n)
	defer func() {
		for _, l := range links {
			l.close()
		}
	}()
	for range n {
		l, err := b.dial(ctx)
		if err != nil {
			return 0, err
		}
		links = append(links, l)
	}
	var (
		all   sync.WaitGroup
		begin = time.Now()
	)
	for i, l := range links {
		all.Go(func() {
			if err := do(i, l); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	took := time.Since(begin)
	return took, context.Cause(ctx)
}
