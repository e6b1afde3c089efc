package server

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"procops/internal/gearman"
	"procops/internal/gearman/wire"
	"procops/internal/unit"
)

// TestSplit has a conversation split at every byte, on a connection that can only
// be waited for and on one of TCP.
func TestSplit(t *testing.T) {
	stream := slices.Concat(
		[]byte("version\r\n"),
		encode(t, wire.CanDo, "f"),
		encode(t, wire.SubmitJob, "f", "key", "work\x00\x00"),
		[]byte("maxqueue f 10\n"),
		encode(t, wire.GrabJobUniq),
		encode(t, wire.WorkComplete, "H:test:0", "result\x00"),
		encode(t, wire.PreSleep),
		encode(t, wire.WorkFail, "nonsense"),
		encode(t, wire.EchoReq, "end"),
	)
	number := regexp.MustCompile(`test:\d+`)
	want := slices.Concat(
		[]byte("OK 1.1.20\n"),
		encodeAnswer(t, wire.JobCreated, "H:test:1234567890123456"),
		[]byte(textOK),
		encodeAnswer(t, wire.JobAssignUniq, "H:test:1234567890123456", "f", "key", "work\x00\x00"),
		encodeAnswer(t, wire.Error, "JOB_NOT_FOUND", "Job given in work result not found"),
		encodeAnswer(t, wire.Error, "JOB_NOT_FOUND", "Job given in work result not found"),
		encodeAnswer(t, wire.EchoRes, "end"),
	)
	want = number.ReplaceAll(want, []byte("test:N"))
	r := start(t, nil, nil)
	for cut := range stream {
		pipe, far := net.Pipe()
		r.server.admit(far)
		for name, p := range map[string]*peer{"pipe": newPeer(t, pipe), "TCP": r.dial()} { // one after the other
			go func() {
				_, _ = p.net.Write(stream[:cut])
				_, _ = p.net.Write(stream[cut:])
			}()
			got := p.raw(encodeAnswer(t, wire.EchoRes, "end"))
			if got := number.ReplaceAll(got, []byte("test:N")); !bytes.Equal(got, want) {
				t.Fatalf("%s, cut at %d: %q, want %q", name, cut, got, want)
			}
			check(t, p.net.Close())
			r.eventually("status", "f\t1\t0\t0\n.\n") // it goes when the next worker would get it
		}
	}
}

// raw reads up to these bytes.
func (p *peer) raw(end []byte) (got []byte) {
	p.t.Helper()
	for buf := make([]byte, 64<<10); !bytes.HasSuffix(got, end); {
		n, err := p.net.Read(buf)
		if err != nil {
			p.t.Fatalf("%v after %q", err, got)
		}
		got = append(got, buf[:n]...)
	}
	return got
}

// TestLarge has a workload and a result of 64 MB come through as they are.
func TestLarge(t *testing.T) {
	const size = 64 << 20
	workload := strings.Repeat("0123456789abcde\x00", size/16)
	r := start(t, openStore(t, t.TempDir()), nil)
	client, worker, late := r.dial(), r.dial(), r.dial()
	for _, p := range []*peer{client, worker, late} {
		check(t, p.net.SetDeadline(time.Now().Add(4*patience)))
	}
	worker.send(wire.CanDo, "f")
	handle := client.submit(wire.SubmitJob, "f", "key", workload)
	if got := late.submit(wire.SubmitJob, "f", "key", "other"); got != handle {
		t.Errorf("the second client got %s, want %s", got, handle)
	}
	if got := worker.grab(); got != handle+"|f|key|"+workload {
		t.Errorf("the worker got %d bytes: %.100q", len(got), got)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		worker.send(wire.WorkComplete, handle, workload[1:])
	}()
	for _, p := range []*peer{client, late} {
		p.want("WORK_COMPLETE " + handle + "|" + workload[1:])
	}
	<-sent
	background := client.submit(wire.SubmitJobBg, "f", "", workload)
	if got := worker.grab(); got != background+"|f||"+workload {
		t.Errorf("the worker got %d bytes: %.100q", len(got), got)
	}
	worker.send(wire.WorkComplete, background, "")
	go worker.send(wire.EchoReq, workload[:1<<20])
	worker.want("ECHO_RES " + workload[:1<<20])
	r.eventually("status", "f\t0\t0\t1\n.\n")
	if m := r.server.Stats().Memory; m != 0 {
		t.Errorf("%d bytes are in use by no job", m)
	}
}

// TestNobodySleepsBesideWork hammers the moment between NO_JOB and PRE_SLEEP.
func TestNobodySleepsBesideWork(t *testing.T) {
	const workers, clients, jobs = 8, 4, 1500
	for _, wakeup := range []int{0, 1} {
		r := start(t, nil, func(c *gearman.ServerConfig) { c.WorkerWakeup = wakeup })
		var all sync.WaitGroup
		for range workers {
			w := r.dial()
			w.send(wire.CanDo, "f")
			go w.work()
		}
		for range clients {
			c := r.dial()
			all.Go(func() {
				for i := range jobs {
					c.send(wire.SubmitJob, "f", "", fmt.Sprint(i))
					created, done := c.hear(), c.hear()
					handle := strings.TrimPrefix(created, "JOB_CREATED ")
					if want := fmt.Sprintf("WORK_COMPLETE %s|%d", handle, i); done != want {
						t.Errorf("%s, want %s", done, want)
						return
					}
				}
			})
		}
		all.Wait()
		r.wantAdmin("status", fmt.Sprintf("f\t0\t0\t%d\n.\n", workers))
		r.end()
	}
}

// work does jobs until the connection ends: its result is the workload.
func (p *peer) work() {
	grab, _ := wire.Append(nil, wire.Request, wire.GrabJob)
	sleep, _ := wire.Append(nil, wire.Request, wire.PreSleep)
	for out := grab; ; {
		if _, err := p.net.Write(out); err != nil {
			return
		}
		packet, err := p.reader.Next()
		if err != nil {
			return
		}
		switch packet.Type {
		case wire.JobAssign:
			out, _ = wire.Append(nil, wire.Request, wire.WorkComplete, string(packet.Arg(0)), string(packet.Raw()))
			out = append(out, grab...)
		case wire.NoJob:
			out = sleep
		default:
			out = grab
		}
	}
}

// TestWokenWorkerLeaves has the only worker that was woken leave, or never ask: the
// job goes to another that sleeps.
func TestWokenWorkerLeaves(t *testing.T) {
	for name, then := range map[string]func(*peer){
		"leaves":    func(p *peer) { _ = p.net.Close() },
		"forgets":   func(p *peer) { p.send(wire.CantDo, "f") },
		"is silent": func(*peer) {},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, nil, nil)
			first, second, client := r.dial(), r.dial(), r.dial()
			for _, w := range []*peer{first, second} {
				w.send(wire.CanDo, "f")
				w.send(wire.PreSleep)
				w.quiet()
			}
			client.submit(wire.SubmitJobBg, "f", "", "work")
			first.want("NOOP")
			then(first)
			second.want("NOOP")
			if got := second.do(); got != "work" {
				t.Errorf("it got %q", got)
			}
		})
	}
}

// TestSleeperLearns has a worker that sleeps learn a function that has work. gearmand
// lets it sleep on.
func TestSleeperLearns(t *testing.T) {
	r := start(t, nil, nil)
	client, worker := r.dial(), r.dial()
	client.submit(wire.SubmitJobBg, "f", "", "work")
	worker.ask(wire.PreSleep, nil)
	worker.send(wire.CanDo, "f")
	worker.want("NOOP")
	if got := worker.do(); got != "work" {
		t.Errorf("got %q", got)
	}
}

// TestTimeLimit has a worker take too long: the job goes to the next, and the late
// result is refused.
func TestTimeLimit(t *testing.T) {
	r := start(t, nil, func(c *gearman.ServerConfig) { c.JobRetries = 2 })
	client, slow, next := r.dial(), r.dial(), r.dial()
	slow.send(wire.CanDoTimeout, "f", "50")
	handle := client.submit(wire.SubmitJob, "f", "key", "work")
	slow.grab()
	next.send(wire.CanDoTimeout, "f", "50")
	next.send(wire.PreSleep)
	next.want("NOOP")
	if got := next.grab(); got != handle+"|f|key|work" {
		t.Errorf("the next worker got %q", got)
	}
	slow.ask(wire.WorkComplete, []string{handle, "late"}, "ERROR JOB_NOT_FOUND|Job given in work result not found")
	client.want("WORK_FAIL " + handle) // the next one is too slow as well
	next.ask(wire.WorkComplete, []string{handle, "late"}, "ERROR JOB_NOT_FOUND|Job given in work result not found")
	r.wantAdmin("status", "f\t0\t0\t2\n.\n")
	if got := r.server.Stats(); got.Timeouts != 2 || got.Functions[0].Failed != 1 || got.Functions[0].Retried != 1 {
		t.Errorf("%+v", got)
	}
}

// TestBackgroundKeepsJob has a job that a client and nobody, in the background, want:
// it survives the client, in both orders.
func TestBackgroundKeepsJob(t *testing.T) {
	for _, order := range [][]wire.Type{{wire.SubmitJob, wire.SubmitJobBg}, {wire.SubmitJobBg, wire.SubmitJob}} {
		for _, running := range []bool{false, true} {
			dir := t.TempDir()
			r := start(t, openStore(t, dir), nil)
			client, other, worker := r.dial(), r.dial(), r.dial()
			worker.send(wire.CanDo, "f")
			var handles []string
			for i, typ := range order {
				from := client
				if typ == wire.SubmitJobBg {
					from = other
				}
				handles = append(handles, from.submit(typ, "f", "key", fmt.Sprint("work ", i)))
				if i == 0 && running {
					worker.grab()
				}
			}
			if handles[0] != handles[1] {
				t.Fatalf("two jobs %s", handles)
			}
			check(t, client.net.Close())
			r.eventually("workers", r.admin("workers"))
			if !running {
				worker.grab()
			}
			worker.send(wire.WorkComplete, handles[0], "done")
			worker.quiet()
			r.wantAdmin("status", "f\t0\t0\t1\n.\n")
			r.end()
			wantStored(t, dir, 0)
		}
	}
}

// TestLaterClientJoins has a client wait for a job whose client has left while it
// runs.
func TestLaterClientJoins(t *testing.T) {
	r := start(t, nil, nil)
	client, worker, later := r.dial(), r.dial(), r.dial()
	worker.send(wire.CanDo, "f")
	handle := client.submit(wire.SubmitJob, "f", "key", "work")
	worker.grab()
	check(t, client.net.Close())
	r.eventually("show jobs", handle+"\t0\t1\t0\n.\n")
	if got := later.submit(wire.SubmitJob, "f", "key", "work"); got != handle {
		t.Errorf("a job of its own: %s", got)
	}
	r.wantAdmin("show jobs", handle+"\t0\t0\t0\n.\n")
	worker.send(wire.WorkComplete, handle, "done")
	later.want("WORK_COMPLETE " + handle + "|done")
}

// TestManyFunctions has one worker with ten thousand functions, of which one has a
// job.
func TestManyFunctions(t *testing.T) {
	const count = 10_000
	r := start(t, nil, nil)
	worker, client := r.dial(), r.dial()
	for i := range count {
		worker.send(wire.CanDo, fmt.Sprintf("function-%d", i))
	}
	worker.send(wire.PreSleep)
	worker.quiet()
	client.submit(wire.SubmitJobBg, "function-77", "", "work")
	worker.want("NOOP")
	if got := worker.do(); got != "work" {
		t.Errorf("it got %q", got)
	}
	worker.quiet()
	if got := strings.Count(r.admin("status"), "\t0\t0\t1\n"); got != count {
		t.Errorf("%d functions", got)
	}
	worker.send(wire.ResetAbilities)
	worker.quiet()
	if got := strings.Count(r.admin("status"), "\t0\t0\t0\n"); got != count {
		t.Errorf("%d functions without workers", got)
	}
	client.submit(wire.SubmitJobBg, "nobody serves it", "", "work")
	if got := r.admin("status"); !strings.Contains(got, "nobody serves it\t1\t0\t0\n") {
		t.Errorf("%.200q", got)
	}
}

// TestBadPeers has connections that do not speak the protocol: they are closed, and
// others do not notice.
func TestBadPeers(t *testing.T) {
	r := start(t, nil, func(c *gearman.ServerConfig) { c.MaxPacket = unit.Size(1 << 20) })
	good := r.dial()
	for name, data := range map[string]string{
		"unknown type":      string(wire.AppendHeader(nil, wire.Request, 43, 0)),
		"type 0":            string(wire.AppendHeader(nil, wire.Request, 0, 0)),
		"bad magic":         "\x00REX\x00\x00\x00\x01\x00\x00\x00\x00",
		"too large":         string(wire.AppendHeader(nil, wire.Request, wire.EchoReq, 1<<20+1)),
		"too large, answer": string(wire.AppendHeader(nil, wire.Response, wire.EchoRes, 1<<30)),
		"endless line":      strings.Repeat("x", 2*maxLine),
	} {
		t.Run(name, func(t *testing.T) {
			bad := r.dial()
			bad.t = t
			_, err := bad.net.Write([]byte(data))
			check(t, err)
			bad.wantEnd()
			good.quiet()
		})
	}
	// Half a line, half a header and half a body end with their connection.
	for _, data := range []string{"stat", "\x00REQ\x00", string(wire.AppendHeader(nil, wire.Request, wire.EchoReq, 1<<20)) + "x"} {
		bad := r.dial()
		_, err := bad.net.Write([]byte(data))
		check(t, err)
		check(t, bad.net.Close())
	}
	bad := r.dial()
	_, err := bad.net.Write(append(wire.AppendHeader(nil, wire.Request, wire.SubmitJob, 3), "f\x00u"...))
	check(t, err)
	bad.want("ERROR INVALID_PACKET|Wrong number of arguments")
	bad.quiet()
	good.quiet()
}

// TestLimits refuses what is too much.
func TestLimits(t *testing.T) {
	r := start(t, nil, func(c *gearman.ServerConfig) { c.MaxJobs, c.MaxConnections = 2, 2 })
	client, other := r.dial(), r.dial()
	client.submit(wire.SubmitJobBg, "f", "", "1")
	other.submit(wire.SubmitJob, "g", "key", "2")
	client.ask(wire.SubmitJobBg, []string{"f", "", "3"}, "ERROR QUEUE_ERROR|Job queue is full")
	client.submit(wire.SubmitJobBg, "g", "key", "joins the second")
	third := r.dial()
	third.wantEnd()
	if got := r.server.Stats(); got.Refused != 1 || got.Open != 2 {
		t.Errorf("%+v", got)
	}
}

// TestBackPressure has a client that does not read: the server holds back with what
// it reads from the worker that sends to it.
func TestBackPressure(t *testing.T) {
	r := start(t, nil, nil)
	client, worker, good := r.dial(), r.dial(), r.dial()
	worker.send(wire.CanDo, "f")
	handle := client.submit(wire.SubmitJob, "f", "", "work")
	worker.grab()
	const part, parts = 1 << 20, 100
	data := strings.Repeat("x", part)
	sent := make(chan int, parts)
	go func() {
		defer close(sent)
		packet, _ := wire.Append(nil, wire.Request, wire.WorkData, handle, data)
		for i := range parts {
			if _, err := worker.net.Write(packet); err != nil {
				return
			}
			sent <- i
		}
	}()
	// It stands still once the buffers are full: long before all is sent.
	last := -1
	for still := false; !still; {
		select {
		case last = <-sent:
		case <-time.After(time.Second):
			still = true
		}
	}
	if last > parts/2 {
		t.Errorf("%d of %d parts were taken for a client that reads nothing", last+1, parts)
	}
	good.quiet()
	for range parts {
		client.want("WORK_DATA " + handle + "|" + data)
	}
	for range sent {
	}
}

// TestSlowReaderIsLeft has a client that reads nothing at all: it does not hold up
// its worker for ever.
func TestSlowReaderIsLeft(t *testing.T) {
	r := start(t, nil, func(c *gearman.ServerConfig) { c.WriteTimeout = unit.Duration(100 * time.Millisecond) })
	client, worker := r.dial(), r.dial()
	worker.send(wire.CanDo, "f")
	handle := client.submit(wire.SubmitJob, "f", "", "work")
	worker.grab()
	data := strings.Repeat("x", 1<<20)
	for range 40 {
		worker.send(wire.WorkData, handle, data)
	}
	worker.send(wire.WorkComplete, handle, "")
	worker.quiet()
	r.eventually("status", "f\t0\t0\t1\n.\n")
}

// TestMemory has clients that submit wait while the memory for jobs is used up.
func TestMemory(t *testing.T) {
	r := start(t, nil, func(c *gearman.ServerConfig) { c.MaxMemory = 1 << 20 })
	client, worker := r.dial(), r.dial()
	worker.send(wire.CanDo, "f")
	worker.quiet()
	const jobs = 40
	workload := strings.Repeat("x", 100<<10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range jobs {
			client.send(wire.SubmitJobBg, "f", "", workload)
		}
	}()
	for range jobs {
		for {
			worker.send(wire.GrabJobUniq)
			got := worker.hear()
			if r.server.Stats().Memory > 1<<20 {
				t.Fatalf("%d bytes are in use", r.server.Stats().Memory)
			}
			if job, ok := strings.CutPrefix(got, "JOB_ASSIGN_UNIQ "); ok {
				handle, _, _ := strings.Cut(job, "|")
				worker.send(wire.WorkComplete, handle, "")
				break
			}
		}
	}
	<-done
}

// TestStopLetsJobsEnd stops a server: no job begins any more, and one that runs may
// end.
func TestStopLetsJobsEnd(t *testing.T) {
	r := start(t, nil, nil)
	client, worker, idle := r.dial(), r.dial(), r.dial()
	for _, w := range []*peer{worker, idle} {
		w.send(wire.CanDo, "f")
	}
	handle := client.submit(wire.SubmitJob, "f", "", "work")
	worker.grab()
	client.submit(wire.SubmitJob, "f", "", "not any more")
	r.stop()
	for stopping := false; !stopping; {
		r.server.mu.Lock()
		stopping = r.server.stopping
		r.server.mu.Unlock()
	}
	idle.ask(wire.GrabJob, nil, "NO_JOB")
	idle.ask(wire.SubmitJob, []string{"f", "", "x"}, "ERROR QUEUE_ERROR|Server is shutting down")
	worker.send(wire.WorkComplete, handle, "done")
	client.want("WORK_COMPLETE " + handle + "|done")
	for _, p := range []*peer{client, worker, idle} {
		p.wantEnd()
	}
	r.end()
}

// TestUnixSocket has an operator on a unix socket stop the server, which others
// cannot.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gearman.sock")
	cfg := testConfig()
	cfg.Listen = []gearman.Address{gearman.Address(path)}
	listeners, err := Listen(t.Context(), cfg)
	check(t, err)
	info, err := os.Stat(path)
	check(t, err)
	if info.Mode().Perm() != socketMode {
		t.Errorf("mode %s", info.Mode())
	}
	if _, err := Listen(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "somebody does already") {
		t.Errorf("listened twice: %v", err)
	}
	tcp := start(t, nil, nil)
	tcp.wantAdmin("shutdown", "ERR UNKNOWN_COMMAND Unknown+server+commandshutdown\r\n")
	r := startOn(t, nil, nil, listeners[0])
	p := r.dial()
	p.submit(wire.SubmitJobBg, "f", "", "work")
	r.wantAdmin("status", "f\t1\t0\t0\n.\n")
	r.wantAdmin("shutdown", textOK)
	p.wantEnd()
	r.end()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}
