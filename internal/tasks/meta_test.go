package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/tasks/leptir"
	"procops/internal/unit"
)

// shelf is a meta store in memory.
type shelf struct {
	mu    sync.Mutex
	saved []leptir.Info // one after the other
	calls int
	err   error // what a call returns
	hang  bool  // it does not answer
}

func (s *shelf) Save(ctx context.Context, infos []leptir.Info) error {
	s.mu.Lock()
	s.calls++
	err, hang := s.err, s.hang
	if err == nil && !hang {
		s.saved = append(s.saved, infos...)
	}
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (s *shelf) Load(_ context.Context, id string) (leptir.Info, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range slices.Backward(s.saved) {
		if i.ID == id {
			return i, true, s.err
		}
	}
	return leptir.Info{}, false, s.err
}

// answer has it answer from now on, perhaps with an error.
func (s *shelf) answer(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.hang = err, false
}

// story returns what was saved of a task: status and code, one after the other.
func (s *shelf) story(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var words []string
	for _, i := range s.saved {
		if i.ID == id {
			words = append(words, fmt.Sprintf("%d/%d", i.Status, i.Code))
		}
	}
	return strings.Join(words, " ")
}

var errAway = errors.New("nobody answers")

// metaOf returns what tells one store, and its log.
func metaOf(s MetaStore) (*Meta, *bytes.Buffer) {
	var log bytes.Buffer
	return NewMeta([]NamedMeta{{"shelf", s}}, leptir.NewClasses(map[string]string{"mail": `App\Mail`}), zerolog.New(zerolog.SyncWriter(&log))), &log
}

// pending returns records of new tasks with these numbers.
func pending(from, to int) (list []Record) {
	for i := from; i < to; i++ {
		list = append(list, Record{ID: fmt.Sprint(i), Type: "mail", State: StatePending})
	}
	return list
}

func (m *Meta) close(t *testing.T) {
	t.Helper()
	if err := m.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestMetaIsTold: each step of a task is told, with leptir's numbers.
func TestMetaIsTold(t *testing.T) {
	for _, c := range []struct {
		name, script, story, response string
		limit                         time.Duration
		attempts                      int
	}{
		{"success", `echo a; echo b`, "1/4 2/4 3/1", "a b", 0, 1},
		{"warning", `exit 2`, "1/4 2/4 3/2", "exit code 2", 0, 1},
		{"two attempts", `echo x >>tries; echo no; exit 1`, "1/4 2/4 1/3 2/4 3/3", "no", 0, 2},
		{"a signal", `kill -9 $$`, "1/4 2/4 3/4", "Kill", 0, 1},
		{"too long", `echo so far; sleep 60`, "1/4 2/4 3/5", "so far Time limit exceeded.", 100 * time.Millisecond, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := only(c.script)
			cfg.MaxAttempts, cfg.TimeLimit = c.attempts, unit.Duration(c.limit)
			w := newWorld(t, cfg)
			s := &shelf{}
			meta, _ := metaOf(s)
			w.TellMeta(meta)
			id := w.push("")
			w.until("the push is told", func() bool { return s.story(id) == "1/4" })
			w.work()
			for w.queued().Scheduled+w.queued().Ready > 0 {
				w.work() // the next attempt
			}
			meta.close(t)
			// What comes quickly after another takes its place.
			if story := s.story(id); story != c.story && story != strings.ReplaceAll(c.story, " 2/4", "") {
				t.Errorf("the story is %q, want %q", story, c.story)
			}
			i, _, _ := s.Load(t.Context(), id)
			if !strings.Contains(i.Response, c.response) || i.Class != "t" || i.Started.IsZero() || i.Seconds <= 0 {
				t.Errorf("at the end it is %+v", i)
			}
		})
	}
}

// TestMetaOfWhatIsGivenBack: a run that was stopped leaves its task pending.
func TestMetaOfWhatIsGivenBack(t *testing.T) {
	cfg := only(`touch begun; sleep 60`)
	cfg.StopGrace = unit.Duration(time.Millisecond)
	w := newWorld(t, cfg)
	s := &shelf{}
	meta, _ := metaOf(s)
	w.TellMeta(meta)
	id := w.push("")
	ctx, stop := context.WithCancel(t.Context())
	k := w.start(ctx, WorkOptions{})
	w.until("it runs", func() bool { return strings.HasSuffix(s.story(id), "2/4") })
	stop()
	_, err := k.wait()
	w.must(err)
	meta.close(t)
	if story := s.story(id); !strings.HasSuffix(story, "2/4 1/4") {
		t.Errorf("the story is %q", story)
	}
	if i, _, _ := s.Load(t.Context(), id); i.New() {
		t.Error("it is told as one that nobody has begun, which would not take the place of what is there")
	}
}

// TestMetaAway: a store that is away is tried again, is told of once, and then gets the
// newest of each task.
func TestMetaAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{err: errAway}
		meta, log := metaOf(s)
		meta.tell(pending(0, 3)...)
		<-time.After(10 * time.Minute)
		synctest.Wait()
		if s.calls < 10 || s.calls > 40 {
			t.Errorf("%d calls in ten minutes", s.calls)
		}
		done := pending(1, 2)
		done[0].State, done[0].Run = StateDone, Run{Result: ResultSuccess, Started: time.Now()}
		meta.tell(done...)
		meta.tell(pending(3, 4)...)
		s.answer(nil)
		<-time.After(metaPauseMost)
		synctest.Wait()
		got := map[string]string{}
		for _, i := range s.saved {
			got[i.ID] += s.story(i.ID)
		}
		if want := map[string]string{"0": "1/4", "1": "3/1", "2": "1/4", "3": "1/4"}; !maps.Equal(got, want) {
			t.Errorf("saved %v, want %v", got, want)
		}
		meta.close(t)
		if text := log.String(); strings.Count(text, "is away") != 1 || strings.Count(text, "answers again") != 1 || strings.Contains(text, "has not got") {
			t.Errorf("the log is %s", text)
		}
	})
}

// TestMetaHangs: a store that does not answer holds nobody up for long, and nobody at all
// once that is known. Of very many tasks the newest are kept.
func TestMetaHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{hang: true}
		meta, log := metaOf(s)
		begin := time.Now()
		meta.tell(pending(0, 3*metaMost)...)
		if took := time.Since(begin); took > 2*metaTimeout {
			t.Errorf("it took %s", took)
		}
		s.answer(nil)
		<-time.After(2 * metaPauseMost)
		meta.close(t)
		if n := len(s.saved); n < metaMost || n > metaMost+metaBatch {
			t.Errorf("%d of %d are saved", n, 3*metaMost)
		}
		if last := s.saved[len(s.saved)-1]; last.ID != fmt.Sprint(3*metaMost-1) {
			t.Errorf("the last one is %+v", last)
		}
		if !strings.Contains(log.String(), `"lost":`) || !strings.Contains(log.String(), "it does not answer") {
			t.Errorf("the log is %s", log)
		}
	})
}

// TestMetaClose: all is written at the end, unless the store is away; then nobody waits.
func TestMetaClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		meta, _ := metaOf(s)
		meta.tell(pending(0, 5000)...)
		meta.close(t)
		meta.close(t)
		if len(s.saved) != 5000 {
			t.Errorf("%d are saved", len(s.saved))
		}

		s = &shelf{err: errAway}
		meta, log := metaOf(s)
		meta.tell(pending(0, 5)...)
		begin := time.Now()
		meta.close(t)
		if time.Since(begin) > 0 || s.calls != 1 || !strings.Contains(log.String(), `"tasks":5`) {
			t.Errorf("after %s and %d calls: %s", time.Since(begin), s.calls, log)
		}

		s = &shelf{hang: true}
		meta, _ = metaOf(s)
		meta.tell(pending(0, 5)...)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin = time.Now()
		if err := meta.Close(ctx); err != nil || time.Since(begin) != time.Second {
			t.Errorf("after %s: %v", time.Since(begin), err)
		}
	})
}

// TestMetaIsAsked: of a task that only a meta store knows, `show` tells what that knows.
func TestMetaIsAsked(t *testing.T) {
	w := newWorld(t, only("exit 0"))
	start := time.Date(2013, 12, 4, 2, 43, 35, 0, time.UTC)
	s := &shelf{saved: []leptir.Info{
		{ID: "new", Status: leptir.StatusPending, Code: leptir.CodeUnknown, Class: `App\Mail`},
		{ID: "again", Status: leptir.StatusPending, Code: leptir.CodeError, Class: `App\Mail`, Started: start, Seconds: 1.5, Response: "no"},
		{ID: "runs", Status: leptir.StatusInProgress, Code: leptir.CodeUnknown, Class: "Ärger", Started: start},
		{ID: "done", Status: leptir.StatusCompleted, Code: leptir.CodeWarning, Class: `App\Other`, Started: start, Seconds: 2, Response: "so so"},
		{ID: "dead", Status: leptir.StatusCompleted, Code: leptir.CodeTimeLimit, Class: `App\Mail`, Started: start, Seconds: 2},
		{ID: "odd", Status: leptir.StatusCompleted, Code: 77, Class: `App\Mail`},
	}}
	meta, _ := metaOf(s)
	defer meta.close(t)
	w.TellMeta(meta)
	for id, want := range map[string]string{
		"new": "pending mail  0s ", "again": "retrying mail error 1.5s no", "runs": "running Ärger  0s ", "done": "done App.Other warning 2s so so",
		"dead": "dead mail timeout 2s ", "odd": "dead mail unknown 0s ",
	} {
		r, err := w.Get(t.Context(), id)
		if got := fmt.Sprint(r.State, " ", r.Type, " ", r.Run.Result, " ", r.Run.Duration, " ", string(r.Run.Response)); err != nil || got != want {
			t.Errorf("%s: %q (%v), want %q", id, got, err, want)
		}
	}
	if _, err := w.Get(t.Context(), "nobody"); err == nil || !strings.Contains(err.Error(), "there is no task") {
		t.Errorf("of a task that nobody knows: %v", err)
	}
	s.answer(errAway)
	if _, err := w.Get(t.Context(), "nobody"); !errors.Is(err, errAway) {
		t.Errorf("when the store is away: %v", err)
	}
}

// TestMetaIsFollowed: a task that was pushed here and is worked off elsewhere.
func TestMetaIsFollowed(t *testing.T) {
	w := newWorld(t, only("exit 1"))
	s := &shelf{}
	meta, _ := metaOf(s)
	w.TellMeta(meta)
	elsewhere, here := w.push(""), w.push("")
	later := time.Now().Add(time.Hour)
	if r, err := w.Get(t.Context(), elsewhere); err != nil || r.State != StatePending {
		t.Errorf("at first %+v (%v)", r, err)
	}
	w.until("the pushes are told", func() bool { return s.story(elsewhere) != "" && s.story(here) != "" })
	w.must(s.Save(t.Context(), []leptir.Info{{ID: elsewhere, Status: leptir.StatusInProgress, Code: leptir.CodeUnknown, Started: later}}))
	if r, err := w.Get(t.Context(), elsewhere); err != nil || r.State != StateRunning || !r.Run.Started.Equal(later) || r.Type != "t" {
		t.Errorf("when it runs elsewhere %+v (%v)", r, err)
	}
	w.work()
	meta.close(t)
	w.must(s.Save(t.Context(), []leptir.Info{{ID: here, Status: leptir.StatusCompleted, Code: leptir.CodeSuccess, Started: later}}))
	if r, err := w.Get(t.Context(), here); err != nil || r.State != StateDead || r.Run.Result != ResultError {
		t.Errorf("what has ended here is %+v (%v)", r, err)
	}
	s.answer(errAway)
	if r, err := w.Get(t.Context(), elsewhere); err != nil || r.State != StateDead {
		t.Errorf("when the store is away %+v (%v)", r, err)
	}
}
