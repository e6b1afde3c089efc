package app

import (
	"context"
	"net"
	"sync"

	"github.com/rs/zerolog"

	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/gearman/server"
	"procops/internal/metrics"
	"procops/internal/store"
)

// listenForMetrics listens where metrics are to be served; nil: nowhere. That somebody else
// does is a fault.Failure: it is no reason to take his place.
func listenForMetrics(ctx context.Context, at gearman.Address) (net.Listener, error) {
	if at == "" {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	all, err := server.Listen(ctx, gearman.ServerConfig{Listen: []gearman.Address{at}})
	if err != nil {
		return nil, fault.Wrap(fault.Failure, err, "cannot serve metrics")
	}
	return all[0], nil
}

// serveMetrics serves metrics in the background until the returned function is called.
func serveMetrics(l net.Listener, log zerolog.Logger, write func(context.Context, *metrics.Page) error) (end func()) {
	if l == nil {
		return func() {}
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := metrics.Serve(ctx, l, log, write); err != nil {
			log.Error().Err(err).Msg("metrics are served no more")
		}
	})
	return func() {
		stop()
		serving.Wait()
	}
}

// storedJobs writes what the state knows of the queued jobs of a job server, whether or not
// that runs.
func storedJobs(st *store.Store) func(context.Context, *metrics.Page) error {
	return func(ctx context.Context, p *metrics.Page) error {
		var all []server.Stored
		err := st.View(ctx, func(tx *store.Tx) (err error) {
			all, err = server.CountStored(tx)
			return err
		})
		if err != nil {
			return err
		}
		p.Family("procops_gearman_jobs_recorded", metrics.Gauge, "Background jobs of procops worker server in the state directory, by place: waiting or with a worker, scheduled, buried.")
		for _, s := range all {
			p.Sample(float64(s.Jobs), "function", s.Function, "place", s.Place)
		}
		return nil
	}
}
