package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/integration/harness"
	"procops/internal/gearman/wire"
)

// The size of the ledger test.
const (
	ledgerJobs    = 20_000
	ledgerKills   = 100
	ledgerPeers   = 4 // clients, and as many workers
	ledgerWindow  = 16
	ledgerPatient = 4 * harness.Patience
)

// ledger is what an outsider knows of the jobs. A submission of which nobody knows
// whether it was accepted is made again under another name.
type ledger struct {
	mu       sync.Mutex
	changed  *sync.Cond
	accepted map[string]bool
	runs     map[string]int
	excused  map[string]int // how often it was with a worker when the server was killed
	failed   []string
}

func newLedger() *ledger {
	l := &ledger{accepted: map[string]bool{}, runs: map[string]int{}, excused: map[string]int{}}
	l.changed = sync.NewCond(&l.mu)
	return l
}

func (l *ledger) note(what func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	what()
	l.changed.Broadcast()
}

// await waits until done says so.
func (l *ledger) await(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.AfterFunc(ledgerPatient, func() { l.note(func() {}) })
	defer deadline.Stop()
	until := time.Now().Add(ledgerPatient)
	l.mu.Lock()
	defer l.mu.Unlock()
	for !done() {
		if time.Now().After(until) {
			t.Fatalf("waited %s in vain: %s; %d accepted, %d run", ledgerPatient, what, len(l.accepted), len(l.runs))
		}
		l.changed.Wait()
	}
}

// lasting is a peer that connects again when the server has gone.
type lasting struct {
	port   int
	conn   net.Conn
	reader *wire.Reader
}

// connect connects to the server, or fails once ctx has ended.
func (p *lasting) connect(ctx context.Context) error {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", harness.Loopback(p.port))
		if err == nil {
			p.conn, p.reader = conn, wire.NewReader(conn, wire.Response, 0)
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
}

func request(typ wire.Type, args ...string) []byte {
	packet, err := wire.Append(nil, wire.Request, typ, args...)
	if err != nil {
		panic(err) // the arguments are those of this test
	}
	return packet
}

// client submits its share of the jobs.
func (l *ledger) client(ctx context.Context, port, number int) {
	p := &lasting{port: port}
	types := []wire.Type{wire.SubmitJobBg, wire.SubmitJobHighBg, wire.SubmitJobLowBg, wire.SubmitJobEpoch}
	for next, attempt := 0, 0; next < ledgerJobs/ledgerPeers; attempt++ {
		if p.connect(ctx) != nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() })
		for next < ledgerJobs/ledgerPeers {
			var (
				names []string
				out   []byte
			)
			for i := range min(ledgerWindow, ledgerJobs/ledgerPeers-next) {
				name := fmt.Sprintf("job %d.%d.%d", number, next+i, attempt)
				names = append(names, name)
				switch typ := types[rand.IntN(len(types))]; typ {
				case wire.SubmitJobEpoch:
					out = append(out, request(typ, "f", "key of "+name, strconv.FormatInt(time.Now().Unix(), 10), name)...)
				default:
					out = append(out, request(typ, "f", "key of "+name, name)...)
				}
			}
			if _, err := p.conn.Write(out); err != nil {
				break
			}
			come := 0
			for come < len(names) {
				packet, err := p.reader.Next()
				if err != nil {
					break
				}
				if packet.Type != wire.JobCreated {
					l.note(func() { l.failed = append(l.failed, "a submission is answered by "+packet.Type.String()) })
				}
				come++
			}
			l.note(func() {
				for _, name := range names[:come] {
					l.accepted[name] = true
				}
			})
			next += come
			if come < len(names) {
				break
			}
		}
		stop()
		_ = p.conn.Close()
	}
}

// worker does jobs until ctx ends.
func (l *ledger) worker(ctx context.Context, port int) {
	p := &lasting{port: port}
	for p.connect(ctx) == nil {
		stop := context.AfterFunc(ctx, func() { _ = p.conn.Close() })
		out, held := append(request(wire.CanDo, "f"), request(wire.GrabJobUniq)...), ""
		for {
			if _, err := p.conn.Write(out); err != nil {
				break
			}
			packet, err := p.reader.Next()
			if err != nil {
				break
			}
			held = "" // the server has understood what was said of it
			switch packet.Type {
			case wire.JobAssignUniq:
				held = string(packet.Raw())
				if want := "key of " + held; string(packet.Arg(2)) != want {
					l.note(func() { l.failed = append(l.failed, fmt.Sprintf("%q came with the key %q", held, packet.Arg(2))) })
				}
				l.note(func() { l.runs[held]++ })
				out = append(request(wire.WorkComplete, string(packet.Arg(0)), ""), request(wire.GrabJobUniq)...)
			case wire.NoJob:
				out = request(wire.PreSleep)
			default:
				out = request(wire.GrabJobUniq)
			}
		}
		if held != "" {
			l.note(func() { l.excused[held]++ })
		}
		stop()
		_ = p.conn.Close()
	}
}

// TestGearmanLedger submits background jobs while the server is killed again and
// again. What was accepted runs, and nothing runs twice but what was with a worker
// when the server was killed.
func TestGearmanLedger(t *testing.T) {
	t.Parallel()
	s := harness.New(t)
	port := harness.FreePort(t)
	s.Config("[worker.server]\nmemory = \"64K\"\n") // many wait on disk only
	startServer := func() *harness.Process {
		p := s.Start("worker", "server", "--listen", harness.Loopback(port))
		p.WaitLine("^listening on ")
		return p
	}
	l := newLedger()
	clients, stopClients := context.WithCancel(t.Context())
	defer stopClients()
	workers, stopWorkers := context.WithCancel(t.Context())
	defer stopWorkers()
	var submitting, working sync.WaitGroup
	for i := range ledgerPeers {
		submitting.Go(func() { l.client(clients, port, i) })
		working.Go(func() { l.worker(workers, port) })
	}
	for kill := range ledgerKills {
		server := startServer()
		// Some time within the next part of the jobs.
		goal := (kill*ledgerJobs + rand.IntN(ledgerJobs)) / ledgerKills
		l.await(t, "jobs to be accepted", func() bool { return len(l.accepted) >= goal })
		server.SignalGroup(syscall.SIGKILL)
		server.WantExit(128 + int(syscall.SIGKILL))
	}
	server := startServer()
	l.await(t, "all jobs to be accepted", func() bool { return len(l.accepted) >= ledgerJobs })
	submitting.Wait()
	l.await(t, "all jobs to run", func() bool {
		for name := range l.accepted {
			if l.runs[name] == 0 {
				return false
			}
		}
		return true
	})
	stopWorkers()
	working.Wait()
	server.Signal(syscall.SIGTERM)
	server.WantExit(0)

	for _, problem := range l.failed {
		t.Error(problem)
	}
	again := 0
	for name, runs := range l.runs {
		if runs > 1 {
			again++
		}
		if runs > 1+l.excused[name] {
			t.Errorf("%s ran %d times, %d times it was with a worker at a kill", name, runs, l.excused[name])
		}
	}
	t.Logf("%d accepted, %d run, %d of them more than once", len(l.accepted), len(l.runs), again)
}
