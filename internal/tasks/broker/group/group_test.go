package group

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"procops/internal/store"
	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/conformance"
	"procops/internal/tasks/broker/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that stands still until it is moved.
type clock struct{ micros atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.micros.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) now() time.Time       { return time.UnixMicro(c.micros.Load()) }
func (c *clock) pass(d time.Duration) { c.micros.Add(d.Microseconds()) }

// queue opens the queue in a directory.
func queue(tb testing.TB, dir string, c *clock) broker.Broker {
	tb.Helper()
	st, err := store.Open(tb.Context(), dir, store.Options{Now: c.now})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := st.Close(); err != nil {
			tb.Error(err)
		}
	})
	return sqlite.New(st)
}

// TestConformance: several brokers keep the promises of one, wherever the messages are.
func TestConformance(t *testing.T) {
	for _, home := range []int{0, 1} {
		for _, check := range conformance.Checks() {
			t.Run(fmt.Sprint(check.Name, home), func(t *testing.T) {
				clock, dirs := newClock(), []string{t.TempDir(), t.TempDir()}
				open := func() *Group {
					// All checks push with priorities between these.
					return open(t, []Member{
						{Name: "a", Priority: []int{10, -10}[home], Broker: queue(t, dirs[0], clock)},
						{Name: "b", Priority: 20, Broker: queue(t, dirs[1], clock)},
					}, Options{})
				}
				check.Run(t, conformance.Bench{Broker: open(), Other: open(), Now: clock.now, Pass: clock.pass})
			})
		}
	}
}

// open returns a group that is closed when the test ends.
func open(tb testing.TB, members []Member, opt Options) *Group {
	tb.Helper()
	g := New(members, opt)
	tb.Cleanup(func() {
		if err := g.Close(context.WithoutCancel(tb.Context())); err != nil {
			tb.Error(err)
		}
	})
	return g
}

// endless is a broker that always has more, of one priority.
type endless struct {
	broker.Broker
	empty  bool
	pushed []string
}

func (e *endless) Claim(_ context.Context, ask broker.Ask) ([]broker.Lease, error) {
	if e.empty {
		return nil, nil
	}
	return make([]broker.Lease, ask.Max), nil
}

func (e *endless) Push(_ context.Context, messages []broker.Message) error {
	for _, m := range messages {
		e.pushed = append(e.pushed, m.ID)
	}
	return nil
}

func (e *endless) List(context.Context, []string) iter.Seq2[broker.Entry, error] { return nil }

func members(priorities []int, empty ...int) (all []*endless, list []Member) {
	for i, p := range priorities {
		e := &endless{}
		all = append(all, e)
		list = append(list, Member{Name: fmt.Sprint(i), Priority: p, Broker: e})
	}
	for _, i := range empty {
		all[i].empty = true
	}
	return all, list
}

// TestShares draws many messages one by one and in heaps: the shares of the brokers are as
// their ranks say.
func TestShares(t *testing.T) {
	for _, c := range []struct {
		priorities []int
		empty      []int
		strict     bool
		want       []float64
	}{
		{[]int{0, 1, 2}, nil, false, []float64{6. / 11, 3. / 11, 2. / 11}},
		{[]int{1, 1, 2}, nil, false, []float64{.4, .4, .2}},
		{[]int{-7, 0, 100}, nil, false, []float64{6. / 11, 3. / 11, 2. / 11}},
		{[]int{5}, nil, false, []float64{1}},
		{[]int{3, 3, 3, 3}, nil, false, []float64{.25, .25, .25, .25}},
		{[]int{0, 1, 2}, []int{0}, false, []float64{0, .6, .4}},
		{[]int{0, 1, 2}, []int{1}, false, []float64{.75, 0, .25}},
		{[]int{0, 1, 2}, []int{0, 1}, false, []float64{0, 0, 1}},
		{[]int{0, 1, 2}, nil, true, []float64{1, 0, 0}},
		{[]int{0, 1, 2}, []int{0}, true, []float64{0, 1, 0}},
	} {
		for _, heap := range []int{1, 100} {
			t.Run(fmt.Sprint(c.priorities, c.empty, c.strict, heap), func(t *testing.T) {
				const claims = 20_000
				_, list := members(c.priorities, c.empty...)
				g := open(t, list, Options{Strict: c.strict, Rand: rand.New(rand.NewPCG(1, 2)).Float64}) //nolint:gosec // the same each time
				got := make([]int, len(list))
				for range claims / heap {
					leases, err := g.Claim(t.Context(), broker.Ask{Types: []string{"t"}, Max: heap})
					if err != nil || len(leases) != heap {
						t.Fatalf("claimed %d: %v", len(leases), err)
					}
					for _, l := range leases {
						var i int
						_, _ = fmt.Sscan(l.Broker, &i)
						got[i]++
					}
				}
				for i, want := range c.want {
					// Four standard deviations of so many draws.
					share, bound := float64(got[i])/claims, 4*math.Sqrt(want*(1-want)/claims)
					if math.Abs(share-want) > bound {
						t.Errorf("broker %d has the share %.4f, want %.4f ± %.4f", i, share, want, bound)
					}
				}
			})
		}
	}
}

func TestAllEmpty(t *testing.T) {
	_, list := members([]int{0, 1}, 0, 1)
	if leases, err := open(t, list, Options{}).Claim(t.Context(), broker.Ask{Types: []string{"t"}, Max: 3}); len(leases) > 0 || err != nil {
		t.Error(leases, err)
	}
}

// TestHome: a message goes to the first broker whose priority is not below its own,
// otherwise to the last.
func TestHome(t *testing.T) {
	all, list := members([]int{10, 0, 5, 5})
	g := open(t, list, Options{})
	for _, c := range []struct{ priority, want int }{{-3, 1}, {0, 1}, {1, 2}, {5, 2}, {6, 0}, {10, 0}, {11, 0}} {
		id := fmt.Sprint(c.priority)
		if err := g.Push(t.Context(), []broker.Message{{ID: id, Priority: c.priority}}); err != nil {
			t.Fatal(err)
		}
		if pushed := all[c.want].pushed; len(pushed) == 0 || pushed[len(pushed)-1] != id {
			t.Errorf("priority %d did not go to broker %d", c.priority, c.want)
		}
	}
}
