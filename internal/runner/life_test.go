package runner

import (
	"context"
	"errors"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"procops/internal/proc"
	"procops/internal/unit"
)

func TestCoprocessIsCancelled(t *testing.T) {
	hurry := make(chan struct{})
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) { o.Hurry = hurry })
	ctx, cancel := context.WithCancel(t.Context())
	result, err := r.Run(ctx, Work{Meta: []Meta{{"do", "hang"}}, OnStart: cancel})
	if err != nil || result.Outcome != Cancelled || result.Reason != "it was stopped" || result.Exit.Signal != syscall.SIGTERM {
		t.Errorf("%+v, %v", result, err)
	}
	if n := d.await(t, NoticeEnded, 1); n.Cause != CauseCancelled {
		t.Errorf("%+v", n)
	}
	if _, err := r.Run(ctx, Work{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	// One that waits for its turn can go away, too.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	busy := make(chan struct{})
	var units sync.WaitGroup
	units.Go(func() {
		result, err := r.Run(ctx, Work{Meta: []Meta{{"do", "stubborn"}}, OnStart: func() { close(busy) }})
		if err != nil || result.Exit.Signal != syscall.SIGKILL {
			t.Errorf("%+v, %v", result, err)
		}
	})
	<-busy
	waits, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer leave()
	if _, err := r.Run(waits, Work{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that waits: %v", err)
	}
	cancel()
	close(hurry)
	units.Wait()
}

func TestCoprocessDiagnostics(t *testing.T) {
	var stray, all strings.Builder
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) {
		o.Output = func(_ proc.Stream, b []byte) { stray.Write(b) }
	})
	for i := range 50 {
		words := "odd " + strconv.Itoa(i)
		all.Reset()
		result := do(t, r, "stderr "+words, func(w *Work) {
			w.Output = func(s proc.Stream, b []byte) { all.WriteString(s.String() + ":" + string(b)) }
		})
		if result.Diagnostics != words+"\n" || all.String() != "stderr:"+words+"\n" {
			t.Errorf("%q, told %q", result.Diagnostics, all.String())
		}
		if result := do(t, r, "echo"); result.Diagnostics != "" {
			t.Errorf("%q belongs to another unit", result.Diagnostics)
		}
	}
	do(t, r, "stderr "+strings.Repeat("long ", 100_000)+"end")
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	d.await(t, NoticeEnded, 1)
	if stray.Len() > 0 {
		t.Errorf("%q", stray.String())
	}
}

func TestCoprocessIsReplaced(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) { o.Coprocess.MaxUnits = 3 })
	pids := make(map[string]int)
	for range 9 {
		pids[string(do(t, r, "pid").Output)]++
	}
	if len(pids) != 3 {
		t.Errorf("%v", pids)
	}
	n := d.await(t, NoticeEnded, 3)
	if n.Cause != CauseUnits || n.Units != 3 || n.Reason != "it has done 3 units of work" || n.Exit.ShellCode() != 0 || n.Memory == 0 {
		t.Errorf("%+v", n)
	}
	d.await(t, NoticeReady, 4) // without being asked
}

func TestCoprocessMemoryThreshold(t *testing.T) {
	const limit = 100 << 20
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) { o.Coprocess.MemoryThreshold = limit })
	do(t, r, "grow 1000")
	if result := do(t, r, "grow 200000000"); result.Outcome != Success || result.Memory < 200_000_000 {
		t.Errorf("%+v", result)
	}
	n := d.await(t, NoticeEnded, 1)
	if n.Cause != CauseMemory || n.Memory < 200_000_000 || n.Units != 2 || !strings.HasSuffix(n.Reason, " MB of memory, and its threshold is 100.0 MB") {
		t.Errorf("%+v", n)
	}
	if result := do(t, r, "echo"); result.Memory > limit {
		t.Errorf("the fresh one uses %d bytes", result.Memory)
	}
}

func TestCoprocessStartFailures(t *testing.T) {
	missing := func() (proc.Spec, error) { return proc.Spec{Argv: []string{"no-such-program"}}, nil }
	for _, c := range []struct {
		start  func() (proc.Spec, error)
		reason string
	}{
		{missing, `cannot start "no-such-program": not found in its PATH`},
		{func() (proc.Spec, error) { return proc.Spec{}, errors.New("there is no user \"x\"") }, `there is no user "x"`},
		{shSpec("echo 'Fatal: no database' >&2; exit 255"), `cannot start the co-process: it has ended without a hello: 255 Unknown error; it has written "Fatal: no database"`},
		{shSpec("exit 0"), "cannot start the co-process: it has ended without a hello: 0 OK"},
		{shSpec("echo hello; sleep 1000"), `cannot start the co-process: it has written "hello" instead of a hello`},
		{shSpec("printf hell; exit 1"), `cannot start the co-process: it has written "hell" instead of a hello`},
		{shSpec(`printf '{"type":'; exit 1`), `cannot start the co-process: it has written "{\"type\":" instead of a hello`},
		{shSpec(`echo '{"type":"hello","protocol":9}'; sleep 1000`), `cannot start the co-process: it has written "{\"type\":\"hello\",\"protocol\":9}" instead of a hello: it speaks protocol 9, and procops protocol 1`},
		{shSpec(`printf '{"type":"hello","protocol":1}\n{"x'; sleep 1000`), `cannot start the co-process: it has written "{\"x" after its hello, without having work`},
		{shSpec("echo loading >&2; sleep 1000"), `cannot start the co-process: it has said no hello within 200ms; it has written "loading"`},
		{shSpec("exec >&-; sleep 1000"), "cannot start the co-process: it has said no hello"},
	} {
		r, d := newTestPool(t, c.start, func(o *Options) {
			o.Coprocess.StartTimeout, o.Ladder = unit.Duration(patience), quickly()
			if strings.Contains(c.reason, "within") {
				o.Coprocess.StartTimeout = unit.Duration(200 * time.Millisecond)
			}
		})
		if err := r.Warm(t.Context()); err == nil || err.Error() != c.reason {
			t.Errorf("%v, want %s", err, c.reason)
		}
		n := d.await(t, NoticeEnded, 1)
		if n.Cause != CauseStart || n.Pause != 100*time.Millisecond || n.Reason == "" {
			t.Errorf("%+v", n)
		}
		// A unit that needs one is told the same, after the pause.
		if _, err := r.Run(t.Context(), Work{}); err == nil || err.Error() != "cannot run a unit of work: "+c.reason {
			t.Errorf("%v, want %s", err, c.reason)
		}
		if n := d.await(t, NoticeEnded, 2); n.Pause != 200*time.Millisecond {
			t.Errorf("%+v", n)
		}
		if err := r.Close(t.Context()); err != nil {
			t.Error(err)
		}
		closeHost(t, r)
	}
}

// TestCoprocessMany: 50 goroutines share 4 co-processes, some of which die, and each
// gets what belongs to its unit.
func TestCoprocessMany(t *testing.T) {
	r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) {
		o.Coprocess = Config{Size: 4, MaxUnits: 50, RestartDelay: unit.Duration(time.Millisecond), MaxRestartDelay: unit.Duration(time.Millisecond)}
	})
	var all sync.WaitGroup
	for g := range 50 {
		all.Go(func() {
			for i := range 20 {
				text := strconv.Itoa(g) + "/" + strconv.Itoa(i)
				what := "echo"
				if g == 0 && i%5 == 0 {
					what = "kill"
				}
				result, err := r.Run(t.Context(), Work{Input: []byte(text), Meta: []Meta{{"do", what}}})
				switch {
				case err != nil:
					t.Error(err)
				case what == "kill" && result.Outcome != Unknown:
					t.Errorf("%+v", result)
				case what == "echo" && (result.Outcome != Success || string(result.Output) != text):
					t.Errorf("%s: %+v", text, result)
				}
			}
		})
	}
	all.Wait()
	running, most := 0, 0
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.notices {
		switch n.Kind {
		case NoticeStarted:
			running++
		case NoticeEnded:
			running--
		case NoticeReady:
		}
		most = max(most, running)
	}
	if most > 5 { // one may be told of before the end of the one whose place it takes
		t.Errorf("%d at once", most)
	}
}

// TestCoprocessCloses whatever is under way.
func TestCoprocessCloses(t *testing.T) {
	slow := shSpec("sleep 1000")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		start func() (proc.Spec, error)
		what  string // under way; empty: nothing
		begun bool   // wait until it is
		ctx   context.Context
		want  Outcome // empty: an error
	}{
		"nothing":              {childSpec(t, "plain"), "", false, t.Context(), ""},
		"nothing, at once":     {childSpec(t, "plain"), "", false, ended, ""},
		"a start":              {slow, "echo", false, t.Context(), ""},
		"a start, at once":     {slow, "echo", false, ended, ""},
		"a unit, at once":      {childSpec(t, "plain"), "hang", true, ended, Cancelled},
		"a stubborn, at once":  {childSpec(t, "plain"), "stubborn", true, ended, Cancelled},
		"a unit that ends":     {childSpec(t, "plain"), "grow 10000000", true, t.Context(), Success},
		"a unit that breaks":   {childSpec(t, "plain"), "write-then-exit x", true, t.Context(), Failed},
		"one that stays":       {shSpec(`trap "" TERM; echo '{"type":"hello","protocol":1}'; read -r line; echo '{"type":"result","id":"1"}'; sleep 1000; sleep 1000`), "echo", true, t.Context(), Success},
		"one that will not go": {shSpec(`trap "" TERM; echo '{"type":"hello","protocol":1}'; sleep 1000; sleep 1000`), "warm", true, ended, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r, d := newTestPool(t, c.start, func(o *Options) { o.Ladder = quickly() })
			begun := make(chan struct{})
			var under sync.WaitGroup
			switch c.what {
			case "":
			case "warm":
				if err := r.Warm(t.Context()); err != nil {
					t.Error(err)
				}
			default:
				under.Go(func() {
					result, err := r.Run(t.Context(), Work{Meta: []Meta{{"do", c.what}}, OnStart: func() { close(begun) }})
					if result.Outcome != c.want || (c.want == "") != errors.Is(err, ErrClosed) {
						t.Errorf("%+v, %v, want %s", result, err, c.want)
					}
				})
				if c.begun {
					<-begun
				} else {
					d.await(t, NoticeStarted, 1)
				}
			}
			ctx, cancel := context.WithTimeout(c.ctx, patience)
			defer cancel()
			for range 2 {
				if err := r.Close(ctx); err != nil {
					t.Error(err)
				}
			}
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Error("it took too long")
			}
			under.Wait()
			for _, n := range d.of(NoticeStarted) {
				if proc.Runs(n.PID) {
					t.Errorf("process %d is left", n.PID)
				}
			}
			if _, err := r.Run(t.Context(), Work{}); !errors.Is(err, ErrClosed) {
				t.Errorf("after the end: %v", err)
			}
			if err := r.Warm(t.Context()); !errors.Is(err, ErrClosed) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// TestCoprocessClosesInAStorm: units, deaths and starts are under way when it closes.
func TestCoprocessClosesInAStorm(t *testing.T) {
	for range 5 {
		r, d := newTestPool(t, childSpec(t, "plain"), func(o *Options) {
			o.Ladder = quickly()
			o.Coprocess = Config{Size: 3, MaxUnits: 2, RestartDelay: unit.Duration(time.Millisecond)}
		})
		var storm sync.WaitGroup
		for g := range 12 {
			storm.Go(func() {
				for i := 0; ; i++ {
					what := []string{"echo", "exit 1", "answer-then-exit", "progress", "write garbage\n"}[(g+i)%5]
					if _, err := r.Run(t.Context(), Work{Meta: []Meta{{"do", what}}}); err != nil {
						if !errors.Is(err, ErrClosed) && !strings.Contains(err.Error(), "could not take it") {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		d.await(t, NoticeEnded, 10)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		storm.Wait()
		closeHost(t, r)
	}
}

// TestCoprocessBackoff: a broken program is not started again and again.
func TestCoprocessBackoff(t *testing.T) {
	c := Config{RestartDelay: unit.Duration(100 * time.Millisecond), MaxRestartDelay: unit.Duration(time.Second)}
	for n, want := range map[int]int64{1: 100, 2: 200, 3: 400, 4: 800, 5: 1000, 6: 1000, 1000: 1000} {
		if got := c.pause(n); got.Milliseconds() != want {
			t.Errorf("pause %d is %v", n, got)
		}
	}
	r, d := newTestPool(t, shSpec("exit 1"), func(o *Options) {
		o.Coprocess = Config{Size: 4, RestartDelay: unit.Duration(20 * time.Millisecond), MaxRestartDelay: unit.Duration(time.Hour)}
	})
	begin := time.Now()
	var units sync.WaitGroup
	for range 20 {
		units.Go(func() {
			for range 2 {
				if _, err := r.Run(t.Context(), Work{}); err == nil {
					t.Error("a unit was done")
				}
			}
		})
	}
	units.Wait()
	took := time.Since(begin)
	starts := len(d.of(NoticeStarted))
	// Four at first; then one at a time, each after twice the time.
	if most := 4 + bits.Len64(uint64(took/(20*time.Millisecond))); starts > most {
		t.Errorf("%d starts in %v", starts, took)
	}
}

func TestCommandAsRunner(t *testing.T) {
	h := newHost(t)
	r := New(Options{Host: h, Start: func() (proc.Spec, error) {
		return proc.Spec{Argv: sh(`echo "$PROCOPS_TURN $A"; cat; [ -z "$HANG" ] || sleep 1000`), Env: []string{"A=1", "PATH=" + os.Getenv("PATH"), "HANG=" + os.Getenv("HANG")}}, nil
	}})
	if err := r.Warm(t.Context()); err != nil {
		t.Error(err)
	}
	result, err := r.Run(t.Context(), Work{Input: []byte("in"), Meta: []Meta{{"turn", "5"}}})
	if err != nil || string(result.Output) != "5 1\nin" || result.Outcome != Success || result.Memory == 0 {
		t.Errorf("%+v, %q, %v", result, result.Output, err)
	}
	t.Setenv("HANG", "1")
	begun := make(chan struct{})
	var under sync.WaitGroup
	under.Go(func() {
		if result, err := r.Run(t.Context(), Work{OnStart: func() { close(begun) }}); err != nil || result.Outcome != Cancelled {
			t.Errorf("%+v, %v", result, err)
		}
	})
	<-begun
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
	under.Wait()
	if _, err := r.Run(t.Context(), Work{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestConfigCheck(t *testing.T) {
	var said []string
	report := func(err error, path ...string) { said = append(said, strings.Join(path, ".")+": "+err.Error()) }
	Config{RestartDelay: 2, MaxRestartDelay: 1}.Check(report)
	Config{}.filled().Check(report)
	if len(said) != 1 || said[0] != "restart_delay: restart_delay (2ns) is longer than max_restart_delay (1ns)" {
		t.Errorf("%q", said)
	}
}
