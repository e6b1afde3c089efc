package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"procops/internal/gearman"
	"procops/internal/metrics"
	"procops/internal/runner"
)

// tally counts the jobs of a function that have ended.
type tally struct {
	mu       sync.Mutex
	outcomes map[runner.Outcome]uint64
	lost     uint64 // of them the server was not told
	took     metrics.Histogram
}

func (t *tally) add(outcome runner.Outcome, took time.Duration, lost bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.outcomes == nil {
		t.outcomes = map[runner.Outcome]uint64{}
	}
	t.outcomes[outcome]++
	t.took.Add(took)
	if lost {
		t.lost++
	}
}

// copied returns the counts of this moment.
func (t *tally) copied() (outcomes map[runner.Outcome]uint64, lost uint64, took metrics.Histogram) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.outcomes), t.lost, t.took
}

// WriteMetrics writes the figures of the worker.
func (w *Worker) WriteMetrics(_ context.Context, p *metrics.Page) error {
	names := slices.Sorted(maps.Keys(w.functions))
	p.Family("procops_worker_jobs_total", metrics.Counter, "Jobs that have ended, by function and outcome.")
	lost := make([]uint64, len(names))
	took := make([]metrics.Histogram, len(names))
	for i, name := range names {
		var outcomes map[runner.Outcome]uint64
		outcomes, lost[i], took[i] = w.functions[name].tally.copied()
		for _, outcome := range slices.Sorted(maps.Keys(outcomes)) {
			p.Sample(float64(outcomes[outcome]), "function", name, "outcome", string(outcome))
		}
	}
	p.Family("procops_worker_jobs_lost_total", metrics.Counter, "Jobs of whose end the server was not told, because the connection was lost.")
	for i, name := range names {
		p.Sample(float64(lost[i]), "function", name)
	}
	p.Histograms("procops_worker_job_seconds", "How long jobs took, with all attempts.")
	for i, name := range names {
		p.Histogram(&took[i], "function", name)
	}
	p.Family("procops_worker_jobs_running", metrics.Gauge, "Jobs under way.")
	for _, name := range names {
		p.Sample(float64(w.functions[name].active.Load()), "function", name)
	}
	p.Single("procops_worker_concurrency", metrics.Gauge, "How many jobs the worker does at once.", float64(w.cfg.Concurrency))
	p.Family("procops_worker_server_connected", metrics.Gauge, "Whether the worker is connected with a server.")
	for _, server := range w.cfg.Servers {
		p.Sample(oneIf(w.standing.isUp(server)), "server", string(server))
	}
	return nil
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// isUp reports whether a link with a server is announced.
func (s *standing) isUp(server gearman.Address) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.up[server] > 0
}
