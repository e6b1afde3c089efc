package app

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/config"
	"procops/internal/daemon"
	"procops/internal/heartbeat"
	"procops/internal/proc"
)

// DaemonOptions say how a daemon is run.
type DaemonOptions struct {
	ID     daemon.ID
	Change func(*daemon.Section)     // what the command line says in place of the config; may be nil
	Output func(proc.Stream, []byte) // hears what turns write; must not block; may be nil
	Begun  func(error)               // see daemon.Deps; may be nil
	Once   bool                      // one turn and no more
	Log    zerolog.Logger
}

// Daemon returns a daemon that is ready to run.
func (a *App) Daemon(ctx context.Context, opt DaemonOptions) (*daemon.Daemon, error) {
	cfg, err := changeDaemon(a.Config.Daemon, opt)
	if err != nil {
		return nil, err
	}
	st, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	host, err := a.newHost(opt.Log, proc.HostOptions{
		Guard: true, Subreaper: true,
		OnError: func(err error) { opt.Log.Warn().Err(err).Msg("the turns are guarded less") },
	})
	if err != nil {
		return nil, err
	}
	a.teardown.add("the host of the turns", func(context.Context) error { return host.Close() })
	return daemon.New(cfg, opt.ID, daemon.Deps{
		Host: host, Store: st, Bus: a.Bus, Log: opt.Log, StateDir: a.StateDir, Env: a.childEnv(),
		Output: opt.Output, Begun: opt.Begun, Once: opt.Once, Beat: a.beatFor, Reload: func() (daemon.Config, error) { return a.reloadDaemon(opt) },
	})
}

// changeDaemon returns the config with what the command line says.
func changeDaemon(cfg daemon.Config, opt DaemonOptions) (daemon.Config, error) {
	section, err := cfg.Find(opt.ID.Name)
	if err != nil || opt.Change == nil {
		return cfg, err
	}
	opt.Change(&section)
	return cfg.With(opt.ID.Name, section)
}

// reloadDaemon reads the config again.
func (a *App) reloadDaemon(opt DaemonOptions) (daemon.Config, error) {
	cfg, err := config.Load(a.Config.Path(), a.getenv)
	if err != nil {
		return daemon.Config{}, err
	}
	return changeDaemon(cfg.Daemon, opt)
}

// beatFor tells a heartbeat of a daemon's turn. One that is not in the list is attached:
// who names it in a config wants it.
func (a *App) beatFor(ctx context.Context, name string, ok bool, message string) error {
	list, err := a.Heartbeats(ctx)
	if err != nil {
		return err
	}
	if ok {
		_, err = list.Beat(ctx, name, heartbeat.Sign{Create: true})
		return err
	}
	_, err = list.Ping(ctx, name, heartbeat.Ping{Kind: heartbeat.PingFail, Body: []byte(message), Create: true, Source: "daemon"})
	return err
}

// LookAtDaemon returns the status of a daemon.
func (a *App) LookAtDaemon(ctx context.Context, id daemon.ID) (daemon.Status, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return daemon.Status{}, err
	}
	return a.Config.Daemon.Look(ctx, st, id, a.StateDir)
}

// DaemonHistory returns the newest turns of a daemon, oldest first.
func (a *App) DaemonHistory(ctx context.Context, id daemon.ID, since time.Time, limit int) ([]daemon.Turn, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	return daemon.History(ctx, st, id, since, limit)
}
