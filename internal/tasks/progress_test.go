package tasks

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"procops/internal/event"
	"procops/internal/runner"
)

// TestProgress: what a handler tells is there while it runs, and stays.
func TestProgress(t *testing.T) {
	w := newWorld(t, only(`{ echo '{"state": "fetch"}'; echo '{"meta": {"pages": 3}}'; echo "3/10 crop"; } >&3
		until [ -e go ]; do sleep 0.01; done
		{ echo '{"state": "store", "meta": {"size": [1, 2], "pages": null}}'; echo 10/10; } >&3`))
	var heard atomic.Int64
	w.bus.Subscribe("tasks.task.progress", func(e event.Event) {
		if e.Subject != "" {
			heard.Add(1)
		}
	})
	id := w.push("")
	k := w.start(t.Context(), WorkOptions{UntilEmpty: true})
	w.until("its progress is recorded", func() bool { p := w.get(id).Run.Progress; return p != nil && p.Done == 3 })
	r := w.want(id, "running  0/0")
	if got := fmt.Sprintf("%+v %s %s", *r.Run.Progress, r.Run.state(), r.Run.Meta); got != "{Done:3 Total:10 Percent:30 Message:crop} fetch map[pages:3]" {
		t.Errorf("while it runs it is %s", got)
	}
	w.letGo()
	if _, err := k.wait(); err != nil {
		t.Fatal(err)
	}
	r = w.want(id, "done success 0/0")
	if got := fmt.Sprintf("%+v %s", *r.Run.Progress, r.Run.Meta); got != "{Done:10 Total:10 Percent:100 Message:} map[size:[1, 2]]" && got != "{Done:10 Total:10 Percent:100 Message:} map[size:[1,2]]" {
		t.Errorf("in the end it is %s", got)
	}
	if f := r.Run.Flow; len(f) != 2 || f[0].State != "fetch" || f[1].State != "store" || f[1].Time.Before(f[0].Time) || f[0].Time.Before(r.Run.Started) {
		t.Errorf("its states are %+v, started %s", f, r.Run.Started)
	}
	if heard.Load() == 0 {
		t.Error("nothing was published")
	}
	if got := w.events(id); got != "pushed started completed" {
		t.Errorf("events: %s", got)
	}
}

// TestProgressIsOfARun: the next run begins with none.
func TestProgressIsOfARun(t *testing.T) {
	cfg := only(`[ $PROCOPS_TASK_ATTEMPT = 2 ] || { echo '{"percent": 50, "state": "s", "meta": {"a": 1}}' >&3; exit 1; }`)
	cfg.MaxAttempts = 2
	w := newWorld(t, cfg)
	id := w.push("")
	w.work()
	if r := w.get(id); r.State == StateRetrying && (r.Run.Progress == nil || r.Run.state() != "s" || r.Run.Meta == nil) {
		t.Errorf("after the first run it is %+v", r.Run)
	}
	w.until("it is done", func() bool { w.work(); return w.get(id).State == StateDone })
	if r := w.get(id); r.Run.Progress != nil || r.Run.Flow != nil || r.Run.Meta != nil {
		t.Errorf("after the second run it is %+v", r.Run.Account)
	}
}

// TestProgressIsBounded: a report of each of many steps is not a transaction each.
func TestProgressIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var records []Account
		told := newTracker(func(a Account) { records = append(records, a) })
		for i := range uint64(10000) {
			told.hear(runner.Progress{Done: i, Total: 10000})
			<-time.After(time.Millisecond)
		}
		account, whole := told.finish()
		if account.Progress.Done != 9999 || !whole {
			t.Errorf("in the end it is %+v, %v", account.Progress, whole)
		}
		if n := len(records); n < 30 || n > 35 {
			t.Errorf("%d records in ten seconds", n)
		}
		if first := records[0].Progress.Done; first > 1 {
			t.Errorf("the first record is of %d", first)
		}
	})
}

// TestQuietTracker: whoever has nothing more to say has no goroutine either.
func TestQuietTracker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		told := newTracker(func(Account) { n++ })
		for range 3 {
			told.hear(runner.Progress{Message: "x"})
			<-time.After(time.Minute)
			synctest.Wait()
			if told.writing {
				t.Error("it waits for nothing")
			}
		}
		told.finish()
		if n != 3 {
			t.Errorf("%d records of three reports", n)
		}
	})
}

func TestAccountIsBounded(t *testing.T) {
	var a Account
	hear := func(p runner.Progress) bool { return a.hear(&p, time.Unix(int64(len(a.Flow)), 0)) }
	for i := range 3 * MaxSteps {
		hear(runner.Progress{State: fmt.Sprint("s", i/2)}) // each twice
	}
	if n := len(a.Flow); n != MaxSteps || a.Flow[0].State != fmt.Sprint("s", MaxSteps/2) || a.state() != fmt.Sprint("s", 3*MaxSteps/2-1) {
		t.Errorf("%d states from %s to %s", n, a.Flow[0].State, a.state())
	}
	hear(runner.Progress{State: strings.Repeat("ä", 1000) + "\xff"})
	if got := a.state(); got != strings.Repeat("ä", maxStateName/2) {
		t.Errorf("a long state is %q", got)
	}
	hear(runner.Progress{Done: 1, Total: 4, Percent: 25, Message: "m"})
	hear(runner.Progress{State: "x"})
	hear(runner.Progress{Message: "n\xff"})
	if got := fmt.Sprintf("%+v", *a.Progress); got != "{Done:1 Total:4 Percent:25 Message:n\ufffd}" {
		t.Errorf("the progress is %s", got)
	}
	large := json.RawMessage(`"` + strings.Repeat("x", maxMeta/2) + `"`)
	meta := func(name string, value json.RawMessage) bool {
		return hear(runner.Progress{Meta: map[string]json.RawMessage{name: value}})
	}
	if !meta("a", large) || meta("b", large) || !meta("c", json.RawMessage("1")) || !meta("a", large) {
		t.Error("what fits is what does not")
	}
	if a.Meta["b"] != nil || string(a.Meta["c"]) != "1" {
		t.Errorf("it has %d fields", len(a.Meta))
	}
	if !meta("a", json.RawMessage("null")) || !meta("b", large) || len(a.Meta) != 2 {
		t.Error("there is no room after something was taken back")
	}
}
