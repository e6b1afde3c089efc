package server

import (
	"math/bits"
	"slices"
	"strings"
	"time"
)

// counters count what has become of the jobs of a function.
type counters struct {
	submitted, joined, completed, failed, retried, buried, dropped uint64
	took                                                           Histogram
}

// Histogram counts spans from the submission of a job to its end by their length:
// the first bucket has those of less than a millisecond, each further one those of
// less than twice as much, the last one the rest.
type Histogram [20]uint64

func (h *Histogram) add(took time.Duration) {
	h[min(bits.Len64(uint64(max(0, took)/time.Millisecond)), len(h)-1)]++
}

// Bound returns the upper limit of a bucket, in seconds; that of the last one has
// none and is 0.
func (h *Histogram) Bound(i int) float64 {
	if i == len(h)-1 {
		return 0
	}
	return float64(uint64(1)<<i) / 1000
}

// FunctionStats are the figures of one function, since the server has begun.
type FunctionStats struct {
	Name                                          string
	Queued, Scheduled, Running, Workers           int // now
	Submitted, Joined                             uint64
	Completed, Failed, Retried, Buried, Abandoned uint64
	Took                                          Histogram
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
		scheduled := f.later[high] + f.later[normal] + f.later[low]
		all.Functions = append(all.Functions, FunctionStats{
			Name: f.name, Queued: f.total - f.running - scheduled, Scheduled: scheduled, Running: f.running, Workers: len(f.workers),
			Submitted: f.stats.submitted, Joined: f.stats.joined, Completed: f.stats.completed, Failed: f.stats.failed,
			Retried: f.stats.retried, Buried: f.stats.buried, Abandoned: f.stats.dropped, Took: f.stats.took,
		})
	}
	slices.SortFunc(all.Functions, func(a, b FunctionStats) int { return strings.Compare(a.Name, b.Name) })
	return all
}
