package group

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"procops/internal/tasks/broker"
)

// hesitation is how long a claim waits for one broker while others may have something.
const hesitation = 200 * time.Millisecond

// Claim leases messages: each comes from a broker that is chosen by the ranks of those that
// may have any. A broker that does not answer is no error: others have something, or Await
// waits until it does.
func (g *Group) Claim(ctx context.Context, ask broker.Ask) (leases []broker.Lease, err error) {
	if len(ask.IDs) > 0 || ask.From != "" && ask.From != broker.StateReady {
		return g.claimAside(ctx, ask)
	}
	leases = g.takeLate(ask)
	asked := map[*member]bool{} // and it had no more
	for ctx.Err() == nil && len(leases) < ask.Max {
		ready := g.ready(ask.Types, asked)
		if len(ready) == 0 {
			break
		}
		r := g.begin(ctx, ask, g.shares(ready, ask.Max-len(leases)))
		leases = append(leases, r.wait(ctx, len(g.members) > 1, asked)...)
	}
	return leases, nil
}

// claimAside claims what is not simply the next, from one broker after the other.
func (g *Group) claimAside(ctx context.Context, ask broker.Ask) (leases []broker.Lease, err error) {
	for _, m := range g.members {
		part := ask
		if part.Max = ask.Max - len(leases); part.Max <= 0 {
			break
		}
		var got []broker.Lease
		failed := g.call(ctx, m, TriggerAnswer, func(ctx context.Context) (err error) {
			got, err = m.Broker.Claim(ctx, part)
			return err
		})
		leases, err = append(leases, g.mark(m, got)...), errors.Join(err, failed)
	}
	return leases, err
}

// mark notes where leases come from.
func (g *Group) mark(m *member, leases []broker.Lease) []broker.Lease {
	for i := range leases {
		leases[i].Broker = m.Name
	}
	return leases
}

// ready returns the brokers that may have something to claim, but for some.
func (g *Group) ready(types []string, but map[*member]bool) (ready []*member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for _, m := range g.members {
		if !but[m] && !m.claiming && m.due(now) && (len(g.members) == 1 || m.mayHave(types, now)) {
			ready = append(ready, m)
		}
	}
	return ready
}

// mayHave reports whether a broker may have something to claim, as far as it is known.
func (m *member) mayHave(types []string, now time.Time) bool {
	switch {
	case m.sign:
		return true
	case m.listening && m.listensFor == strings.Join(types, " "):
		return false // it would have said so
	default:
		return !now.Before(m.emptyUntil)
	}
}

// shares returns how many of n messages come from each of some brokers.
func (g *Group) shares(ready []*member, n int) map[*member]int {
	if g.opt.Strict {
		return map[*member]int{ready[0]: n}
	}
	var total float64
	for _, m := range ready {
		total += m.weight()
	}
	shares := map[*member]int{}
	for range n {
		shares[g.draw(ready, total)]++
	}
	return shares
}

func (m *member) weight() float64 { return 1 / float64(m.rank) }

// draw chooses one of some brokers, whose weights together are total.
func (g *Group) draw(ready []*member, total float64) *member {
	left := g.opt.Rand() * total
	for _, m := range ready {
		if left -= m.weight(); left < 0 {
			return m
		}
	}
	return ready[len(ready)-1]
}

// round is claims that were begun together. The Group's mutex guards it.
type round struct {
	g       *Group
	shares  map[*member]int
	pending map[*member]bool // have not answered
	short   []*member        // had less than was asked for, or failed
	got     []broker.Lease
	over    bool          // nobody waits for it any more
	done    chan struct{} // closed when nothing is pending
}

// begin begins to claim shares. The end of ctx does not end that: what a broker has leased
// must not be forgotten.
func (g *Group) begin(ctx context.Context, ask broker.Ask, shares map[*member]int) *round {
	r := &round{g: g, shares: shares, pending: map[*member]bool{}, done: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	for m, n := range shares {
		part := ask
		part.Max = n
		r.pending[m], m.claiming = true, true
		g.busy.Go(func() { r.claim(context.WithoutCancel(ctx), m, part) })
	}
	return r
}

// claim claims from one broker.
func (r *round) claim(ctx context.Context, m *member, ask broker.Ask) {
	var leases []broker.Lease
	began := time.Now()
	err := r.g.call(ctx, m, TriggerAnswer, func(ctx context.Context) (err error) {
		leases, err = m.Broker.Claim(ctx, ask)
		return err
	})
	for i := range leases {
		leases[i].Broker, leases[i].Asked = m.Name, began
	}
	if late := r.answer(m, leases, err != nil || len(leases) < ask.Max); late && len(leases) > 0 {
		r.g.keepLate(ctx, leases, ask.Lease)
	}
}

// answer takes what a broker has leased. It returns true if nobody waits for that any
// more.
func (r *round) answer(m *member, leases []broker.Lease, short bool) (late bool) {
	g := r.g
	g.mu.Lock()
	defer g.mu.Unlock()
	m.claiming = false
	defer g.tell()
	if short {
		m.sign, m.emptyUntil = false, time.Now().Add(m.EmptyFor)
		r.short = append(r.short, m)
	}
	if r.over {
		g.late = append(g.late, leases...)
		return true
	}
	r.got = append(r.got, leases...)
	if delete(r.pending, m); len(r.pending) == 0 {
		close(r.done)
	}
	return false
}

// wait returns what was claimed, and notes who had no more. Where others may have something
// it does not wait for long.
func (r *round) wait(ctx context.Context, others bool, asked map[*member]bool) []broker.Lease {
	var enough <-chan time.Time
	if others {
		timer := time.NewTimer(hesitation)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-r.done:
	case <-enough:
	case <-ctx.Done():
	}
	r.g.mu.Lock()
	defer r.g.mu.Unlock()
	r.over = true
	for _, m := range r.short {
		asked[m] = true
	}
	for m := range r.pending {
		asked[m] = true
	}
	return r.got
}

// takeLate returns what has come too late for the claim that asked for it.
func (g *Group) takeLate(ask broker.Ask) (taken []broker.Lease) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.late = slices.DeleteFunc(g.late, func(l broker.Lease) bool {
		if len(taken) == ask.Max || !wanted(ask.Types, l) {
			return false
		}
		taken = append(taken, l)
		return true
	})
	return taken
}

// wanted reports whether a lease is of one of some types; of any, if there are none.
func wanted(types []string, l broker.Lease) bool {
	return len(types) == 0 || slices.Contains(types, l.Type)
}

// keepLate gives back what nobody has taken when a third of its lease is over, or the Group
// is closed: it comes again, and counts for nothing.
func (g *Group) keepLate(ctx context.Context, leases []broker.Lease, length time.Duration) {
	timer := time.NewTimer(length / 3) //nolint:mnd // whoever takes it must have time to extend it
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.ctx.Done():
	}
	for i := range leases {
		if g.dropLate(&leases[i]) {
			_ = g.Nack(ctx, leases[i], broker.Again{}) // otherwise its lease ends
		}
	}
}

// dropLate removes one of those that are late, and returns false if it was taken.
func (g *Group) dropLate(l *broker.Lease) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.late, func(x broker.Lease) bool {
		return x.ID == l.ID && x.Broker == l.Broker && x.Number == l.Number
	})
	if i < 0 {
		return false
	}
	g.late = slices.Delete(g.late, i, i+1)
	return true
}
