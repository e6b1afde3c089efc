package group

import (
	"context"
	"slices"
	"strings"
	"time"

	"procops/internal/tasks/broker"
)

// Await returns true when any of the brokers may have something to claim. It waits for
// those that are down, too.
func (g *Group) Await(ctx context.Context, types []string, patience time.Duration) (bool, error) {
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		found, news, retry := g.listen(types, patience)
		if found {
			return true, nil
		}
		select {
		case <-news:
		case <-retry:
		case <-end.C:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// listen sees to it that the sign of each broker is waited for, and returns whether one has
// given it; if not, what tells to look again.
func (g *Group) listen(types []string, patience time.Duration) (found bool, news <-chan struct{}, retry <-chan time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.ContainsFunc(g.late, func(l broker.Lease) bool { return wanted(types, l) }) {
		return true, nil, nil
	}
	var (
		now     = time.Now()
		soonest time.Time
		want    = strings.Join(types, " ")
	)
	for _, m := range g.members {
		switch {
		case m.claiming: // its answer is told
		case !m.due(now):
			if soonest.IsZero() || m.retry.Before(soonest) {
				soonest = m.retry
			}
		case m.sign:
			return true, nil, nil
		case m.listening && m.listensFor == want:
		default:
			m.listening, m.listensFor = true, want
			g.busy.Go(func() { g.hear(m, types, patience) })
		}
	}
	if !soonest.IsZero() {
		retry = time.After(soonest.Sub(now))
	}
	return false, g.news, retry
}

// hear waits for the sign of one broker. It goes on when the one who asked for it has gone,
// so that a broker that has nothing is not asked again and again while another one has.
func (g *Group) hear(m *member, types []string, patience time.Duration) {
	var found bool
	err := g.try(g.ctx, m, patience, TriggerAnswer, func(ctx context.Context) (err error) {
		found, err = m.Broker.Await(ctx, types, patience)
		return err
	})
	g.mu.Lock()
	defer g.mu.Unlock()
	m.listening = false
	switch {
	case err != nil:
	case found:
		m.sign = true
	default:
		m.emptyUntil = time.Now().Add(m.EmptyFor)
	}
	g.tell()
}

// tell wakes those who wait.
func (g *Group) tell() {
	close(g.news)
	g.news = make(chan struct{})
}
