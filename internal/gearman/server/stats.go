package server

import (
	"slices"
	"strings"
	"time"

	"procops/internal/metrics"
)

// counters count what has become of the jobs of a function.
type counters struct {
	submitted, joined, completed, failed, retried, buried, dropped uint64
	took                                                           metrics.Histogram // from submission to end
}

// FunctionStats are the figures of one function, since the server has begun.
type FunctionStats struct {
	Name                                          string
	Queued, Scheduled, Running, Workers           int // now
	Submitted, Joined                             uint64
	Completed, Failed, Retried, Buried, Abandoned uint64
	Took                                          metrics.Histogram // of jobs, from their submission to their end
	OnDisk                                        int               // of those queued and scheduled: they are there only
	Oldest                                        time.Time         // when the first in line was submitted; zero: there is none, or it is on disk only
}

// Stats are the figures of a server.
type Stats struct {
	Connections, Refused, Timeouts uint64
	Open                           int   // connections now
	Memory                         int64 // bytes of the jobs that are in memory now
	Functions                      []FunctionStats
}

// totals are the counters that belong to no function.
type totals struct{ connections, refused, timeouts uint64 }

// Stats returns the figures of the server. The functions are in the order of their
// names.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := Stats{
		Connections: s.stats.connections, Refused: s.stats.refused, Timeouts: s.stats.timeouts,
		Open: len(s.conns), Memory: s.memory,
	}
	for _, f := range s.functions {
		all.Functions = append(all.Functions, f.figures())
	}
	slices.SortFunc(all.Functions, func(a, b FunctionStats) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (f *function) figures() FunctionStats {
	scheduled := f.later[high] + f.later[normal] + f.later[low]
	return FunctionStats{
		Name: f.name, Queued: f.total - f.running - scheduled, Scheduled: scheduled, Running: f.running, Workers: len(f.workers),
		Submitted: f.stats.submitted, Joined: f.stats.joined, Completed: f.stats.completed, Failed: f.stats.failed,
		Retried: f.stats.retried, Buried: f.stats.buried, Abandoned: f.stats.dropped, Took: f.stats.took,
		OnDisk: f.shelved, Oldest: f.oldest(),
	}
}

// oldest returns when the job was submitted that waits for a worker in memory for the
// longest time, of those that are next; zero if there is none.
func (f *function) oldest() (at time.Time) {
	for p := range f.queue {
		if j := f.queue[p].head; j != nil {
			if created := time.UnixMicro(j.created); at.IsZero() || created.Before(at) {
				at = created
			}
		}
	}
	return at
}
