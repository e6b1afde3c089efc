package tasks

import (
	"context"
	"slices"
	"strings"
	"time"

	"procops/internal/store"
)

// Stats are figures of the tasks of one type.
type Stats struct {
	Type   string
	States map[State]int // how many there are in each, of those that are not forgotten
	// Of the tasks whose newest run has ended in the time that was asked for:
	Completed int
	Failed    int
	Median    time.Duration // of the time that the runs took; 0 without runs
	P95       time.Duration
	Max       time.Duration
	PerMinute float64 // completed
}

// Stats returns figures of each type, in order; typ selects one, "" all. Durations and
// rates are those of the last window, which is more than 0.
func (q *Queue) Stats(ctx context.Context, typ string, window time.Duration) (all []Stats, err error) {
	err = q.store.View(ctx, func(tx *store.Tx) error {
		byType := map[string]*Stats{}
		of := func(typ string) *Stats {
			if byType[typ] == nil {
				byType[typ] = &Stats{Type: typ, States: map[State]int{}}
			}
			return byType[typ]
		}
		err := countStates(tx, typ, func(typ string, s State, n int) { of(typ).States[s] = n })
		if err != nil {
			return err
		}
		took := map[string][]time.Duration{}
		err = eachEnded(tx, typ, tx.Now().Add(-window), func(typ string, r Result, d time.Duration) {
			took[typ] = append(took[typ], d)
			if s := of(typ); r == ResultSuccess || r == ResultWarning {
				s.Completed++
			} else {
				s.Failed++
			}
		})
		if err != nil {
			return err
		}
		all = nil
		for typ, s := range byType {
			s.measure(took[typ], window)
			all = append(all, *s)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Stats) int { return strings.Compare(a.Type, b.Type) })
	return all, err
}

// measure fills in what follows from the times that the runs took.
func (s *Stats) measure(took []time.Duration, window time.Duration) {
	s.PerMinute = float64(s.Completed) / window.Minutes()
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	s.Median, s.P95, s.Max = nearestRank(took, 50), nearestRank(took, 95), took[len(took)-1]
}

// nearestRank returns the smallest of some sorted values that p percent of them do not
// exceed.
func nearestRank(sorted []time.Duration, p int) time.Duration {
	return sorted[(len(sorted)*p+99)/100-1]
}
