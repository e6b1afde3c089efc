package tasks

import (
	"context"
	"testing"

	"procops/internal/fault"
)

// TestPause: of a paused type nothing is begun until it is resumed; others go on. With
// everything paused there is nothing to work off.
func TestPause(t *testing.T) {
	cfg := only("true")
	cfg.Types["other"] = script("true")
	w := newWorld(t, cfg)
	w.must(w.Pause(t.Context(), []string{"t"}))
	id := w.push("")
	other, err := w.Push(t.Context(), Task{Type: "other"})
	w.must(err)
	w.work()
	w.want(id, "pending  0/0")
	w.want(other, "done success 0/0")
	w.must(w.Pause(t.Context(), nil))
	w.must(w.Resume(t.Context(), []string{"t"})) // all are paused still
	w.work()
	w.want(id, "pending  0/0")

	ctx, stop := context.WithCancel(context.Background())
	k := w.start(ctx, WorkOptions{})
	w.must(w.Resume(t.Context(), nil))
	w.until("it has run", func() bool { return w.get(id).State == StateDone })
	// The worker waits for both types by now, and hears of a pause before it begins.
	w.must(w.Pause(t.Context(), []string{"t"}))
	stop()
	_, err = k.wait()
	w.must(err)
	if err := w.Pause(t.Context(), []string{"oter"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("an unknown type: %v", err)
	}
	if types, err := w.Paused(t.Context()); err != nil || len(types) != 1 || types[0] != "t" {
		t.Errorf("paused: %q, %v", types, err)
	}
}

// TestResumeOther: a worker that waits for one type hears that another is resumed.
func TestResumeOther(t *testing.T) {
	cfg := only("true")
	cfg.Types["other"] = script("true")
	w := newWorld(t, cfg)
	w.must(w.Pause(t.Context(), []string{"t"}))
	id := w.push("")
	ctx, stop := context.WithCancel(context.Background())
	k := w.start(ctx, WorkOptions{})
	other, err := w.Push(t.Context(), Task{Type: "other"})
	w.must(err)
	w.until("the other has run", func() bool { return w.get(other).State == StateDone })
	w.want(id, "pending  0/0")
	w.must(w.Resume(t.Context(), []string{"t"}))
	w.until("it has run", func() bool { return w.get(id).State == StateDone })
	stop()
	_, err = k.wait()
	w.must(err)
}
