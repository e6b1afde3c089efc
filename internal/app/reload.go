package app

import (
	"context"
	"reflect"
	"sync"

	"procops/internal/config"
	"procops/internal/control"
	"procops/internal/fault"
	"procops/internal/supervise"
)

// Supervisor is a running supervisor that can read its config again.
type Supervisor struct {
	*supervise.Supervisor
	app      *App
	listener control.Listener
	bound    string          // why it cannot be upgraded; empty: it can
	ending   <-chan struct{} // closed: somebody has told it to end
	upgrade  sync.Mutex      // held from the rehearsal of an upgrade until it has failed
}

// Config returns the path of the config, empty if there is none.
func (s *Supervisor) Config() string { return s.app.Config.Path() }

// Reload reads the config again and brings the tree to it. A config that is
// broken in any way changes nothing. With dryRun it only says what it would do.
func (s *Supervisor) Reload(ctx context.Context, dryRun bool) (supervise.Plan, error) {
	a := s.app
	if a.Config.Path() == "" {
		return supervise.Plan{}, fault.New(fault.Usage, "there is no config to read again")
	}
	cfg, err := config.Load(a.Config.Path(), a.getenv)
	if err != nil {
		return supervise.Plan{}, err
	}
	if err := a.checkTree(cfg); err != nil {
		return supervise.Plan{}, err
	}
	if !dryRun {
		a.hosted.Store(&cfg.Daemon) // before the first service is started anew
	}
	plan, err := s.Supervisor.Reload(ctx, cfg.Supervise, dryRun)
	if err == nil {
		plan.Ignored = append(plan.Ignored, a.fixed(cfg)...)
	}
	return plan, err
}

// fixed returns the keys that differ and cannot change while a supervisor runs.
func (a *App) fixed(cfg *config.Config) (keys []string) {
	for _, k := range []struct {
		name   string
		differ bool
	}{
		{"state_dir", cfg.StateDir != a.Config.StateDir},
		{"durability", cfg.Durability != a.Config.Durability},
		{"events", cfg.Events != a.Config.Events},
		{"log", cfg.Log != a.Config.Log},
		{"hook", !reflect.DeepEqual(cfg.Hook, a.Config.Hook)},
	} {
		if k.differ {
			keys = append(keys, k.name)
		}
	}
	return keys
}
