package group

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"procops/internal/tasks/broker"
)

// Member is one of several brokers.
type Member struct {
	Name     string // unique
	Priority int    // lower is more important
	Broker   broker.Broker
}

// Options say how a Group works.
type Options struct {
	Strict bool           // the next message comes from the most important broker that has any; otherwise from any, by weight
	Rand   func() float64 // chance, from 0 to 1; nil: of the process
}

// Group is several brokers as one.
type Group struct {
	members []Member // in ascending order of priority
	ranks   []int    // of each: 1 for all that have the lowest priority, 2 for the next
	opt     Options
}

// New returns the group of some brokers, at least one.
func New(members []Member, opt Options) *Group {
	g := &Group{members: slices.Clone(members), opt: opt}
	slices.SortStableFunc(g.members, func(x, y Member) int { return cmp.Compare(x.Priority, y.Priority) })
	for i, m := range g.members {
		switch {
		case i == 0:
			g.ranks = append(g.ranks, 1)
		case m.Priority == g.members[i-1].Priority:
			g.ranks = append(g.ranks, g.ranks[i-1])
		default:
			g.ranks = append(g.ranks, g.ranks[i-1]+1)
		}
	}
	if g.opt.Rand == nil {
		g.opt.Rand = rand.Float64
	}
	return g
}

// Members returns the brokers in ascending order of priority.
func (g *Group) Members() []Member { return slices.Clone(g.members) }

// Find returns the broker of a name, nil if there is none.
func (g *Group) Find(name string) broker.Broker {
	for _, m := range g.members {
		if m.Name == name {
			return m.Broker
		}
	}
	return nil
}

// home returns where a message of some priority is pushed to.
func (g *Group) home(priority int) int {
	for i, m := range g.members {
		if m.Priority >= priority {
			return i
		}
	}
	return len(g.members) - 1
}

// Push queues messages. All that go to one broker are queued, or none of them.
func (g *Group) Push(ctx context.Context, messages []broker.Message) error {
	parts := make([][]broker.Message, len(g.members))
	for _, m := range messages {
		i := g.home(m.Priority)
		parts[i] = append(parts[i], m)
	}
	for i, part := range parts {
		if len(part) == 0 {
			continue
		}
		if err := g.members[i].Broker.Push(ctx, part); err != nil {
			return fmt.Errorf("broker %q: %w", g.members[i].Name, err)
		}
	}
	return nil
}

// Claim leases messages: each comes from a broker that is chosen by the ranks of those that
// have any.
func (g *Group) Claim(ctx context.Context, ask broker.Ask) (leases []broker.Lease, err error) {
	full := make([]bool, len(g.members)) // may have more
	for i := range full {
		full[i] = true
	}
	for len(leases) < ask.Max {
		shares := g.shares(full, ask.Max-len(leases))
		if shares == nil {
			break
		}
		for i, n := range shares {
			if n == 0 {
				continue
			}
			part := ask
			part.Max = n
			got, failed := g.members[i].Broker.Claim(ctx, part)
			if failed != nil {
				err = errors.Join(err, fmt.Errorf("broker %q: %w", g.members[i].Name, failed))
			}
			for j := range got {
				got[j].Broker = g.members[i].Name
			}
			leases = append(leases, got...)
			full[i] = failed == nil && len(got) == n
		}
	}
	return leases, err
}

// shares returns how many of n messages come from each broker that may have any; nil if
// none may.
func (g *Group) shares(full []bool, n int) []int {
	var total float64
	for i, has := range full {
		if has {
			total += g.weight(i)
		}
	}
	first := slices.Index(full, true)
	if first < 0 {
		return nil
	}
	shares := make([]int, len(g.members))
	if g.opt.Strict {
		shares[first] = n
		return shares
	}
	for range n {
		shares[g.draw(full, total)]++
	}
	return shares
}

// draw chooses one of the brokers that may have any, whose weights together are total.
func (g *Group) draw(full []bool, total float64) (chosen int) {
	left := g.opt.Rand() * total
	for i, has := range full {
		if !has {
			continue
		}
		chosen = i
		if left -= g.weight(i); left < 0 {
			break
		}
	}
	return chosen
}

func (g *Group) weight(i int) float64 { return 1 / float64(g.ranks[i]) }

// Await returns true when any of the brokers may have something to claim.
func (g *Group) Await(ctx context.Context, types []string, patience time.Duration) (bool, error) {
	if len(g.members) == 1 {
		return g.members[0].Broker.Await(ctx, types, patience)
	}
	waiting, enough := context.WithCancel(ctx)
	defer enough()
	type answer struct {
		found bool
		err   error
	}
	answers := make([]answer, len(g.members))
	var all sync.WaitGroup
	for i, m := range g.members {
		all.Go(func() {
			found, err := m.Broker.Await(waiting, types, patience)
			if answers[i] = (answer{found, err}); found {
				enough()
			}
		})
	}
	all.Wait()
	var errs []error
	for i, a := range answers {
		if a.found {
			return true, nil
		}
		if a.err != nil {
			errs = append(errs, fmt.Errorf("broker %q: %w", g.members[i].Name, a.err))
		}
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return false, errors.Join(errs...)
}

// of returns the broker that a lease comes from.
func (g *Group) of(l broker.Lease) (Member, error) {
	for _, m := range g.members {
		if m.Name == l.Broker {
			return m, nil
		}
	}
	return Member{}, fmt.Errorf("task %q comes from the broker %q, which is not there", l.ID, l.Broker)
}

// Extend makes leases end so long from now.
func (g *Group) Extend(ctx context.Context, leases []broker.Lease, by time.Duration) (lost []broker.Lease, err error) {
	return g.each(leases, func(b broker.Broker, part []broker.Lease) ([]broker.Lease, error) {
		return b.Extend(ctx, part, by)
	})
}

// Ack removes messages.
func (g *Group) Ack(ctx context.Context, leases []broker.Lease) (lost []broker.Lease, err error) {
	return g.each(leases, func(b broker.Broker, part []broker.Lease) ([]broker.Lease, error) {
		return b.Ack(ctx, part)
	})
}

// each does something with the leases of each broker. It returns those that are lost, also
// beside an error of another broker.
func (g *Group) each(leases []broker.Lease, do func(broker.Broker, []broker.Lease) ([]broker.Lease, error)) (lost []broker.Lease, err error) {
	parts := map[string][]broker.Lease{}
	for _, l := range leases {
		parts[l.Broker] = append(parts[l.Broker], l)
	}
	for _, part := range parts {
		m, failed := g.of(part[0])
		if failed == nil {
			var gone []broker.Lease
			gone, failed = do(m.Broker, part)
			lost = append(lost, gone...)
		}
		err = errors.Join(err, failed)
	}
	return lost, err
}

// Nack gives a message back.
func (g *Group) Nack(ctx context.Context, l broker.Lease, again broker.Again) error {
	m, err := g.of(l)
	if err != nil {
		return err
	}
	return m.Broker.Nack(ctx, l, again)
}

// Bury puts a message aside.
func (g *Group) Bury(ctx context.Context, l broker.Lease) error {
	m, err := g.of(l)
	if err != nil {
		return err
	}
	return m.Broker.Bury(ctx, l)
}

// Count counts the messages in all brokers.
func (g *Group) Count(ctx context.Context, types []string) (total broker.Counts, err error) {
	for _, m := range g.members {
		n, failed := m.Broker.Count(ctx, types)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("broker %q: %w", m.Name, failed))
			continue
		}
		total.Ready += n.Ready
		total.Scheduled += n.Scheduled
		total.Leased += n.Leased
		total.Buried += n.Buried
	}
	return total, err
}

// List goes through the messages of one broker after the other.
func (g *Group) List(ctx context.Context, types []string) iter.Seq2[broker.Entry, error] {
	return func(yield func(broker.Entry, error) bool) {
		for _, m := range g.members {
			for e, err := range m.Broker.List(ctx, types) {
				if err != nil {
					err = fmt.Errorf("broker %q: %w", m.Name, err)
				}
				if !yield(e, err) {
					return
				}
			}
		}
	}
}
