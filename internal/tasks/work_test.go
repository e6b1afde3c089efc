package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
	"procops/internal/tasks/broker"
	"procops/internal/unit"
)

// TestRun: parameters on standard input, the task in the environment, the
// response and the diagnostics kept.
func TestRun(t *testing.T) {
	cfg := only(`cat; echo; echo "$PROCOPS_TASK_ID $PROCOPS_TASK_TYPE $PROCOPS_TASK_ATTEMPT $PROCOPS_TASK_PRIORITY $PROCOPS_TASK_TIME_LIMIT $EXTRA"; echo careful >&2`)
	typ := cfg.Types["t"]
	typ.Env = map[string]string{"EXTRA": "more"}
	cfg.Types["t"] = typ
	w := newWorld(t, cfg)
	id, err := w.Push(t.Context(), Task{Type: "t", Params: json.RawMessage(`{"a": [1, "ä"]}`), Priority: -2, TimeLimit: 90 * time.Second})
	w.must(err)
	w.want(id, "pending  0/0")
	if got := w.work(); got != (Report{Completed: 1}) {
		t.Errorf("the report is %+v", got)
	}
	r := w.want(id, "done success 0/0")
	if want := `{"a":[1,"ä"]}` + "\n" + id + " t 1 -2 90 more\n"; string(r.Run.Response) != want || r.Run.Diagnostics != "careful\n" {
		t.Errorf("response %q, diagnostics %q", r.Run.Response, r.Run.Diagnostics)
	}
	if r.Run.Duration <= 0 || r.Run.Started.IsZero() || r.Run.Ended.Before(r.Run.Started) || r.Run.Started.Before(r.Pushed) {
		t.Errorf("its times are %+v, pushed %s", r.Run, r.Pushed)
	}
	if got := w.events(id); got != "pushed started completed" {
		t.Errorf("events: %s", got)
	}
	if n := w.queued(); n != (broker.Counts{}) {
		t.Errorf("the broker still has %+v", n)
	}
}

func TestResultsOfRuns(t *testing.T) {
	for text, want := range map[string]string{
		"exit 0":                       "done success 0/0 0",
		"exit 2":                       "done warning 0/0 2",
		"exit 3":                       "dead error 1/0 3",
		"kill -KILL $$":                "dead unknown 1/0 137",
		"exec /nowhere":                "dead error 1/0 127",
		"head -c 300000 /dev/zero; :":  "done success 0/0 0",
		"sleep 1000 & exec sleep 1000": "dead timeout 1/0 143",
	} {
		t.Run(text, func(t *testing.T) {
			cfg := only(text)
			cfg.TimeLimit = unit.Duration(deadline)
			if strings.Contains(text, "sleep") {
				cfg.TimeLimit = unit.Duration(50 * time.Millisecond)
			}
			w := newWorld(t, cfg)
			id := w.push("")
			w.work()
			r := w.get(id)
			if got := fmt.Sprintf("%s %s %d/%d %d", r.State, r.Run.Result, r.Attempts, r.Crashes, r.Run.Code); got != want {
				t.Errorf("the task is %q (%s), want %q", got, r.Run.Message, want)
			}
			if len(r.Run.Response) > responseKept || (r.Run.Result == ResultSuccess) != (r.Run.Message == "") {
				t.Errorf("%d bytes of response, message %q", len(r.Run.Response), r.Run.Message)
			}
			if n := w.queued(); n.Ready+n.Scheduled+n.Leased > 0 || (n.Buried == 1) != (r.State == StateDead) {
				t.Errorf("the broker has %+v", n)
			}
		})
	}
}

// TestMissingProgram: what cannot be started has failed, and says why.
func TestMissingProgram(t *testing.T) {
	w := newWorld(t, Config{Types: map[string]Type{"t": {Command: []string{"/nowhere/handler"}}}})
	id := w.push("")
	w.work()
	if r := w.want(id, "dead error 1/0"); !strings.Contains(r.Run.Message, `cannot start "/nowhere/handler"`) || r.Run.Code != 127 {
		t.Errorf("code %d, %s", r.Run.Code, r.Run.Message)
	}
}

// TestRetry: a failure is tried again, so often and no more.
func TestRetry(t *testing.T) {
	cfg := only(`echo $PROCOPS_TASK_ATTEMPT >> attempts; exit 1`)
	cfg.MaxAttempts = 3
	w := newWorld(t, cfg)
	id := w.push("")
	// What waits for its time does not keep a worker that ends when all is done.
	w.until("the task is dead", func() bool { w.work(); return w.get(id).State == StateDead })
	w.want(id, "dead error 3/0")
	if got := w.file("attempts"); got != "1\n2\n3\n" {
		t.Errorf("attempts %q", got)
	}
	if got := w.events(id); got != "pushed started failed started failed started failed dead" {
		t.Errorf("events: %s", got)
	}
}

// TestScheduled: a worker that waits runs a task when its time comes, and a
// priority is kept.
func TestScheduled(t *testing.T) {
	w := newWorld(t, only(`cat >> order`))
	at := time.Now().Add(300 * time.Millisecond)
	id, err := w.Push(t.Context(), Task{Type: "t", At: at})
	w.must(err)
	if got := w.work(); got != (Report{}) {
		t.Errorf("a task was run before its time: %+v", got)
	}
	ctx, stop := context.WithCancel(context.Background())
	k := w.start(ctx, WorkOptions{})
	w.until("the task is done", func() bool { return w.get(id).State == StateDone })
	if started := w.get(id).Run.Started; started.Before(at) {
		t.Errorf("started at %s, before %s", started, at)
	}
	stop()
	if got, err := k.wait(); err != nil || got.Completed != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPriority: the more important first, then in the order of push.
func TestPriority(t *testing.T) {
	w := newWorld(t, only(`sed 's/[^0-9]//g' >> order`))
	for i, priority := range []int{1, 0, 1, -1} {
		_, err := w.Push(t.Context(), Task{Type: "t", Params: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i)), Priority: priority})
		w.must(err)
	}
	w.work()
	if got := w.file("order"); got != "3102" {
		t.Errorf("run in the order %s", got)
	}
}

// TestWorkersAtOnce: as many as configured, and no more.
func TestWorkersAtOnce(t *testing.T) {
	cfg := only(`echo x >> begun; until [ -e go ]; do sleep 0.01; done`)
	cfg.Workers = 3
	w := newWorld(t, cfg)
	for range 5 {
		w.push("")
	}
	k := w.start(context.Background(), WorkOptions{UntilEmpty: true})
	w.until("three have begun", func() bool { return len(w.file("begun")) == 6 })
	if n := w.queued(); n != (broker.Counts{Ready: 2, Leased: 3}) {
		t.Errorf("while three run the broker has %+v", n)
	}
	w.letGo()
	if got, err := k.wait(); err != nil || got.Completed != 5 {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestStop: what runs may end; what does not is stopped and given back, and that
// is no failure.
func TestStop(t *testing.T) {
	cfg := only(`echo $$ > pid; trap 'echo asked > asked; exit 1' TERM; until [ -e go ]; do sleep 0.01; done`)
	w := newWorld(t, cfg)
	id := w.push("")
	ctx, stop := context.WithCancel(context.Background())
	k := w.start(ctx, WorkOptions{})
	w.until("it has begun", func() bool { return w.file("pid") != "" })
	stop()
	w.letGo()
	if got, err := k.wait(); err != nil || got != (Report{Completed: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
	w.want(id, "done success 0/0")

	cfg.StopGrace = unit.Duration(10 * time.Millisecond)
	w.Queue = New(w.store, w.broker, w.defaults(cfg))
	for _, hurry := range []bool{false, true} {
		t.Run(fmt.Sprintf("hurry %v", hurry), func(t *testing.T) { w.stopped(t, hurry) })
	}
}

// stopped stops a worker while a task runs, and wants that given back.
func (w *world) stopped(t *testing.T, hurry bool) {
	t.Helper()
	w.clear()
	id := w.push("")
	ctx, stop := context.WithCancel(context.Background())
	now := make(chan struct{})
	opt := WorkOptions{}
	if hurry {
		opt.Hurry = now
	}
	k := w.start(ctx, opt)
	w.until("it has begun", func() bool { return w.file("pid") != "" })
	stop()
	close(now)
	if got, err := k.wait(); err != nil || got != (Report{Released: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
	if asked := w.file("asked") != ""; asked == hurry {
		t.Errorf("the handler was asked to end: %v", asked)
	}
	w.want(id, "pending  0/0")
	if got := w.events(id); got != "pushed started released" {
		t.Errorf("events: %s", got)
	}
	w.letGo()
	w.work()
	w.want(id, "done success 0/0")
}

// TestLeaseIsKept: a task that runs much longer than a lease stays with its
// worker.
func TestLeaseIsKept(t *testing.T) {
	cfg := only(`echo x >> begun; until [ -e go ]; do sleep 0.01; done`)
	cfg.Lease = unit.Duration(2 * time.Second)
	w := newWorld(t, cfg)
	id := w.push("")
	k := w.start(context.Background(), WorkOptions{UntilEmpty: true})
	w.until("it has begun", func() bool { return w.file("begun") != "" })
	began := time.Now()
	w.until("more than a lease has passed", func() bool {
		leases, err := w.broker.Claim(t.Context(), broker.Ask{Types: []string{"t"}, Max: 1, Lease: time.Minute})
		w.must(err)
		if len(leases) > 0 {
			t.Fatal("somebody else could claim it")
		}
		return time.Since(began) > 3*time.Second
	})
	w.letGo()
	if _, err := k.wait(); err != nil {
		t.Error(err)
	}
	w.want(id, "done success 0/0")
	if got := w.file("begun"); got != "x\n" {
		t.Errorf("it was run %d times", len(got)/2)
	}
}

// TestLostLeaseStopsTheRun: a worker that cannot extend its lease ends the run
// before somebody else begins one, and says nothing more about the task.
func TestLostLeaseStopsTheRun(t *testing.T) {
	cfg := only(`echo $$ >> pids; exec sleep 1000`)
	cfg.Lease, cfg.MaxCrashes = unit.Duration(150*time.Millisecond), 100
	w := newWorld(t, cfg)
	id := w.push("")
	w.broker.extend = errFaulty
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	k := w.start(ctx, WorkOptions{})
	var first int
	w.until("it has begun again", func() bool {
		var second int
		n, _ := fmt.Sscan(w.file("pids"), &first, &second)
		return n == 2
	})
	if err := syscall.Kill(first, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the first run still runs: %v", err)
	}
	stop()
	w.until("its lease has ended", func() bool { return w.queued().Ready == 1 })
	if _, err := k.wait(); err != nil {
		t.Error(err)
	}
	if r := w.get(id); r.State != StateRunning || r.Attempts != 0 || r.Crashes == 0 {
		t.Errorf("the task is %+v", r)
	}
}

// TestCrashes: a task that its workers die of is given up, and its crashes are
// no attempts.
func TestCrashes(t *testing.T) {
	cfg := only(`echo x >> begun; exit 1`)
	cfg.MaxCrashes = 2
	w := newWorld(t, cfg)
	die := func() {
		leases, err := w.broker.Claim(t.Context(), broker.Ask{Types: []string{"t"}, Max: 1, Lease: time.Microsecond})
		w.must(err)
		if len(leases) != 1 {
			t.Fatalf("claimed %d tasks", len(leases))
		}
		r, err := recordOf(leases[0])
		w.must(err)
		_, err = w.Queue.start(t.Context(), &leases[0], &r)
		w.must(err)
	}
	id := w.push("")
	die()
	w.want(id, "running  0/0")
	w.work()
	w.want(id, "dead error 1/1")

	w.clear()
	id = w.push("")
	for range 2 {
		die()
		w.until("its lease has ended", func() bool { return w.queued().Ready == 1 })
	}
	w.work()
	r := w.want(id, "dead unknown 0/2")
	if r.Run.Message != "2 workers have died while they ran it" || w.file("begun") != "" {
		t.Errorf("message %q, begun %q", r.Run.Message, w.file("begun"))
	}
	if got := w.events(id); got != "pushed started started dead" {
		t.Errorf("events: %s", got)
	}
}

// TestDiedBeforeAck: a worker that dies after it has recorded the result and
// before it has told the broker does not make the task run again.
func TestDiedBeforeAck(t *testing.T) {
	cfg := only(`echo x >> begun`)
	cfg.Lease = unit.Duration(200 * time.Millisecond)
	w := newWorld(t, cfg)
	id := w.push("")
	w.broker.acks = reportAttempts
	if _, err := w.start(context.Background(), WorkOptions{UntilEmpty: true}).wait(); err != nil {
		t.Error(err)
	}
	if got := w.file("begun"); got != "x\n" {
		t.Errorf("it was run %d times", len(got)/2)
	}
	w.want(id, "done success 0/1")
	if n := w.queued(); n != (broker.Counts{}) {
		t.Errorf("the broker still has %+v", n)
	}
	if got := w.events(id); got != "pushed started completed" {
		t.Errorf("events: %s", got)
	}
}

// TestAckIsTriedAgain: a broker that is away for a moment costs nothing.
func TestAckIsTriedAgain(t *testing.T) {
	w := newWorld(t, only(`echo x >> begun`))
	id := w.push("")
	w.broker.acks = 2
	w.work()
	w.want(id, "done success 0/0")
}

// TestPushedBeforeRecorded: a task whose push died between the broker and the
// record is run, shown, and told of in the right order.
func TestPushedBeforeRecorded(t *testing.T) {
	w := newWorld(t, only(`exit 0`))
	r := newRecord(Task{Type: "t", Params: json.RawMessage(`{"a":1}`)}, time.Now())
	m, err := r.message()
	w.must(err)
	w.must(w.broker.Push(t.Context(), []broker.Message{m}))
	w.work()
	if got := w.want(r.ID, "done success 0/0"); string(got.Params) != `{"a":1}` {
		t.Errorf("its parameters are %s", got.Params)
	}
	if got := w.events(r.ID); got != "pushed started completed" {
		t.Errorf("events: %s", got)
	}
	// The push comes late with its record, and changes nothing.
	w.must(w.store.Update(t.Context(), func(tx *store.Tx) error { return create(tx, &r) }))
	w.want(r.ID, "done success 0/0")
}

// TestLateReport: who has lost a task cannot report on it.
func TestLateReport(t *testing.T) {
	w := newWorld(t, only(`exit 0`))
	id := w.push("")
	claim := func() (broker.Lease, Record) {
		leases, err := w.broker.Claim(t.Context(), broker.Ask{Types: []string{"t"}, Max: 1, Lease: time.Microsecond})
		w.must(err)
		r, err := recordOf(leases[0])
		w.must(err)
		_, err = w.Queue.start(t.Context(), &leases[0], &r)
		w.must(err)
		return leases[0], r
	}
	old, r := claim()
	w.until("its lease has ended", func() bool { return w.queued().Ready == 1 })
	claim()
	for _, trigger := range []Trigger{TriggerComplete, TriggerRetry, TriggerGiveUp} {
		if err := w.end(t.Context(), &old, r, trigger); !errors.Is(err, broker.ErrLost) {
			t.Errorf("%s: %v", trigger, err)
		}
	}
	if err := w.release(t.Context(), &old, r); !errors.Is(err, broker.ErrLost) {
		t.Errorf("release: %v", err)
	}
	w.want(id, "running  0/1")
}

// TestParametersAreCheckedAgain: the worker's configuration has the last word.
func TestParametersAreCheckedAgain(t *testing.T) {
	w := newWorld(t, only(`echo x >> begun`))
	id := w.push(`{"to": 5}`)
	typ := w.cfg.Types["t"]
	typ.Params = map[string]Param{"to": {Type: TypeString}}
	w.cfg.Types["t"] = typ
	w.work()
	r := w.want(id, "dead error 0/0")
	if r.Run.Message != `parameter "to": want a string, have a number` || w.file("begun") != "" {
		t.Errorf("message %q, begun %q", r.Run.Message, w.file("begun"))
	}
}

// TestForeignMessage: what another program has put into the queue is put aside.
func TestForeignMessage(t *testing.T) {
	w := newWorld(t, only(`exit 0`))
	w.must(w.broker.Push(t.Context(), []broker.Message{{ID: "x", Type: "t", RunAt: time.Now(), Body: []byte("?")}}))
	w.work()
	if n := w.queued(); n != (broker.Counts{Buried: 1}) {
		t.Errorf("the broker has %+v", n)
	}
}

// TestOnlyOwnTypes: tasks of other types are left to those who know them.
func TestOnlyOwnTypes(t *testing.T) {
	cfg := only(`exit 0`)
	cfg.Types["produced"], cfg.Unknown = Type{}, Accept
	w := newWorld(t, cfg)
	typ := w.cfg.Types["produced"]
	typ.Dir = ""
	w.cfg.Types["produced"] = typ
	for _, typ := range []string{"produced", "unknown"} {
		id, err := w.Push(t.Context(), Task{Type: typ})
		w.must(err)
		w.work()
		w.want(id, "pending  0/0")
	}
	nothing := New(w.store, w.broker, Config{Types: map[string]Type{"produced": {}}})
	if _, err := nothing.Work(t.Context(), Deps{Host: w.host}, WorkOptions{}); !fault.Is(err, fault.Usage) {
		t.Errorf("without a command: %v", err)
	}
}

// TestForget: old tasks go, those that need somebody stay.
func TestForget(t *testing.T) {
	cfg := only(`[ "$(cat)" = '{}' ]`)
	cfg.Keep = unit.Duration(time.Hour)
	w := newWorld(t, cfg)
	old, dead, fresh := w.push(""), w.push(`{"a":1}`), w.push("")
	w.work()
	w.must(w.store.Update(t.Context(), func(tx *store.Tx) error {
		_, err := tx.Exec("UPDATE tasks SET ended_at = ended_at - 3600000001 WHERE id IN (?, ?)", old, dead)
		return err
	}))
	w.push("")
	w.work()
	if _, err := w.Get(t.Context(), old); !fault.Is(err, fault.NotFound) {
		t.Errorf("the old task: %v", err)
	}
	w.get(fresh)
	w.want(dead, "dead error 1/0")
}

// TestTwiceInOneWorker: where a broker has a message twice and one worker holds both, each has
// a lease of its own.
func TestTwiceInOneWorker(t *testing.T) {
	s := leases{held: map[claim]*held{}}
	l := broker.Lease{Message: broker.Message{ID: "x", Number: 2}, Handle: "1"}
	twin := l
	twin.Handle = "2"
	first, second := s.add(t.Context(), l, time.Now()), s.add(t.Context(), twin, time.Now())
	s.extended([]broker.Lease{l, twin}, []broker.Lease{twin}, time.Now().Add(time.Hour))
	if first.ctx.Err() != nil || !errors.Is(context.Cause(second.ctx), broker.ErrLost) {
		t.Errorf("lost are %v and %v", context.Cause(first.ctx), context.Cause(second.ctx))
	}
	s.remove(second)
	if all := s.all(); len(all) != 1 || all[0].Handle != "1" {
		t.Errorf("held are %+v", all)
	}
	s.expire(time.Now())
	if first.ctx.Err() != nil {
		t.Error("the lease that was extended is over")
	}
	s.remove(first)
}
