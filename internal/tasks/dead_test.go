package tasks

import (
	"context"
	"slices"
	"testing"
	"time"

	"procops/internal/tasks/broker"
	"procops/internal/unit"
)

// untilGood fails until the file "good" is there.
const untilGood = `echo run >> runs; test -e good`

// dead makes a world with a dead task.
func dead(t *testing.T) (w *world, id string) {
	t.Helper()
	w = newWorld(t, only(untilGood))
	id = w.push("")
	w.work()
	w.want(id, "dead error 1/0")
	return w, id
}

// takeBuried claims a buried task.
func (w *world) takeBuried(id string) broker.Lease {
	w.t.Helper()
	leases, err := w.take(w.t.Context(), []string{id}, broker.StateBuried)
	w.must(err)
	if len(leases) != 1 {
		w.t.Fatalf("%q is not buried", id)
	}
	return leases[0]
}

// TestRequeue: a dead task lives again with its counts anew, and can die again.
func TestRequeue(t *testing.T) {
	w, id := dead(t)
	for range 2 {
		done, err := w.Requeue(t.Context(), []string{id, "no"})
		w.must(err)
		if !slices.Equal(done, []string{id}) {
			t.Errorf("requeued %q", done)
		}
		w.want(id, "pending error 0/0")
		w.work()
		w.want(id, "dead error 1/0")
	}
	w.make("good")
	_, err := w.Requeue(t.Context(), []string{id})
	w.must(err)
	w.work()
	w.want(id, "done success 0/0")
	if done, err := w.Requeue(t.Context(), []string{id}); len(done) > 0 || err != nil {
		t.Errorf("a task that is done was requeued: %q, %v", done, err)
	}
	if got := w.events(id); got != "pushed started failed dead requeued started failed dead requeued started failed dead requeued started completed" {
		t.Errorf("events: %s", got)
	}
}

// TestRequeueUnrecorded: whoever requeues a task dies before he can record it. The
// task is run, whatever its record says.
func TestRequeueUnrecorded(t *testing.T) {
	w, id := dead(t)
	w.make("good")
	w.must(w.broker.Nack(t.Context(), w.takeBuried(id), broker.Again{Fresh: true}))
	w.want(id, "dead error 1/0")
	w.work()
	w.want(id, "done success 0/0")
}

// TestRequeueBeforeBury: the worker has died between the record and the broker, which
// does not know yet that the task is dead.
func TestRequeueBeforeBury(t *testing.T) {
	cfg := only(untilGood)
	cfg.Lease = unit.Duration(time.Second)
	w := newWorld(t, cfg)
	w.broker.buries = reportAttempts
	id := w.push("")
	ctx, cancel := context.WithCancel(t.Context())
	k := w.start(ctx, WorkOptions{})
	w.until("it is dead in the record", func() bool { return w.get(id).State == StateDead })
	cancel()
	_, err := k.wait()
	w.must(err)
	w.make("good")
	if done, err := w.Requeue(t.Context(), []string{id}); len(done) > 0 || err != nil {
		t.Errorf("requeued %q while its lease lasts: %v", done, err)
	}
	w.until("its lease has ended", func() bool { return w.queued().Ready == 1 })
	done, err := w.Requeue(t.Context(), []string{id})
	w.must(err)
	if !slices.Equal(done, []string{id}) {
		t.Errorf("requeued %q", done)
	}
	w.want(id, "pending error 0/0")
	w.cfg.MaxCrashes = 5
	w.work()
	w.want(id, "done success 0/1")
}

// TestRequeueLost: the broker has lost a dead task, the record has not.
func TestRequeueLost(t *testing.T) {
	w, id := dead(t)
	_, err := w.broker.Ack(t.Context(), []broker.Lease{w.takeBuried(id)})
	w.must(err)
	w.make("good")
	done, err := w.Requeue(t.Context(), []string{id})
	w.must(err)
	if !slices.Equal(done, []string{id}) {
		t.Errorf("requeued %q", done)
	}
	w.work()
	w.want(id, "done success 0/0")
}

// TestDeleteDead: a dead task is gone from the broker and from the record, also when
// somebody has died between the two.
func TestDeleteDead(t *testing.T) {
	w, id := dead(t)
	pending := w.push("")
	_, err := w.broker.Ack(t.Context(), []broker.Lease{w.takeBuried(id)})
	w.must(err)
	done, err := w.DeleteDead(t.Context(), []string{id, pending, "no"})
	w.must(err)
	if !slices.Equal(done, []string{id}) {
		t.Errorf("deleted %q", done)
	}
	if _, err := w.Get(t.Context(), id); err == nil {
		t.Error("it is still known")
	}
	w.want(pending, "pending  0/0")
	if n := w.queued(); n != (broker.Counts{Ready: 1}) {
		t.Errorf("the broker has %+v", n)
	}
}

// TestDeadElsewhere: what died on another host is seen, requeued and deleted here.
func TestDeadElsewhere(t *testing.T) {
	w := newWorld(t, only("true"))
	var ids []string
	for _, id := range []string{"a", "b"} {
		ids = append(ids, id)
		r := newRecord(Task{Type: "t", Params: []byte("{}")}, time.Now())
		r.ID = id
		m, err := r.message()
		w.must(err)
		w.must(w.broker.Push(t.Context(), []broker.Message{m}))
		leases, err := w.broker.Claim(t.Context(), broker.Ask{Types: []string{"t"}, Max: 1, Lease: time.Minute})
		w.must(err)
		w.must(w.broker.Broker.Bury(t.Context(), leases[0]))
	}
	records, err := w.Dead(t.Context(), Filter{})
	w.must(err)
	if len(records) != 2 || records[0].ID != "a" || records[1].State != StateDead {
		t.Errorf("dead: %+v", records)
	}
	if records, err = w.Dead(t.Context(), Filter{Type: "other"}); len(records) > 0 || err != nil {
		t.Errorf("of another type: %+v, %v", records, err)
	}
	done, err := w.DeleteDead(t.Context(), ids[:1])
	w.must(err)
	if !slices.Equal(done, ids[:1]) {
		t.Errorf("deleted %q", done)
	}
	done, err = w.Requeue(t.Context(), ids)
	w.must(err)
	if !slices.Equal(done, ids[1:]) {
		t.Errorf("requeued %q", done)
	}
	w.work()
	w.want("b", "done success 0/0")
}
