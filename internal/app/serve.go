package app

import (
	"context"

	"github.com/rs/zerolog"

	"procops/internal/web"
)

// ServeOptions say how to serve.
type ServeOptions struct {
	Listen web.Address        // where; empty: as the config says
	Build  string             // names the program in /metrics
	Ready  func(where string) // is called once it listens
	Hurry  <-chan struct{}    // closed: end at once
}

// Serve answers HTTP requests until ctx ends, as the section [serve] says.
func (a *App) Serve(ctx context.Context, log zerolog.Logger, opt ServeOptions) error {
	a.UseLog(log)
	a.leaveHooksAlone()
	cfg := a.Config.Serve
	if opt.Listen != "" {
		cfg.Listen = opt.Listen
	}
	list, err := a.Heartbeats(ctx)
	if err != nil {
		return err
	}
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	l, err := web.Listen(ctx, cfg)
	if err != nil {
		return err
	}
	opt.Ready(web.Where(l))
	s := web.NewServer(cfg, list, log, opt.Build)
	s.AddMetrics(storedJobs(st))
	return s.Serve(ctx, l, opt.Hurry)
}
