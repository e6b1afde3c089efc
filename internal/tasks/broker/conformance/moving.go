package conformance

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"procops/internal/tasks/broker"
)

// The checks of what it takes to settle many messages, to move them from broker to broker
// and to look at them.

func ackMany(tb TB, bench Bench) {
	c := check{tb, bench}
	c.push("x", "y", "z")
	old := c.claim(1)
	c.Pass(2 * c.step())
	leases := c.claim(3)
	gone, err := c.Broker.Ack(c.Context(), append(leases, old...))
	c.must(err)
	if c.Lacks.Loss {
		gone = old
	}
	if len(gone) != 1 || gone[0].ID != old[0].ID || gone[0].Number != old[0].Number {
		c.Errorf("%+v is said to be lost, not %+v", gone, old)
	}
	c.wantCounts("a", broker.Counts{})
	gone, err = c.Broker.Ack(c.Context(), nil)
	c.must(err)
	c.want(gone, "")
}

func (c check) wantCounts(typ string, want broker.Counts) {
	c.Helper()
	types := []string{typ}
	if typ == "" {
		types = nil
	}
	got, err := c.Other.Count(c.Context(), types)
	c.must(err)
	if got != want {
		c.Errorf("counted %+v, want %+v", got, want)
	}
}

func past(tb TB, bench Bench) {
	c := check{tb, bench}
	m := c.message("x")
	m.Number, m.Attempts, m.Crashes = 7, 2, 1
	c.pushAll(m)
	l := c.one()
	if l.Number != 8 || l.Attempts != 2 || l.Crashes != 1 || l.Buried {
		c.Errorf("pushed %+v, claimed %+v", m, l)
	}
	c.must(c.Broker.Nack(c.Context(), l, broker.Again{Failed: true}))
	if l := c.one(); l.Number != 9 || l.Attempts != 3 || l.Crashes != 1 {
		c.Errorf("then claimed %+v", l)
	}
}

func pushBuried(tb TB, bench Bench) {
	c := check{tb, bench}
	m := c.message("x")
	m.Buried = true
	c.pushAll(m)
	c.want(c.claim(1), "")
	c.wantCounts("a", broker.Counts{Buried: 1})
}

func anyType(tb TB, bench Bench) {
	c := check{tb, bench}
	c.wantCounts("", broker.Counts{})
	for _, typ := range []string{"b", "c"} {
		m := c.message(typ)
		m.Type = typ
		c.pushAll(m)
	}
	c.push("x")
	c.wantCounts("", broker.Counts{Ready: 3})
	leases := c.claimFrom(c.Broker, 10)
	slices.SortFunc(leases, func(x, y broker.Lease) int { return strings.Compare(x.ID, y.ID) })
	c.want(leases, "b c x")
	c.wantCounts("", broker.Counts{Leased: 3})
}

// take claims from what is in a state. Without ok the broker cannot, and says so.
func (c check) take(ask broker.Ask) (leases []broker.Lease, ok bool) {
	c.Helper()
	ask.Max, ask.Lease = 10, cmp.Or(ask.Lease, 2*c.step())
	leases, err := c.Broker.Claim(c.Context(), ask)
	if c.Lacks.Lists && errors.Is(err, errors.ErrUnsupported) {
		return nil, false
	}
	c.must(err)
	return leases, true
}

func takeScheduled(tb TB, bench Bench) {
	c := check{tb, bench}
	m := c.message("later")
	m.RunAt = m.RunAt.Add(time.Hour)
	c.pushAll(m)
	c.push("x")
	ask := broker.Ask{From: broker.StateScheduled}
	leases, ok := c.take(ask)
	if !ok {
		return
	}
	c.want(leases, "later")
	c.wantCounts("a", broker.Counts{Ready: 1, Leased: 1})
	c.Pass(2 * c.step())
	c.wantCounts("a", broker.Counts{Ready: 1, Scheduled: 1})
	c.want(c.claim(10), "x")
	if leases, _ = c.take(ask); len(leases) != 1 || leases[0].Crashes != 0 || !leases[0].RunAt.Equal(m.RunAt) || leases[0].Buried {
		c.Fatalf("then %+v", leases)
	}
	c.must(c.Broker.Nack(c.Context(), leases[0], broker.Again{}))
	leases, _ = c.take(ask)
	c.want(leases, "later")
	c.ack(c.Broker, leases...)
	c.wantCounts("a", broker.Counts{Leased: 1})
}

func takeBuried(tb TB, bench Bench) {
	c := check{tb, bench}
	c.push("dead", "x")
	c.must(c.Broker.Bury(c.Context(), c.claim(1)[0]))
	ask := broker.Ask{From: broker.StateBuried, Types: []string{"a"}}
	leases, ok := c.take(ask)
	if !ok {
		return
	}
	c.want(leases, "dead")
	c.wantCounts("a", broker.Counts{Ready: 1, Leased: 1})
	c.Pass(2 * c.step())
	c.wantCounts("a", broker.Counts{Ready: 1, Buried: 1})
	c.want(c.claim(10), "x")
	if leases, _ = c.take(ask); len(leases) != 1 || leases[0].Crashes != 0 || !leases[0].Buried {
		c.Fatalf("then %+v", leases)
	}
	c.must(c.Broker.Bury(c.Context(), leases[0]))
	leases, _ = c.take(ask)
	c.ack(c.Broker, leases...)
	c.wantCounts("a", broker.Counts{Leased: 1})
}

func requeue(tb TB, bench Bench) {
	c := check{tb, bench}
	m := c.message("x")
	m.Attempts, m.Crashes, m.Number = 2, 3, 5
	c.pushAll(m)
	c.must(c.Broker.Bury(c.Context(), c.one()))
	leases, ok := c.take(broker.Ask{From: broker.StateBuried})
	if !ok {
		return
	}
	c.must(c.Broker.Nack(c.Context(), leases[0], broker.Again{Fresh: true}))
	if l := c.one(); l.Attempts != 0 || l.Crashes != 0 || l.Number != 8 {
		c.Errorf("it came as %+v", l)
	}
}

func byID(tb TB, bench Bench) {
	c := check{tb, bench}
	later := c.message("later")
	later.RunAt = later.RunAt.Add(time.Hour)
	soon := c.message("soon")
	soon.RunAt = soon.RunAt.Add(c.step())
	c.pushAll(later, soon)
	c.push("x", "y", "z")
	leases, ok := c.take(broker.Ask{IDs: []string{"y", "later", "soon", "nobody"}})
	if !ok {
		return
	}
	c.want(leases, "y")
	leases, _ = c.take(broker.Ask{IDs: []string{"y"}})
	c.want(leases, "")
	c.Pass(2 * c.step())
	leases, _ = c.take(broker.Ask{IDs: []string{"y", "soon"}})
	c.want(leases, "y soon")
	if leases[0].Crashes != 1 {
		c.Errorf("after its lease has ended: %+v", leases[0])
	}
	leases, _ = c.take(broker.Ask{IDs: []string{"x", "later"}, From: broker.StateScheduled})
	c.want(leases, "later")
	c.want(c.claim(10), "x z")
}

func listed(tb TB, bench Bench) {
	c := check{tb, bench}
	got := func(types ...string) (list []string, ok bool) {
		c.Helper()
		for e, err := range c.Other.List(c.Context(), types) {
			if c.Lacks.Lists && errors.Is(err, errors.ErrUnsupported) {
				return nil, false
			}
			c.must(err)
			list = append(list, fmt.Sprint(e.ID, " ", e.Type, " ", e.State, " ", e.Priority, " ", e.Number, " ", e.Attempts, " ", e.Crashes, " ", e.Buried,
				" ", bytes.Equal(e.Body, c.body(e.ID)), " ", e.RunAt.Sub(c.Now()) > 0))
		}
		slices.Sort(list)
		return list, true
	}
	if list, ok := got(); !ok || len(list) > 0 {
		if ok {
			c.Errorf("an empty queue has %q", list)
		}
		return
	}
	var many []broker.Message
	for i := range 1200 {
		m := c.message(fmt.Sprintf("m%04d", i))
		m.Type = "many"
		many = append(many, m)
	}
	c.pushAll(many...)
	if list, _ := got("many"); len(list) != len(many) || len(slices.Compact(list)) != len(many) {
		c.Errorf("a list of %d has %d", len(many), len(list))
	}
	crashed, later, dead := c.message("crashed"), c.message("later"), c.message("dead")
	later.RunAt, later.Priority, later.Attempts = c.Now().Add(time.Hour), -3, 2
	dead.Buried, dead.Type = true, "b"
	c.pushAll(crashed)
	c.one()
	c.pushAll(later, dead)
	c.Pass(2 * c.step())
	c.push("x", "y")
	leases, _ := c.take(broker.Ask{IDs: []string{"x"}, Lease: time.Hour})
	c.want(leases, "x")
	want := []string{
		"crashed a ready 0 1 0 0 false true false", // its crash is counted when it is claimed
		"dead b buried 0 0 0 0 true true false",
		"later a scheduled -3 0 2 0 false true true",
		"x a leased 0 1 0 0 false true false",
		"y a ready 0 0 0 0 false true false",
	}
	list, _ := got("a", "b")
	if len(list) > 0 { // or a claim of another one has counted it
		list[0] = strings.Replace(list[0], "ready 0 1 0 1", "ready 0 1 0 0", 1)
	}
	if !slices.Equal(list, want) {
		c.Errorf("the list is\n%s\nwant\n%s", strings.Join(list, "\n"), strings.Join(want, "\n"))
	}
}
