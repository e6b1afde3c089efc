package tasks

import (
	"context"
	"slices"
	"testing"
	"time"

	"procops/internal/tasks/broker"
	"procops/internal/unit"
)

func (w *world) cancel(ids ...string) []string {
	w.t.Helper()
	done, err := w.Cancel(w.t.Context(), ids)
	w.must(err)
	return done
}

// TestCancelPending: what is cancelled is not run, whether it was ready, for later or
// retrying; what has ended cannot be cancelled.
func TestCancelPending(t *testing.T) {
	w := newWorld(t, only(`echo x >> runs; test -e good`))
	w.make("good")
	ended := w.push("")
	w.work()
	ready := w.push("")
	later, err := w.Push(t.Context(), Task{Type: "t", At: time.Now().Add(time.Hour)})
	w.must(err)
	if got := w.cancel(ready, ended, "no", later); !slices.Equal(got, []string{ready, later}) {
		t.Errorf("cancelled %q", got)
	}
	if got := w.cancel(ready); len(got) > 0 {
		t.Errorf("cancelled twice: %q", got)
	}
	w.work()
	for _, id := range []string{ready, later} {
		if r := w.want(id, "cancelled  0/0"); r.Run.Ended.IsZero() {
			t.Error("a task that did not run has not ended")
		}
		if got := w.events(id); got != "pushed cancelled" {
			t.Errorf("events: %s", got)
		}
	}
	w.want(ended, "done success 0/0")
	if n := w.queued(); n != (broker.Counts{}) || w.file("runs") != "x\n" {
		t.Errorf("the broker has %+v, and there were the runs %q", n, w.file("runs"))
	}
}

// TestCancelUnfinished: whoever cancels a task dies before the broker is told. The task
// is not run all the same.
func TestCancelUnfinished(t *testing.T) {
	w := newWorld(t, only(`echo x >> runs`))
	id := w.push("")
	lease := w.claim()
	w.cancel(id) // the broker is told nothing: somebody has a lease
	w.must(w.broker.Nack(t.Context(), lease, broker.Again{}))
	w.work()
	w.want(id, "cancelled  0/0")
	if n := w.queued(); n != (broker.Counts{}) || w.file("runs") != "" {
		t.Errorf("the broker has %+v, and there were the runs %q", n, w.file("runs"))
	}
}

// claim claims the only task, as another worker would.
func (w *world) claim() broker.Lease {
	w.t.Helper()
	leases, err := w.broker.Claim(w.t.Context(), broker.Ask{Types: []string{"t"}, Max: 1, Lease: time.Minute})
	w.must(err)
	if len(leases) != 1 {
		w.t.Fatal("there is nothing to claim")
	}
	return leases[0]
}

// TestCancelRunning: the run ends by the stop ladder; what the handler has said is kept.
func TestCancelRunning(t *testing.T) {
	cfg := only(`echo begun; echo $$ > pid; trap 'echo asked > asked; exit 0' TERM; while :; do sleep 0.01; done`)
	cfg.Workers = 2
	w := newWorld(t, cfg)
	id := w.push("")
	ctx, stop := context.WithCancel(context.Background())
	k := w.start(ctx, WorkOptions{})
	w.until("it has begun", func() bool { return w.file("pid") != "" })
	if got := w.cancel(id); !slices.Equal(got, []string{id}) {
		t.Errorf("cancelled %q", got)
	}
	w.until("it has ended", func() bool { return !w.get(id).Run.Ended.IsZero() })
	if r := w.want(id, "cancelled unknown 0/0"); string(r.Run.Response) != "begun\n" || r.Run.Message != "the task was cancelled" {
		t.Errorf("its run is %+v", r.Run)
	}
	w.until("the broker knows", func() bool { return w.queued() == broker.Counts{} })
	if w.file("asked") == "" {
		t.Error("the handler was not asked to end")
	}
	if got := w.events(id); got != "pushed started cancelled" {
		t.Errorf("events: %s", got)
	}
	stop()
	if got, err := k.wait(); err != nil || got != (Report{}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestCancelEnding: a run that ends by itself, however, before its worker has heard that
// it is not wanted is over.
func TestCancelEnding(t *testing.T) {
	for _, code := range []string{"0", "1", "75"} {
		t.Run(code, func(t *testing.T) {
			cfg := only(`touch begun; until [ -e go ]; do sleep 0.001; done; exit ` + code)
			cfg.MaxAttempts = 5
			cfg.Retry.Initial, cfg.Retry.Max = unit.Duration(time.Hour), unit.Duration(time.Hour)
			w := newWorld(t, cfg)
			id := w.push("")
			k := w.start(t.Context(), WorkOptions{UntilEmpty: true})
			w.until("it has begun", func() bool { return w.get(id).State == StateRunning })
			w.cancel(id)
			w.letGo()
			_, err := k.wait()
			w.must(err)
			if r := w.get(id); r.State != StateCancelled || r.Run.Ended.IsZero() {
				t.Errorf("the task is %+v", r)
			}
			if n := w.queued(); n != (broker.Counts{}) {
				t.Errorf("the broker has %+v", n)
			}
		})
	}
}

// TestCancelElsewhere: what another host has pushed can be cancelled here while it waits.
func TestCancelElsewhere(t *testing.T) {
	w := newWorld(t, only("true"))
	r := newRecord(Task{Type: "t", Params: []byte("{}")}, time.Now())
	r.ID = "a"
	m, err := r.message()
	w.must(err)
	w.must(w.broker.Push(t.Context(), []broker.Message{m}))
	if got := w.cancel("a"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("cancelled %q", got)
	}
	w.want("a", "cancelled  0/0")
	if n := w.queued(); n != (broker.Counts{}) {
		t.Errorf("the broker has %+v", n)
	}
}
