package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/gearman"
	"procops/internal/gearman/worker"
	"procops/internal/proc"
)

// GearmanWorkerOptions say how to run a worker.
type GearmanWorkerOptions struct {
	Functions []string              // only these; none: all of the config
	Change    func(*gearman.Config) // what holds instead of the config; may be nil
	Hurry     <-chan struct{}       // closed: end at once
	Log       zerolog.Logger
}

// GearmanWorker runs a worker until ctx ends, or until it ends by itself. If no servers are
// named it brings one.
func (a *App) GearmanWorker(ctx context.Context, opt GearmanWorkerOptions) (worker.Report, error) {
	cfg, err := a.Config.Worker.Only(opt.Functions...)
	if err != nil {
		return worker.Report{}, err
	}
	if err := a.Config.CheckFunctionPrograms(cfg.FunctionNames()...); err != nil {
		return worker.Report{}, err
	}
	if opt.Change != nil {
		opt.Change(&cfg)
	}
	alone := len(cfg.Servers) == 0
	if alone {
		a.strengthen(cfg.Server)
	}
	st, err := a.Store(ctx)
	if err != nil {
		return worker.Report{}, err
	}
	// With a guard, because a job comes back when its worker is killed: what does it must
	// be gone by then.
	host, err := a.newHost(opt.Log, proc.HostOptions{
		Guard: true, Subreaper: true,
		OnError: func(err error) { opt.Log.Warn().Err(err).Msg("the jobs are guarded less") },
	})
	if err != nil {
		return worker.Report{}, err
	}
	a.teardown.add("the host of the jobs", func(context.Context) error { return host.Close() })
	w := worker.New(cfg, worker.Deps{
		Host: host, Store: st, Bus: a.Bus, Log: opt.Log, LogLevel: a.Config.Log.Level, Env: a.childEnv(), Hurry: opt.Hurry,
	})
	var server *embedded
	if alone {
		if server, err = a.embed(cfg.Server, opt.Log, opt.Hurry); err != nil {
			return worker.Report{}, err
		}
	}
	l, err := listenForMetrics(ctx, cfg.Metrics)
	if err != nil {
		opt.Log.Warn().Err(err).Msg("nobody sees the metrics of this worker")
	}
	defer serveMetrics(l, opt.Log, w.WriteMetrics)()
	m := a.tell(0, func() picture {
		now := w.Status()
		return picture{ready: now.Ready, text: functionsText(cfg) + now.Text()}
	})
	defer m.end()
	if m != nil { // else an event to which nobody listens costs next to nothing
		defer a.Bus.Subscribe("worker.*", func(event.Event) { m.changed() })()
	}
	report, err := w.Run(ctx)
	return report, errors.Join(err, server.end())
}

// functionsText says which functions a worker has.
func functionsText(cfg gearman.Config) string {
	names := cfg.FunctionNames()
	if len(names) == 1 {
		return names[0] + "; "
	}
	return fmt.Sprintf("%d functions; ", len(names))
}
