package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"procops/internal/tasks/broker"
)

// Model compares a queue whose clock can be moved with a model of it, over sequences of
// calls drawn by chance: nothing that was pushed is lost before it is acknowledged, no
// message has two leases at a time, whoever holds the newest one in time can use it, and
// whoever holds an older one cannot. The calls come from two who have the queue open. The
// queue may have messages of earlier runs, whose types begin with the number of their run.
func Model(tb rapid.TB, bench Bench) {
	run := 0
	rapid.Check(tb, func(t *rapid.T) {
		run++
		m := &model{T: t, bench: bench, typ: fmt.Sprintf("model-%d", run), messages: map[string]*modelMessage{}}
		t.Repeat(map[string]func(*rapid.T){
			"push": m.push, "claim": m.claim, "extend": m.extend, "ack": m.ack, "nack": m.nack, "bury": m.bury, "time": m.pass,
			"": m.count,
		})
		m.drain()
	})
}

// modelLease is how long leases last in the model; the steps of time are shorter and longer.
const modelLease = 10 * time.Second

// model is what a queue should be.
type model struct {
	*rapid.T
	bench    Bench
	typ      string
	messages map[string]*modelMessage // by ID; what was acknowledged is gone
	leases   []broker.Lease           // all that there ever were
}

// modelMessage is a message that is queued.
type modelMessage struct {
	priority int
	runAt    time.Time
	state    broker.State // ready stands for scheduled as well
	number   int64        // of the newest lease
	until    time.Time    // its end
	attempts int
	crashes  int // without that of a lease that has ended and was not taken
}

func (m *model) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// broker returns one of the two who have the queue open.
func (m *model) broker(t *rapid.T) broker.Broker {
	if rapid.Bool().Draw(t, "other") {
		return m.bench.Other
	}
	return m.bench.Broker
}

func (m *model) push(t *rapid.T) {
	id := m.typ + "-" + rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "id")
	msg := broker.Message{
		ID: id, Type: m.typ, Body: []byte(id), Priority: rapid.IntRange(-1, 1).Draw(t, "priority"),
		RunAt: m.bench.Now().Add(rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "in")),
	}
	m.must(m.broker(t).Push(context.Background(), []broker.Message{msg}))
	if m.messages[id] == nil {
		m.messages[id] = &modelMessage{priority: msg.Priority, runAt: msg.RunAt, state: broker.StateReady}
	}
}

// claimable reports whether a message can be claimed now.
func (m *model) claimable(x *modelMessage) bool {
	now := m.bench.Now()
	return x.state == broker.StateReady && !x.runAt.After(now) || x.state == broker.StateLeased && !x.until.After(now)
}

func (m *model) ready() (n int) {
	for _, x := range m.messages {
		if m.claimable(x) {
			n++
		}
	}
	return n
}

func (m *model) claim(t *rapid.T) { m.claimSome(m.broker(t), rapid.IntRange(1, 3).Draw(t, "max")) }

func (m *model) claimSome(b broker.Broker, most int) {
	want := min(most, m.ready())
	leases, err := b.Claim(context.Background(), broker.Ask{Types: []string{m.typ}, Max: most, Lease: modelLease})
	m.must(err)
	if len(leases) != want {
		m.Fatalf("claimed %q, want %d messages", ids(leases), want)
	}
	for i, l := range leases {
		x := m.messages[l.ID]
		if x == nil || !m.claimable(x) {
			m.Fatalf("claimed %+v, which is %+v", l, x)
		}
		if x.state == broker.StateLeased {
			x.crashes++
		}
		if l.Number <= x.number || l.Attempts != x.attempts || l.Crashes != x.crashes || l.Priority != x.priority || string(l.Body) != l.ID {
			m.Fatalf("claimed %+v, which is %+v", l, x)
		}
		if i > 0 && leases[i-1].Priority > l.Priority {
			m.Fatalf("claimed out of order: %q", ids(leases))
		}
		x.state, x.number, x.until = broker.StateLeased, l.Number, m.bench.Now().Add(modelLease)
		m.leases = append(m.leases, l)
	}
}

// use does something with a lease, also with one that is lost. It returns the message of
// one with which that could be done.
func (m *model) use(t *rapid.T, what string, do func(broker.Broker, broker.Lease) (lost bool, err error)) *modelMessage {
	if len(m.leases) == 0 {
		t.Skip("there are no leases")
	}
	l := rapid.SampledFrom(m.leases).Draw(t, "lease")
	lost, err := do(m.broker(t), l)
	m.must(err)
	x := m.messages[l.ID]
	newest := x != nil && x.state == broker.StateLeased && x.number == l.Number
	switch {
	case !newest && !lost:
		m.Fatalf("%s: the lease %d of %s could be used, and the message is %+v", what, l.Number, l.ID, x)
	case newest && lost && m.bench.Now().Before(x.until):
		m.Fatalf("%s: the lease %d of %s, which is %+v, is said to be lost", what, l.Number, l.ID, x)
	case lost && newest: // it has ended, and the broker knows that already
		x.state, x.crashes = broker.StateReady, x.crashes+1
		return nil
	case lost:
		return nil
	}
	return x
}

func isLost(err error) (bool, error) {
	if errors.Is(err, broker.ErrLost) {
		return true, nil
	}
	return false, err
}

func (m *model) extend(t *rapid.T) {
	x := m.use(t, "extend", func(b broker.Broker, l broker.Lease) (bool, error) {
		lost, err := b.Extend(context.Background(), []broker.Lease{l}, modelLease)
		return len(lost) > 0, err
	})
	if x != nil {
		x.until = m.bench.Now().Add(modelLease)
	}
}

func (m *model) ack(t *rapid.T) {
	x := m.use(t, "ack", func(b broker.Broker, l broker.Lease) (bool, error) {
		lost, err := b.Ack(context.Background(), []broker.Lease{l})
		return len(lost) > 0, err
	})
	for id, y := range m.messages {
		if x != nil && x == y {
			delete(m.messages, id)
			// A message of the same ID is another one, and its leases begin anew.
			m.leases = slices.DeleteFunc(m.leases, func(l broker.Lease) bool { return l.ID == id })
		}
	}
}

func (m *model) nack(t *rapid.T) {
	again := broker.Again{Failed: rapid.Bool().Draw(t, "failed"), Fresh: rapid.Bool().Draw(t, "fresh")}
	if in := rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "in"); in > 0 {
		again.At = m.bench.Now().Add(in)
	}
	x := m.use(t, "nack", func(b broker.Broker, l broker.Lease) (bool, error) {
		return isLost(b.Nack(context.Background(), l, again))
	})
	if x == nil {
		return
	}
	x.state = broker.StateReady
	if !again.At.IsZero() {
		x.runAt = again.At
	}
	if again.Fresh {
		x.attempts, x.crashes = 0, 0
	}
	if again.Failed {
		x.attempts++
	}
}

func (m *model) bury(t *rapid.T) {
	x := m.use(t, "bury", func(b broker.Broker, l broker.Lease) (bool, error) {
		return isLost(b.Bury(context.Background(), l))
	})
	if x != nil {
		x.state = broker.StateBuried
	}
}

func (m *model) pass(t *rapid.T) {
	m.bench.Pass(rapid.SampledFrom([]time.Duration{time.Millisecond, modelLease / 2, modelLease, time.Minute}).Draw(t, "time"))
}

// count compares the numbers of messages.
func (m *model) count(*rapid.T) {
	var want broker.Counts
	for _, x := range m.messages {
		switch {
		case m.claimable(x):
			want.Ready++
		case x.state == broker.StateLeased:
			want.Leased++
		case x.state == broker.StateBuried:
			want.Buried++
		default:
			want.Scheduled++
		}
	}
	got, err := m.bench.Other.Count(context.Background(), []string{m.typ})
	m.must(err)
	if got != want {
		m.Fatalf("counted %+v, want %+v", got, want)
	}
}

// drain wants all that is left to come back once nobody uses it.
func (m *model) drain() {
	m.bench.Pass(time.Hour)
	m.claimSome(m.bench.Broker, 100)
	for id, x := range m.messages {
		if x.state == broker.StateReady {
			m.Errorf("%s is lost: %+v", id, x)
		}
	}
}
