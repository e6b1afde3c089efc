package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/launch"
	"procops/internal/pidfile"
	"procops/internal/runner"
	"procops/internal/store"
	"procops/internal/unit"
)

// script is a worker whose turns go as a test says, in virtual time.
type script struct {
	turns func(number uint64) Turn // how a turn goes; its Duration is how long it takes
	used  int64                    // memory in bytes

	mu      sync.Mutex
	began   []time.Time
	stopped int // turns that were stopped
}

func (s *script) turn(ctx context.Context, number uint64, begun func()) Turn {
	s.mu.Lock()
	s.began = append(s.began, time.Now())
	s.mu.Unlock()
	t := Turn{Number: number, Started: time.Now(), Outcome: string(runner.Success), begun: true}
	if s.turns != nil {
		t = s.turns(number)
		t.Number, t.Started = number, time.Now()
	}
	if begun != nil && t.begun {
		begun()
	}
	timer := time.NewTimer(t.Duration)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		s.mu.Lock()
		s.stopped++
		s.mu.Unlock()
		t.Outcome = string(runner.Cancelled)
	}
	return t
}

func (s *script) usage() int64 { return s.used }

func (s *script) close() {}

// starts returns when the turns began, since the first one did.
func (s *script) starts() (list []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.began {
		list = append(list, at.Sub(s.began[0]))
	}
	return list
}

// stage runs a daemon in virtual time.
type stage struct {
	*Daemon
	t      *testing.T
	script *script
	store  *store.Store
	bus    *event.Bus
	mu     sync.Mutex
	heard  []string  // types of events, with what came of a turn
	delays []float64 // that were told
	up     []error   // what Begun was told
	result chan error
}

// onStage calls act with a daemon that runs, and waits for its end afterwards.
func onStage(t *testing.T, s Section, w *script, act func(*stage)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, dir, s, w)
		act(st)
		if err := <-st.result; err != nil && !st.failed {
			t.Error(err)
		}
		if err := st.store.Close(); err != nil {
			t.Error(err)
		}
	})
}

func newStage(t *testing.T, dir string, s Section, w *script) *stage {
	t.Helper()
	st := &stage{t: t, script: w, bus: event.NewBus("test"), result: make(chan error, 1)}
	st.bus.Subscribe("daemon.*", func(e event.Event) {
		st.mu.Lock()
		defer st.mu.Unlock()
		text := strings.TrimPrefix(e.Type, "daemon.")
		if turn, is := e.Data.(turnData); is {
			text += " " + turn.Outcome
			st.delays = append(st.delays, turn.Delay)
		}
		st.heard = append(st.heard, text)
	})
	var err error
	if st.store, err = store.Open(t.Context(), dir, store.Options{Bus: st.bus}); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Context: "test", Daemons: map[string]Section{"d": s}}
	st.Daemon, err = New(cfg, ID{Name: "d"}, Deps{
		Store: st.store, Bus: st.bus, Log: zerolog.Nop(), StateDir: dir,
		Begun: func(err error) { st.up = append(st.up, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	st.newWorker = func() (worker, error) { return w, nil }
	go func() { st.result <- st.Run(t.Context()) }()
	synctest.Wait()
	return st
}

// events returns what was heard.
func (s *stage) events() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.heard)
}

// pass lets time pass.
func (s *stage) pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (s *stage) wantStarts(want ...time.Duration) {
	s.t.Helper()
	if got := s.script.starts(); !slices.Equal(got, want) {
		s.t.Errorf("turns started at %s, want %s", got, want)
	}
}

func took(d time.Duration) func(uint64) Turn {
	return func(uint64) Turn { return Turn{Duration: d, Outcome: string(runner.Success), begun: true} }
}

const sec = time.Second

func TestTurnsFollow(t *testing.T) {
	for name, c := range map[string]struct {
		section Section
		turns   func(uint64) Turn
		want    []time.Duration
	}{
		"sleep":           {every(10*sec, 0), took(3 * sec), []time.Duration{0, 10 * sec, 20 * sec, 30 * sec}},
		"overlong":        {every(10*sec, 0), took(13 * sec), []time.Duration{0, 13 * sec, 26 * sec}},
		"overlong, min":   {every(10*sec, 4*sec), took(8 * sec), []time.Duration{0, 12 * sec, 24 * sec}},
		"min_sleep alone": {every(0, 4*sec), took(6 * sec), []time.Duration{0, 10 * sec, 20 * sec, 30 * sec}},
		"fractions":       {every(7500*time.Millisecond, 0), took(sec / 2), []time.Duration{0, 7500 * time.Millisecond, 15 * sec, 22500 * time.Millisecond, 30 * sec}},
	} {
		t.Run(name, func(t *testing.T) {
			w := &script{turns: c.turns}
			onStage(t, c.section, w, func(s *stage) {
				s.pass(31 * sec)
				s.wantStarts(c.want...)
				s.Stop()
			})
		})
	}
}

// TestSignals has each signal come at each point. After each there is no pidfile.
func TestSignals(t *testing.T) {
	const before, inTurn, inSleep = 0, 2 * sec, 7 * sec // turns of 5 s, every 10 s
	for _, c := range []struct {
		at       time.Duration
		signal   syscall.Signal
		ends     bool
		starts   []time.Duration // of the turns until 12 s
		stopped  int
		reported string // the last event
	}{
		{inTurn, syscall.SIGQUIT, true, []time.Duration{0}, 0, "stop"},
		{inTurn, syscall.SIGTERM, true, []time.Duration{0}, 1, "stop"},
		{inTurn, syscall.SIGINT, true, []time.Duration{0}, 1, "stop"},
		{inTurn, syscall.SIGHUP, false, []time.Duration{0, 10 * sec}, 0, "reload"},
		{inTurn, syscall.SIGUSR1, false, []time.Duration{0, 10 * sec}, 0, "task_done success"},
		{inTurn, syscall.SIGUSR2, false, []time.Duration{0, 10 * sec}, 0, "task_done success"},
		{inTurn, syscall.SIGWINCH, false, []time.Duration{0, 10 * sec}, 0, "task_done success"},
		{inSleep, syscall.SIGQUIT, true, []time.Duration{0}, 0, "stop"},
		{inSleep, syscall.SIGTERM, true, []time.Duration{0}, 0, "stop"},
		{inSleep, syscall.SIGINT, true, []time.Duration{0}, 0, "stop"},
		{inSleep, syscall.SIGHUP, false, []time.Duration{0, 10 * sec}, 0, "reload"},
		{inSleep, syscall.SIGUSR1, false, []time.Duration{0, inSleep}, 0, "task_done success"}, // and the next at 17 s
		{inSleep, syscall.SIGUSR2, false, []time.Duration{0, 10 * sec}, 0, "task_done success"},
	} {
		t.Run(fmt.Sprintf("%s at %s", c.signal, c.at), func(t *testing.T) {
			w := &script{turns: took(5 * sec)}
			onStage(t, every(10*sec, 0), w, func(s *stage) {
				s.pass(c.at - before)
				s.Signal(c.signal)
				s.pass(12*sec - c.at)
				s.wantStarts(c.starts...)
				if w.stopped != c.stopped {
					t.Errorf("%d turns were stopped", w.stopped)
				}
				if !slices.Contains(s.events(), c.reported) {
					t.Errorf("heard %q", s.events())
				}
				_, runs := pidfile.Holder(s.common.PidfilePath(s.id, s.deps.StateDir))
				if runs == c.ends {
					t.Errorf("it has its pidfile: %v", runs)
				}
				s.Stop()
			})
		})
	}
}

// TestQuitEndsWithTheTurn: what QUIT waits for is told of.
func TestQuitEndsWithTheTurn(t *testing.T) {
	w := &script{turns: took(5 * sec)}
	onStage(t, every(10*sec, 0), w, func(s *stage) {
		s.pass(sec)
		s.Quit()
		s.pass(10 * sec)
		if want := []string{"start", "task_done success", "stop"}; !slices.Equal(s.events(), want) {
			t.Errorf("heard %q, want %q", s.events(), want)
		}
	})
}

// TestListenersAreInTheTurn: what those do who hear of a turn is part of its time, and they
// hear how long it is to the next one.
func TestListenersAreInTheTurn(t *testing.T) {
	w := &script{turns: took(2 * sec)}
	onStage(t, every(10*sec, 3*sec), w, func(s *stage) {
		s.bus.Subscribe("daemon.task_done", func(event.Event) { <-time.After(6 * sec) })
		s.pass(22 * sec)
		s.wantStarts(0, 11*sec, 22*sec) // 2 s, 6 s, and min_sleep
		s.Stop()
		s.mu.Lock()
		defer s.mu.Unlock()
		if want := []float64{8, 8}; !slices.Equal(s.delays, want) {
			t.Errorf("told of delays %v, want %v", s.delays, want)
		}
	})
}

// TestTermAfterQuit: who has waited long enough for the turn can still stop it.
func TestTermAfterQuit(t *testing.T) {
	w := &script{turns: took(time.Hour)}
	onStage(t, every(10*sec, 0), w, func(s *stage) {
		s.Quit()
		s.pass(sec)
		s.Stop()
		s.pass(sec)
		if w.stopped != 1 || s.state != StateStopped {
			t.Errorf("%d turns were stopped, it is %s", w.stopped, s.state)
		}
	})
}

func failing(uint64) Turn {
	return Turn{Duration: sec, Outcome: string(runner.Failed), Code: 1, Message: "1 General error", begun: true}
}

func TestFailures(t *testing.T) {
	continues := every(10*sec, 0)
	continues.Backoff = launch.Backoff{Initial: unit.Duration(15 * sec), Factor: 2, Max: unit.Duration(20 * sec)}
	stops := every(10*sec, 0)
	stops.OnFailure = FailureStop
	third := every(10*sec, 0)
	third.MaxFailures = 3
	for name, c := range map[string]struct {
		section Section
		turns   func(uint64) Turn
		want    []time.Duration
		failed  string
	}{
		"goes on, more slowly": {continues, failing, []time.Duration{0, 16 * sec, 37 * sec}, ""},
		"the first is enough":  {stops, failing, []time.Duration{0}, `daemon "d-test" has given up: a turn has failed: 1 General error`},
		"the third is enough":  {third, failing, []time.Duration{0, 10 * sec, 20 * sec}, `daemon "d-test" has given up: 3 turns in a row have failed: 1 General error`},
		"not in a row": {third, func(n uint64) Turn {
			if n%2 == 0 {
				return took(sec)(n)
			}
			return failing(n)
		}, []time.Duration{0, 10 * sec, 20 * sec, 30 * sec, 40 * sec}, ""},
		"it asks for the end": {every(10*sec, 0), func(n uint64) Turn {
			if n < 2 {
				return took(sec)(n)
			}
			return Turn{Duration: sec, Outcome: string(runner.Stop), Code: 100, begun: true}
		}, []time.Duration{0, 10 * sec}, ""},
		"it never begins": {
			every(10*sec, 0), func(uint64) Turn { return Turn{Outcome: string(runner.Failed), Code: 127, Message: "not found"} },
			[]time.Duration{0},
			`daemon "d-test" has given up: its first turn cannot begin: not found`,
		},
		"a later one does not begin": {every(20*sec, 0), func(n uint64) Turn {
			if n == 2 {
				return Turn{Outcome: string(runner.Failed), Code: 127, Message: "not found"}
			}
			return took(sec)(n)
		}, []time.Duration{0, 20 * sec, 40 * sec}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := &script{turns: c.turns}
			onStage(t, c.section, w, func(s *stage) {
				s.pass(45 * sec)
				s.wantStarts(c.want...)
				s.Stop()
				err := <-s.result
				s.result <- nil
				var f *fault.Error
				if text := fmt.Sprint(err); c.failed == "" && err != nil || c.failed != "" && (text != c.failed || !errors.As(err, &f)) {
					t.Errorf("it ended with %v, want %q", err, c.failed)
				}
				if begun := s.up[0] == nil; len(s.up) != 1 || begun == strings.Contains(c.failed, "begin") {
					t.Errorf("it told its starter %v", s.up)
				}
			})
		})
	}
}

// TestOutgrown: what a turn has used is looked at before the next one, so that the period
// is kept by whoever starts the daemon afresh.
func TestOutgrown(t *testing.T) {
	s := every(10*sec, 0)
	s.MemoryLimit, s.MemoryThreshold = 100<<20, 70
	for used, want := range map[int64][]time.Duration{
		70 << 20:   {0, 10 * sec, 20 * sec},
		70<<20 + 1: nil,
	} {
		w := &script{used: used}
		onStage(t, s, w, func(s *stage) {
			s.pass(25 * sec)
			s.wantStarts(want...)
			if s.outgrew != (want == nil) {
				t.Errorf("with %d bytes it has ended because of its memory: %v", used, s.outgrew)
			}
			s.Stop()
		})
	}
}

// TestHistoryIsKept: turns are recorded as they were, and not too many of them.
func TestHistoryIsKept(t *testing.T) {
	section := every(10*sec, 0)
	section.HistoryKeep = 3
	w := &script{turns: func(n uint64) Turn {
		if n == 4 {
			return failing(n)
		}
		return took(2 * sec)(n)
	}}
	onStage(t, section, w, func(s *stage) {
		s.pass(45 * sec)
		s.Stop()
		if err := <-s.result; err != nil {
			t.Error(err)
		}
		s.result <- nil
		turns, err := History(s.t.Context(), s.store, s.ID(), time.Time{}, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, turn := range turns {
			got = append(got, fmt.Sprint(turn.Number, " ", turn.Outcome, " ", turn.Duration))
		}
		if want := []string{"3 success 2s", "4 error 1s", "5 success 2s"}; !slices.Equal(got, want) {
			t.Errorf("history %q, want %q", got, want)
		}
		r, known, err := load(s.t.Context(), s.store, s.ID())
		if err != nil || !known || r.state != StateStopped || r.turns != 5 || r.reason != "it was told to stop" {
			t.Errorf("recorded: %+v, %v", r, err)
		}
	})
}

// TestTurnsWithoutPauseAreKnown: others see what a daemon does that never waits.
func TestTurnsWithoutPauseAreKnown(t *testing.T) {
	w := &script{turns: func(n uint64) Turn {
		turn := failing(n)
		turn.Duration = sec / 2
		return turn
	}}
	onStage(t, every(sec/4, 0), w, func(s *stage) {
		s.pass(11 * sec / 4)
		r, _, err := load(s.t.Context(), s.store, s.ID())
		if err != nil || r.turns != 5 || r.failures != 5 || r.turn.Outcome != string(runner.Failed) {
			t.Errorf("after five turns %d are known, %d failures, %+v, %v", r.turns, r.failures, r.turn, err)
		}
		s.Stop()
	})
}
