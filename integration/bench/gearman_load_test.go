//go:build bench

package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"procops/integration/harness"
	"procops/internal/gearman/wire"
)

// The load that all servers get: see the issue for the numbers.
const (
	loadConnections  = 4
	loadWorkload     = 100 // bytes
	loadInFlight     = 64  // pipelined
	loadFunction     = "load"
	loadReadBuffer   = 64 << 10
	loadPatience     = 2 * time.Minute
	loadPacketHeader = 12
)

// link is a connection that speaks the raw protocol, the same for every server. It
// reads many packets with one system call and writes many with one.
type link struct {
	tb         testing.TB
	net        net.Conn
	in         []byte
	begin, end int
}

func dialLink(tb testing.TB, port int) *link {
	tb.Helper()
	conn, err := net.Dial("tcp", harness.Loopback(port)) //nolint:noctx // loopback
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(loadPatience)); err != nil {
		tb.Fatal(err)
	}
	return &link{tb: tb, net: conn, in: make([]byte, loadReadBuffer)}
}

func (l *link) write(data []byte) error {
	_, err := l.net.Write(data)
	return err
}

// next returns the type and the body of the next packet, reading if it has to.
func (l *link) next() (wire.Type, []byte, error) {
	for {
		if t, body, ok := l.buffered(); ok {
			return t, body, nil
		}
		if err := l.fill(); err != nil {
			return 0, nil, err
		}
	}
}

// buffered returns the next packet if it was read already.
func (l *link) buffered() (wire.Type, []byte, bool) {
	have := l.in[l.begin:l.end]
	if len(have) < loadPacketHeader {
		return 0, nil, false
	}
	size := loadPacketHeader + int(binary.BigEndian.Uint32(have[8:]))
	if size > len(have) {
		return 0, nil, false
	}
	l.begin += size
	return wire.Type(binary.BigEndian.Uint32(have[4:])), have[loadPacketHeader:size], true
}

func (l *link) fill() error {
	l.end = copy(l.in, l.in[l.begin:l.end])
	l.begin = 0
	n, err := l.net.Read(l.in[l.end:])
	l.end += n
	if n > 0 {
		return nil
	}
	return err
}

func packet(t wire.Type, args ...string) []byte {
	p, err := wire.Append(nil, wire.Request, t, args...)
	if err != nil {
		panic(err)
	}
	return p
}

// each runs work on n connections at once and returns how long all together take.
func each(tb testing.TB, port, n int, work func(i int, l *link) error) time.Duration {
	tb.Helper()
	links := make([]*link, n)
	for i := range links {
		links[i] = dialLink(tb, port)
	}
	var (
		all   sync.WaitGroup
		begin = time.Now()
	)
	for i, l := range links {
		all.Go(func() {
			if err := work(i, l); err != nil {
				tb.Errorf("connection %d: %v", i, err)
			}
		})
	}
	all.Wait()
	took := time.Since(begin)
	for _, l := range links {
		_ = l.net.Close()
	}
	return took
}

func rate(n int, took time.Duration) float64 { return float64(n) / took.Seconds() }

// submitLoad submits n jobs in the background, with at most window of each
// connection on their way, and returns the jobs accepted in a second.
func submitLoad(tb testing.TB, port, n, window int) float64 {
	tb.Helper()
	one := packet(wire.SubmitJobBg, loadFunction, "", string(bytes.Repeat([]byte("w"), loadWorkload)))
	many := bytes.Repeat(one, window)
	share := n / loadConnections
	return rate(share*loadConnections, each(tb, port, loadConnections, func(_ int, l *link) error {
		sent := min(share, window)
		if err := l.write(many[:sent*len(one)]); err != nil {
			return err
		}
		for created := 0; created < share; {
			t, _, err := l.next()
			come := 0
			for ok := err == nil; ok; t, _, ok = l.buffered() {
				if t != wire.JobCreated {
					return fmt.Errorf("%s", t)
				}
				come++
			}
			if err != nil {
				return err
			}
			created += come
			more := min(come, share-sent)
			sent += more
			if more > 0 {
				if err := l.write(many[:more*len(one)]); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// handleOf returns the handle of an assigned job.
func handleOf(body []byte) []byte {
	handle, _, _ := bytes.Cut(body, []byte{0})
	return handle
}

// loadWorker does jobs until each returns false for its answer to a question for a
// job when there is none.
func loadWorker(l *link, none func(sleep []byte) (goOn bool, err error)) (done int, err error) {
	grab, sleep := packet(wire.GrabJobUniq), packet(wire.PreSleep)
	if err := l.write(append(packet(wire.CanDo, loadFunction), grab...)); err != nil {
		return 0, err
	}
	var out []byte
	for {
		t, body, err := l.next()
		if err != nil {
			return done, err
		}
		switch t {
		case wire.JobAssignUniq:
			done++
			handle := handleOf(body)
			out = wire.AppendHeader(out[:0], wire.Request, wire.WorkComplete, len(handle)+1+loadWorkload)
			out = append(append(out, handle...), 0)
			out = append(out, body[len(body)-loadWorkload:]...)
			err = l.write(append(out, grab...))
		case wire.Noop:
			err = l.write(grab)
		case wire.NoJob:
			goOn, err := none(sleep)
			if !goOn || err != nil {
				return done, err
			}
		default:
			err = fmt.Errorf("%s", t)
		}
		if err != nil {
			return done, err
		}
	}
}

// drainLoad has workers do all jobs that are queued, n of them, and returns how many
// they do in a second.
func drainLoad(tb testing.TB, port, n int) float64 {
	tb.Helper()
	var counts [loadConnections]int
	took := each(tb, port, loadConnections, func(i int, l *link) (err error) {
		counts[i], err = loadWorker(l, func([]byte) (bool, error) { return false, nil })
		return err
	})
	total := 0
	for _, count := range counts {
		total += count
	}
	if total != n {
		tb.Errorf("%d jobs were done, want %d", total, n)
	}
	return rate(total, took)
}

// foregroundLoad has clients wait for n jobs, with at most window of each on their
// way, which workers do, and returns how many are done in a second.
func foregroundLoad(tb testing.TB, port, n, window int) float64 {
	tb.Helper()
	var workers sync.WaitGroup
	links := make([]*link, loadConnections)
	for i := range links {
		links[i] = dialLink(tb, port)
		workers.Go(func() {
			_, err := loadWorker(links[i], func(sleep []byte) (bool, error) { return true, links[i].write(sleep) })
			if err != nil && !errors.Is(err, io.EOF) && !isClosed(err) {
				tb.Errorf("worker %d: %v", i, err)
			}
		})
	}
	got := awaitLoad(tb, port, n, window)
	for _, l := range links {
		_ = l.net.Close()
	}
	workers.Wait()
	return got
}

// awaitLoad has clients wait for n jobs, which somebody does, with at most window of each on
// their way, and returns how many are done in a second.
func awaitLoad(tb testing.TB, port, n, window int) float64 {
	tb.Helper()
	one := packet(wire.SubmitJob, loadFunction, "", string(bytes.Repeat([]byte("w"), loadWorkload)))
	many := bytes.Repeat(one, window)
	share := n / loadConnections
	return rate(share*loadConnections, each(tb, port, loadConnections, func(_ int, l *link) error {
		sent := min(share, window)
		if err := l.write(many[:sent*len(one)]); err != nil {
			return err
		}
		for done := 0; done < share; {
			t, _, err := l.next()
			come := 0
			for ok := err == nil; ok; t, _, ok = l.buffered() {
				switch t {
				case wire.JobCreated:
				case wire.WorkComplete:
					come++
				default:
					return fmt.Errorf("%s", t)
				}
			}
			if err != nil {
				return err
			}
			done += come
			more := min(come, share-sent)
			sent += more
			if more > 0 {
				if err := l.write(many[:more*len(one)]); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}
