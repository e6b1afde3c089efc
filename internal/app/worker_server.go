package app

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/fault"
	"procops/internal/flock"
	"procops/internal/gearman"
	"procops/internal/gearman/server"
	"procops/internal/store"
)

// GearmanServerOptions say how to run the job server.
type GearmanServerOptions struct {
	Change func(*gearman.ServerConfig) // what holds instead of the config; may be nil
	Ready  func(where string)          // is called for each address it listens on
	Hurry  <-chan struct{}             // closed: end at once
}

// GearmanServer runs the embedded job server until ctx ends, as the section
// [worker.server] says.
func (a *App) GearmanServer(ctx context.Context, log zerolog.Logger, opt GearmanServerOptions) error {
	cfg := a.Config.Worker.Server
	if opt.Change != nil {
		opt.Change(&cfg)
	}
	if cfg.Durability == gearman.DurablePower {
		a.Config.Durability = store.Power // it is stronger than what the state may have
	}
	if cfg.Durability != gearman.DurableNone {
		if err := a.lockJobs(); err != nil {
			return err
		}
	}
	st, err := a.Store(ctx)
	if err != nil {
		return err
	}
	s, err := server.New(server.Options{Config: cfg, Store: st, Log: log})
	if err != nil {
		return err
	}
	listeners, err := server.Listen(ctx, cfg)
	if err != nil {
		return err
	}
	for _, l := range listeners {
		opt.Ready(l.Addr().String())
	}
	defer a.tell(serverNews, func() picture { return picture{ready: true, text: serverText(s.Stats())} }).end()
	return s.Serve(ctx, opt.Hurry, listeners...)
}

// serverNews is the time between two looks at what the server does.
const serverNews = 2 * time.Second

// serverText says in a line for people what a server does.
func serverText(now server.Stats) string {
	var queued, scheduled, running int
	for i := range now.Functions {
		f := &now.Functions[i]
		queued, scheduled, running = queued+f.Queued, scheduled+f.Scheduled, running+f.Running
	}
	text := fmt.Sprintf("%d connections, %d jobs queued, %d running", now.Open, queued, running)
	if scheduled > 0 {
		text += fmt.Sprintf(", %d scheduled", scheduled)
	}
	return text
}

// lockJobs takes the durable jobs of the state directory for one server. The kernel
// drops the lock with the process.
func (a *App) lockJobs() error {
	if err := makeStateDir(a.StateDir); err != nil {
		return err
	}
	f, err := flock.Open(filepath.Join(a.StateDir, "worker-server.lock"))
	if err != nil {
		return fault.Wrap(fault.Failure, err, "cannot lock state directory %q", a.StateDir).
			WithHint("make it writable for this user, or choose another one with --state-dir")
	}
	if err := flock.Try(f); err != nil {
		_ = f.Close()
		return fault.Wrap(fault.Conflict, err, "cannot take the queued jobs of %q", a.StateDir).
			WithHint("another procops worker server has them; another one needs another --state-dir, or --durability none")
	}
	a.teardown.add("the lock of the queued jobs", func(context.Context) error { return f.Close() })
	return nil
}
