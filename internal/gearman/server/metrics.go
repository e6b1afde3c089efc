package server

import (
	"context"
	"time"

	"procops/internal/metrics"
)

// WriteMetrics writes the figures of the server.
func (s *Server) WriteMetrics(ctx context.Context, p *metrics.Page) error {
	buried, err := s.countBuried(ctx)
	if err != nil {
		return err
	}
	now, all := time.Now(), s.Stats()
	for _, m := range []struct {
		name, kind, help string
		of               func(*FunctionStats) float64
	}{
		{"queued", metrics.Gauge, "Jobs of a function that wait for a worker.", func(f *FunctionStats) float64 { return float64(f.Queued) }},
		{"scheduled", metrics.Gauge, "Jobs of a function that wait for their time.", func(f *FunctionStats) float64 { return float64(f.Scheduled) }},
		{"running", metrics.Gauge, "Jobs of a function that a worker has.", func(f *FunctionStats) float64 { return float64(f.Running) }},
		{"on_disk", metrics.Gauge, "Jobs of a function that wait on disk only.", func(f *FunctionStats) float64 { return float64(f.OnDisk) }},
		{"buried", metrics.Gauge, "Jobs of a function of which too many workers have died.", func(f *FunctionStats) float64 { return float64(buried[f.Name]) }},
		{"oldest_seconds", metrics.Gauge, "How long the first in line has waited; 0: none waits.", func(f *FunctionStats) float64 { return age(now, f.Oldest) }},
		{"submitted_total", metrics.Counter, "Jobs that were accepted.", func(f *FunctionStats) float64 { return float64(f.Submitted) }},
		{"joined_total", metrics.Counter, "Submissions that have joined a job with the same unique key.", func(f *FunctionStats) float64 { return float64(f.Joined) }},
		{"retried_total", metrics.Counter, "How often a job went back to its queue, because its worker had left or had run out of time.", func(f *FunctionStats) float64 { return float64(f.Retried) }},
	} {
		p.Family("procops_gearman_jobs_"+m.name, m.kind, m.help)
		for i := range all.Functions {
			p.Sample(m.of(&all.Functions[i]), "function", all.Functions[i].Name)
		}
	}
	p.Family("procops_gearman_jobs_ended_total", metrics.Counter, "Jobs that have ended, by outcome: completed, failed, buried, or dropped because nobody wanted them any more.")
	for i := range all.Functions {
		f := &all.Functions[i]
		for _, outcome := range []struct {
			name string
			n    uint64
		}{{"completed", f.Completed}, {"failed", f.Failed - f.Buried}, {"buried", f.Buried}, {"dropped", f.Abandoned}} {
			p.Sample(float64(outcome.n), "function", f.Name, "outcome", outcome.name)
		}
	}
	p.Histograms("procops_gearman_job_seconds", "How long jobs took, from their submission to their end.")
	for i := range all.Functions {
		p.Histogram(&all.Functions[i].Took, "function", all.Functions[i].Name)
	}
	p.Family("procops_gearman_workers", metrics.Gauge, "Connections that can do a function.")
	for i := range all.Functions {
		p.Sample(float64(all.Functions[i].Workers), "function", all.Functions[i].Name)
	}
	p.Single("procops_gearman_connections", metrics.Gauge, "Open connections.", float64(all.Open))
	p.Single("procops_gearman_connections_total", metrics.Counter, "Connections that were accepted.", float64(all.Connections))
	p.Single("procops_gearman_connections_refused_total", metrics.Counter, "Connections that were closed because there were too many.", float64(all.Refused))
	p.Single("procops_gearman_job_timeouts_total", metrics.Counter, "How often a worker had a job for longer than it had said.", float64(all.Timeouts))
	p.Single("procops_gearman_memory_bytes", metrics.Gauge, "Memory of the jobs.", float64(all.Memory))
	return nil
}

func age(now, since time.Time) float64 {
	if since.IsZero() {
		return 0
	}
	return max(0, now.Sub(since).Seconds())
}
