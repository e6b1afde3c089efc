package worker

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"procops/internal/event"
	"procops/internal/gearman"
	"procops/internal/gearman/wire"
	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/runner"
	"procops/internal/unit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deadline bounds every wait of these tests.
const deadline = 30 * time.Second

// world is a worker, and a server that a test plays.
type world struct {
	t        *testing.T
	listener net.Listener
	bus      *event.Bus
	worker   *Worker
	cancel   context.CancelFunc
	hurry    chan struct{}
	done     chan struct{}
	report   Report
	err      error

	mu    sync.Mutex
	heard []event.Event
}

// start starts a worker for the functions of a config.
func start(t *testing.T, cfg gearman.Config) *world {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, err := proc.NewHost(proc.HostOptions{Subreaper: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, listener: l, bus: event.NewBus("test"), hurry: make(chan struct{}), done: make(chan struct{})}
	w.bus.Subscribe("worker.*", func(e event.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.heard = append(w.heard, e)
	})
	cfg.Servers = []gearman.Address{gearman.Address(l.Addr().String())}
	if cfg.StopGrace == 0 {
		cfg.StopGrace = unit.Duration(deadline)
	}
	cfg.Backoff = launch.Backoff{Initial: unit.Duration(time.Millisecond), Factor: 1, Max: unit.Duration(time.Millisecond)}
	for name, f := range cfg.Functions {
		if f.Stop.Grace == 0 {
			f.Stop = launch.Stop{Signal: 15, Grace: unit.Duration(deadline)}
		}
		cfg.Functions[name] = f
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.worker = New(cfg, Deps{Host: host, Bus: w.bus, Log: zerolog.Nop(), LogLevel: "info", Hurry: w.hurry})
	go func() {
		defer close(w.done)
		w.report, w.err = w.worker.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		w.wait()
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// wait waits for the end of the worker.
func (w *world) wait() Report {
	w.t.Helper()
	select {
	case <-w.done:
	case <-time.After(deadline):
		w.t.Fatal("the worker does not end")
	}
	if w.err != nil {
		w.t.Error(w.err)
	}
	return w.report
}

// types returns the types of the events so far.
func (w *world) types() (types []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.heard {
		types = append(types, strings.TrimPrefix(e.Type, "worker."))
	}
	return types
}

// last returns the data of the newest event of a job that has ended.
func (w *world) last() (d resultData) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.heard {
		if r, ok := e.Data.(resultData); ok {
			d = r
		}
	}
	return d
}

// peer is the server's end of a connection.
type peer struct {
	net.Conn
	t      *testing.T
	reader *wire.Reader
}

// accept waits for a connection of the worker, and hears what it can do.
func (w *world) accept(functions ...string) *peer {
	w.t.Helper()
	conn, err := w.listener.Accept()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(deadline)); err != nil {
		w.t.Fatal(err)
	}
	p := &peer{conn, w.t, wire.NewReader(conn, wire.Request, 0)}
	p.want(wire.SetClientID)
	for _, f := range functions {
		p.want(wire.CanDo, f)
	}
	return p
}

// want waits for a packet with these arguments.
func (p *peer) want(typ wire.Type, args ...string) string {
	p.t.Helper()
	packet, err := p.reader.Next()
	if err != nil {
		p.t.Fatalf("the server gets %v, wants %s", err, typ)
	}
	data, err := packet.Data()
	if err != nil {
		p.t.Fatal(err)
	}
	var got []string
	for i := range max(0, packet.Type.Args()-1) {
		got = append(got, string(packet.Arg(i)))
	}
	if packet.Type.Args() > 0 {
		got = append(got, string(data))
	}
	if packet.Type != typ || args != nil && !slices.Equal(got, args) {
		p.t.Fatalf("the server gets %s %q, wants %s %q", packet.Type, got, typ, args)
	}
	return string(data)
}

func (p *peer) say(typ wire.Type, args ...string) {
	p.t.Helper()
	packet, err := wire.Append(nil, wire.Response, typ, args...)
	if err == nil {
		_, err = p.Write(packet)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

// give answers a grab with a job.
func (p *peer) give(handle, function, workload string) {
	p.t.Helper()
	p.want(wire.GrabJobAll)
	p.say(wire.JobAssignUniq, handle, function, "key", workload)
}

// sleep answers a grab with nothing.
func (p *peer) sleep() {
	p.t.Helper()
	p.want(wire.GrabJobAll)
	p.say(wire.NoJob)
	p.want(wire.PreSleep)
}

// shell is a function that a shell does.
func shell(script string) gearman.Function {
	return gearman.Function{Command: proc.Command{"/bin/sh", "-c", script}}
}

func one(f gearman.Function) gearman.Config {
	return gearman.Config{Functions: map[string]gearman.Function{"f": f}}
}

// TestEventsInOrder asserts the order that the documentation promises.
func TestEventsInOrder(t *testing.T) {
	w := start(t, one(shell(`[ "$(cat)" = good ]`)))
	p := w.accept("f")
	p.give("H:1", "f", "good")
	p.want(wire.WorkComplete, "H:1", "")
	p.give("H:2", "f", "bad")
	p.want(wire.WorkFail, "H:2")
	p.sleep()
	p.say(wire.Noop)
	p.sleep()
	w.cancel()
	if r := w.wait(); r.Jobs != 2 || r.Failed != 1 || r.Reason != "it was told to end" {
		t.Errorf("%+v", r)
	}
	want := []string{
		"before_run", "server.connect", "server.connected", "functions.before_register", "functions.after_register",
		"function.before_execute", "function.after_execute", "work",
		"function.before_execute", "function.failed", "work",
		"no_jobs", "io_wait", "no_jobs", "io_wait", "after_run", "before_destroy",
	}
	if got := w.types(); !slices.Equal(got, want) {
		t.Errorf("events\n%q\nwant\n%q", got, want)
	}
}

// TestOutcomes has jobs end in each way.
func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct {
		f    gearman.Function
		want func(p *peer)
	}{
		"success": {shell("cat"), func(p *peer) { p.want(wire.WorkComplete, "H:1", "in\x00put") }},
		"success with words": {shell("echo hm >&2"), func(p *peer) {
			p.want(wire.WorkWarning, "H:1", "hm\n")
			p.want(wire.WorkComplete, "H:1", "")
		}},
		"warning": {shell("cat; exit 2"), func(p *peer) {
			p.want(wire.WorkWarning, "H:1", "exit code 2 (warning)")
			p.want(wire.WorkComplete, "H:1", "in\x00put")
		}},
		"failure":            {shell("echo out; exit 3"), func(p *peer) { p.want(wire.WorkFail, "H:1") }},
		"failure with words": {shell("echo bad luck >&2; exit 3"), func(p *peer) { p.want(wire.WorkException, "H:1", "bad luck\n") }},
		"signal":             {shell("kill -9 $$"), func(p *peer) { p.want(wire.WorkFail, "H:1") }},
		"retry until it works": {
			gearman.Function{Command: shell(`[ $PROCOPS_ATTEMPT = 3 ] || exit 75; echo $PROCOPS_ATTEMPT`).Command, Retries: 2},
			func(p *peer) { p.want(wire.WorkComplete, "H:1", "3\n") },
		},
		"retry in vain": {gearman.Function{Command: shell("exit 75").Command, Retries: 1}, func(p *peer) { p.want(wire.WorkFail, "H:1") }},
		"timeout": {
			gearman.Function{Command: shell("exec sleep 60").Command, Timeout: unit.Duration(20 * time.Millisecond)},
			func(p *peer) { p.want(wire.WorkException, "H:1", "it took longer than its time limit of 20ms") },
		},
		"progress": {shell("echo 3/10 >&3"), func(p *peer) {
			p.want(wire.WorkStatus, "H:1", "3", "10")
			p.want(wire.WorkComplete, "H:1", "")
		}},
		"stream": {gearman.Function{Command: shell("echo one").Command, Stream: true}, func(p *peer) {
			p.want(wire.WorkData, "H:1", "one\n")
			p.want(wire.WorkComplete, "H:1", "")
		}},
		"what it knows": {
			shell(`echo $PROCOPS_FUNCTION $PROCOPS_JOB $PROCOPS_UNIQUE $PROCOPS_LOG_LEVEL`),
			func(p *peer) { p.want(wire.WorkComplete, "H:1", "f H:1 key info\n") },
		},
		"no such program": {gearman.Function{Command: proc.Command{"/nowhere/at/all"}}, func(p *peer) {
			if why := p.want(wire.WorkException); !strings.Contains(why, "/nowhere/at/all") {
				t.Errorf("exception %q", why)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, one(c.f))
			p := w.accept()
			p.t = t
			if c.f.Timeout > 0 {
				p.want(wire.CanDoTimeout)
			} else {
				p.want(wire.CanDo, "f")
			}
			p.give("H:1", "f", "in\x00put")
			c.want(p)
		})
	}
}

// coprocess is a function whose co-process answers each unit with the same line.
func coprocess(answer string) gearman.Function {
	f := shell(`echo '{"type":"hello","protocol":1}'; n=0; while read -r line; do n=$((n+1)); printf '{"id":"%s",` + answer + `}\n' $n; done`)
	f.Mode = runner.ModeCoprocess
	return f
}

func TestCoprocess(t *testing.T) {
	w := start(t, one(coprocess(`"type":"result","output":"out"`)))
	p := w.accept("f")
	for range 3 {
		p.give("H:1", "f", "in")
		p.want(wire.WorkComplete, "H:1", "out")
	}
	p.sleep()
}

// TestAJobEndsTheWorker: with the outcome stop the worker leaves after the job.
func TestAJobEndsTheWorker(t *testing.T) {
	w := start(t, one(coprocess(`"type":"result","outcome":"stop","output":"out"`)))
	p := w.accept("f")
	p.give("H:1", "f", "in")
	p.want(wire.WorkComplete, "H:1", "out")
	if r := w.wait(); r.Jobs != 1 || r.Reason != errAsked.Error() {
		t.Errorf("%+v", r)
	}
}

// TestMemoryLimit: a worker that uses too much does the job that it has, and no other.
func TestMemoryLimit(t *testing.T) {
	for name, f := range map[string]gearman.Function{"command": shell("echo out"), "coprocess": coprocess(`"type":"result","output":"out\\n"`)} {
		t.Run(name, func(t *testing.T) {
			cfg := one(f)
			cfg.MemoryLimit = 1 << 10
			w := start(t, cfg)
			p := w.accept("f")
			p.give("H:1", "f", "in")
			p.want(wire.WorkComplete, "H:1", "out\n")
			if r := w.wait(); r.Jobs != 1 || r.Failed != 0 || !strings.Contains(r.Reason, "memory_limit") {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestMaxRunTime: nobody answers, so there is nothing to wait for.
func TestMaxRunTime(t *testing.T) {
	cfg := one(shell("cat"))
	cfg.MaxRunTime, cfg.AnswerTimeout = unit.Duration(10*time.Millisecond), unit.Duration(20*time.Millisecond)
	if r := start(t, cfg).wait(); r.Jobs != 0 || r.Reason != errRunTime.Error() {
		t.Errorf("%+v", r)
	}
}

// TestLeavesAfterTheJob: a worker that ends by itself gives its job all the time that it
// needs.
func TestLeavesAfterTheJob(t *testing.T) {
	fifo := t.TempDir() + "/go"
	cfg := one(shell("mkfifo " + fifo + "; echo 1/2 >&3; cat " + fifo))
	cfg.StopGrace = 1
	w := start(t, cfg)
	p := w.accept("f")
	p.want(wire.GrabJobAll)
	p.say(wire.JobAssign, "H:1", "f", "")
	p.want(wire.WorkStatus, "H:1", "1", "2")
	w.worker.leave(errRunTime)
	release(t, fifo, "late")
	p.want(wire.WorkComplete, "H:1", "late")
	if r := w.wait(); r.Jobs != 1 || r.Failed != 0 || r.Reason != errRunTime.Error() {
		t.Errorf("%+v", r)
	}
}

// TestStopLetsJobsEnd: what runs may end within the grace, and nothing is grabbed.
func TestStopLetsJobsEnd(t *testing.T) {
	fifo := t.TempDir() + "/go"
	w := start(t, one(shell("mkfifo "+fifo+"; echo 1/2 >&3; cat "+fifo)))
	p := w.accept("f")
	p.give("H:1", "f", "")
	p.want(wire.WorkStatus, "H:1", "1", "2")
	w.cancel()
	release(t, fifo, "done")
	p.want(wire.WorkComplete, "H:1", "done")
	p.want(wire.EchoReq, "") // has the server heard it?
	p.say(wire.EchoRes, "")
	w.wait()
	if _, err := p.reader.Next(); err == nil {
		t.Error("the worker asks for more")
	}
}

// TestStopEndsJobs: after the grace, or when somebody is in a hurry, jobs are stopped and
// fail.
func TestStopEndsJobs(t *testing.T) {
	for name, hurry := range map[string]bool{"after the grace": false, "in a hurry": true} {
		t.Run(name, func(t *testing.T) { stopAJob(t, hurry) })
	}
}

func stopAJob(t *testing.T, hurry bool) {
	t.Helper()
	cfg := one(shell("trap '' TERM; echo 1/2 >&3; while :; do sleep 60; done"))
	f := cfg.Functions["f"]
	f.Stop = launch.Stop{Signal: 15, Grace: unit.Duration(time.Millisecond)}
	if cfg.StopGrace = unit.Duration(time.Millisecond); hurry {
		cfg.StopGrace, f.Stop.Grace = unit.Duration(time.Hour), unit.Duration(time.Hour)
	}
	cfg.Functions["f"] = f
	w := start(t, cfg)
	p := w.accept("f")
	p.give("H:1", "f", "")
	p.want(wire.WorkStatus, "H:1", "1", "2")
	w.cancel()
	if hurry {
		close(w.hurry)
	}
	p.want(wire.WorkFail, "H:1")
	if r := w.wait(); r.Failed != 1 {
		t.Errorf("%+v", r)
	}
	if d := w.last(); d.Outcome != string(runner.Cancelled) {
		t.Errorf("%+v", d)
	}
}

// TestGivenBack: a job that wants to be tried later goes back to its server when the worker
// is to end.
func TestGivenBack(t *testing.T) {
	f := shell("echo 1/2 >&3; exit 75")
	f.Retries, f.RetryDelay = 3, unit.Duration(time.Hour)
	w := start(t, one(f))
	p := w.accept("f")
	p.give("H:1", "f", "")
	p.want(wire.WorkStatus, "H:1", "1", "2")
	w.cancel()
	if r := w.wait(); r.Failed != 0 {
		t.Errorf("%+v", r)
	}
	if packet, err := p.reader.Next(); err == nil {
		t.Errorf("the server is told %s", packet.Type)
	}
}

// TestReconnect: after the loss of a connection it is told again what there is, and asked
// before the worker sleeps.
func TestReconnect(t *testing.T) {
	w := start(t, one(shell("cat")))
	for range 3 {
		p := w.accept("f")
		p.give("H:1", "f", "x")
		p.want(wire.WorkComplete, "H:1", "x")
		p.sleep()
		_ = p.Close()
	}
	p := w.accept("f")
	p.want(wire.GrabJobAll)
	p.say(wire.JobCreated, "nonsense")
	p = w.accept("f")
	p.sleep()
}

// TestLostInTheMiddle: a job goes on when its connection is lost; that its result is lost is
// a failure that is told.
func TestLostInTheMiddle(t *testing.T) {
	fifo := t.TempDir() + "/go"
	w := start(t, one(shell("mkfifo "+fifo+"; echo 1/2 >&3; cat "+fifo)))
	p := w.accept("f")
	p.give("H:1", "f", "")
	p.want(wire.WorkStatus, "H:1", "1", "2")
	_ = p.Close()
	next := w.accept("f") // it is back, and busy
	release(t, fifo, "done")
	next.sleep()
	if d := w.last(); !d.Lost || d.Outcome != string(runner.Success) {
		t.Errorf("%+v", d)
	}
}

// TestLimits: two functions, of which one has a limit; each has its connection.
func TestLimits(t *testing.T) {
	dir := t.TempDir()
	limited := shell("mkfifo " + dir + "/go; echo 1/2 >&3; cat " + dir + "/go")
	limited.Concurrency = 1
	w := start(t, gearman.Config{Concurrency: 2, Functions: map[string]gearman.Function{"f": limited, "g": shell("cat")}})
	byName := map[string]*peer{}
	for range 2 {
		p := w.accept()
		byName[p.want(wire.CanDo)] = p
	}
	f, g := byName["f"], byName["g"]
	f.give("H:1", "f", "")
	f.want(wire.WorkStatus, "H:1", "1", "2")
	for range 3 {
		g.give("H:2", "g", "other")
		g.want(wire.WorkComplete, "H:2", "other")
	}
	release(t, dir+"/go", "done")
	f.want(wire.WorkComplete, "H:1", "done") // and no GRAB_JOB before
	f.want(wire.GrabJobAll)
}

// TestSerialized: PHP's convention on both sides of a job.
func TestSerialized(t *testing.T) {
	f := shell("cat")
	f.Serialize = gearman.SerializePHP
	w := start(t, one(f))
	p := w.accept("f")
	for workload, result := range map[string]string{
		`a:1:{s:1:"a";i:1;}`: `a:1:{s:1:"a";i:1;}`, `s:4:"text";`: `s:4:"text";`, "i:5;": "i:5;", "N;": "N;",
	} {
		p.give("H:1", "f", workload)
		p.want(wire.WorkComplete, "H:1", result)
	}
	p.give("H:1", "f", "nonsense")
	if why := p.want(wire.WorkException); !strings.Contains(why, "not serialized by PHP") {
		t.Errorf("exception %q", why)
	}
}
