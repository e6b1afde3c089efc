package group

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"procops/internal/tasks/broker"
)

// Options say how a Group works.
type Options struct {
	Strict  bool           // the next message comes from the most important broker that has any; otherwise from any, by weight
	Rand    func() float64 // chance, from 0 to 1; nil: of the process
	Changed func(Change)   // is told when a broker comes into another state; must not block, nor call the Group; may be nil
}

// Group is several brokers as one. Its Await is for one set of types at a time.
type Group struct {
	opt     Options
	members []*member // in ascending order of priority

	mu   sync.Mutex
	news chan struct{} // closed and replaced when somebody who waits should look again
	late []broker.Lease

	ctx    context.Context // ends with the group
	cancel context.CancelFunc
	busy   sync.WaitGroup // what goes on by itself
}

// New returns the group of some brokers, at least one. Close ends what it does by itself;
// it does not close the brokers.
func New(members []Member, opt Options) *Group {
	g := &Group{opt: opt, news: make(chan struct{})}
	if g.opt.Rand == nil {
		g.opt.Rand = rand.Float64
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	members = slices.Clone(members)
	slices.SortStableFunc(members, func(x, y Member) int { return cmp.Compare(x.Priority, y.Priority) })
	rank := 1
	for i, m := range members {
		if i > 0 && m.Priority != members[i-1].Priority {
			rank++
		}
		g.members = append(g.members, &member{Member: m, rank: rank, status: Status{State: StateUnknown}})
	}
	return g
}

// Members returns the brokers in ascending order of priority.
func (g *Group) Members() []Member {
	list := make([]Member, len(g.members))
	for i, m := range g.members {
		list[i] = m.Member
	}
	return list
}

// Find returns the broker of a name, nil if there is none.
func (g *Group) Find(name string) broker.Broker {
	if m := g.find(name); m != nil {
		return m.Broker
	}
	return nil
}

// Look counts what each broker has, in their order, and returns how they do.
func (g *Group) Look(ctx context.Context, types []string) []Report {
	reports := make([]Report, len(g.members))
	var all sync.WaitGroup
	for i, m := range g.members {
		all.Go(func() {
			var n broker.Counts
			err := g.try(ctx, m, 0, TriggerAnswer, func(ctx context.Context) (err error) {
				n, err = m.Broker.Count(ctx, types)
				return err
			})
			g.mu.Lock()
			defer g.mu.Unlock()
			reports[i] = Report{Member: m.Member, Status: m.status, Counts: n, Failed: err}
		})
	}
	all.Wait()
	return reports
}

func (g *Group) find(name string) *member {
	for _, m := range g.members {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// Close ends what goes on by itself. What was claimed too late to be handed out is given
// back.
func (g *Group) Close(ctx context.Context) error {
	g.cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.busy.Wait()
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a broker does not answer: %w", context.Cause(ctx))
	}
}

// home returns where a message of some priority is pushed to.
func (g *Group) home(priority int) *member {
	for _, m := range g.members {
		if m.Priority >= priority {
			return m
		}
	}
	return g.members[len(g.members)-1]
}

// Push queues messages. All that belong to one broker are queued, or none of them; if some
// are, the error is a *broker.PartialError.
func (g *Group) Push(ctx context.Context, messages []broker.Message) error {
	parts := map[*member][]broker.Message{}
	for _, m := range messages {
		home := g.home(m.Priority)
		parts[home] = append(parts[home], m)
	}
	var failed broker.PartialError
	for _, m := range g.members {
		if len(parts[m]) == 0 {
			continue
		}
		if err := g.push(ctx, m, parts[m]); err != nil {
			failed.Err = errors.Join(failed.Err, err)
			for _, message := range parts[m] {
				failed.IDs = append(failed.IDs, message.ID)
			}
		}
	}
	switch {
	case failed.Err == nil:
		return nil
	case len(failed.IDs) == len(messages):
		return failed.Err
	default:
		return &failed
	}
}

// push queues messages in one broker. Where that has certainly taken none of them, they go
// to the one that stands in for it.
func (g *Group) push(ctx context.Context, m *member, messages []broker.Message) (err error) {
	for tried := []*member{}; m != nil && !slices.Contains(tried, m); m = g.find(m.Fallback) {
		failed := g.call(ctx, m, TriggerAccept, func(ctx context.Context) error { return m.Broker.Push(ctx, messages) })
		if failed == nil {
			return nil
		}
		err = errors.Join(err, failed)
		if !notTaken(failed) {
			break
		}
		tried = append(tried, m)
	}
	return err
}

// Extend makes leases end so long from now. With those that a *broker.PartialError names it
// could not be done.
func (g *Group) Extend(ctx context.Context, leases []broker.Lease, by time.Duration) (lost []broker.Lease, err error) {
	return g.each(ctx, leases, func(ctx context.Context, b broker.Broker, part []broker.Lease) ([]broker.Lease, error) {
		return b.Extend(ctx, part, by)
	})
}

// Ack removes messages; of errors see Extend.
func (g *Group) Ack(ctx context.Context, leases []broker.Lease) (lost []broker.Lease, err error) {
	return g.each(ctx, leases, func(ctx context.Context, b broker.Broker, part []broker.Lease) ([]broker.Lease, error) {
		return b.Ack(ctx, part)
	})
}

// each does something with the leases of all brokers at once.
func (g *Group) each(ctx context.Context, leases []broker.Lease, do func(context.Context, broker.Broker, []broker.Lease) ([]broker.Lease, error)) (lost []broker.Lease, err error) {
	parts := map[string][]broker.Lease{}
	for _, l := range leases {
		parts[l.Broker] = append(parts[l.Broker], l)
	}
	var (
		mu     sync.Mutex
		failed broker.PartialError
		all    sync.WaitGroup
	)
	settle := func(part []broker.Lease) {
		var gone []broker.Lease
		m, err := g.of(&part[0])
		if err == nil {
			err = g.call(ctx, m, TriggerAnswer, func(ctx context.Context) (err error) {
				gone, err = do(ctx, m.Broker, part)
				return err
			})
		}
		mu.Lock()
		defer mu.Unlock()
		lost = append(lost, gone...)
		if err != nil {
			failed.Err = errors.Join(failed.Err, err)
			for i := range part {
				failed.IDs = append(failed.IDs, part[i].ID)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		all.Go(func() { settle(parts[name]) })
	}
	all.Wait()
	if failed.Err != nil {
		return lost, &failed
	}
	return lost, nil
}

// of returns the broker that a lease comes from.
func (g *Group) of(l *broker.Lease) (*member, error) {
	if m := g.find(l.Broker); m != nil {
		return m, nil
	}
	return nil, fmt.Errorf("task %q comes from the broker %q, which is not there", l.ID, l.Broker)
}

// Nack gives a message back.
func (g *Group) Nack(ctx context.Context, l broker.Lease, again broker.Again) error {
	m, err := g.of(&l)
	if err != nil {
		return err
	}
	return g.call(ctx, m, TriggerAnswer, func(ctx context.Context) error { return m.Broker.Nack(ctx, l, again) })
}

// Bury puts a message aside.
func (g *Group) Bury(ctx context.Context, l broker.Lease) error {
	m, err := g.of(&l)
	if err != nil {
		return err
	}
	return g.call(ctx, m, TriggerAnswer, func(ctx context.Context) error { return m.Broker.Bury(ctx, l) })
}

// Count counts the messages in all brokers. What could be counted is returned beside an
// error.
func (g *Group) Count(ctx context.Context, types []string) (broker.Counts, error) {
	var (
		total broker.Counts
		errs  []error
	)
	for i, r := range g.Look(ctx, types) {
		total.Ready += r.Counts.Ready
		total.Scheduled += r.Counts.Scheduled
		total.Leased += r.Counts.Leased
		total.Buried += r.Counts.Buried
		errs = append(errs, g.name(g.members[i], r.Failed))
	}
	return total, errors.Join(errs...)
}

// List goes through the messages of one broker after the other.
func (g *Group) List(ctx context.Context, types []string) iter.Seq2[broker.Entry, error] {
	return func(yield func(broker.Entry, error) bool) {
		for _, m := range g.members {
			for e, err := range m.Broker.List(ctx, types) {
				if err != nil && len(g.members) > 1 {
					err = fmt.Errorf("broker %q: %w", m.Name, err)
				}
				if !yield(e, err) {
					return
				}
			}
		}
	}
}
