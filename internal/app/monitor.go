package app

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/rs/zerolog"

	"procops/internal/fault"
	"procops/internal/flock"
	"procops/internal/heartbeat"
	"procops/internal/hook"
	"procops/internal/proc"
	"procops/internal/tasks"
)

// Monitor knocks at the heartbeats of the state directory and acts until ctx ends,
// or once. A second monitor of the same state directory is a fault.Conflict.
func (a *App) Monitor(ctx context.Context, log zerolog.Logger, opt heartbeat.MonitorOptions) (heartbeat.PassReport, error) {
	if err := a.lockMonitor(); err != nil {
		return heartbeat.PassReport{}, err
	}
	list, err := a.Heartbeats(ctx)
	if err != nil {
		return heartbeat.PassReport{}, err
	}
	host, err := a.newHost(log, proc.HostOptions{Guard: true, Subreaper: true})
	if err != nil {
		return heartbeat.PassReport{}, err
	}
	a.teardown.add("the host of the reactions", func(context.Context) error { return host.Close() })
	return list.Monitor(ctx, heartbeat.Deps{
		Host: host, Env: a.childEnv(), Log: log,
		Restart: a.restartSupervised, PushTask: a.pushAlert,
	}, opt)
}

// lockMonitor takes the state directory for one monitor.
func (a *App) lockMonitor() error {
	if err := makeStateDir(a.StateDir); err != nil {
		return err
	}
	f, err := flock.Open(filepath.Join(a.StateDir, "monitor.lock"))
	if err != nil {
		return fault.Wrap(fault.Failure, err, "cannot lock state directory %q", a.StateDir)
	}
	a.teardown.add("the lock of the monitor", func(context.Context) error { return f.Close() })
	err = flock.Try(f)
	if errors.Is(err, flock.ErrTaken) {
		return fault.New(fault.Conflict, "a monitor already watches the heartbeats of state directory %q", a.StateDir)
	}
	return err
}

// restartSupervised is what the reaction restart does: it asks the supervisor of the
// state directory.
func (a *App) restartSupervised(ctx context.Context, process string) error {
	return a.control(ctx, hook.ActRestart, process)
}

// pushAlert is what the reaction task does, and the hook task.
func (a *App) pushAlert(ctx context.Context, taskType string, params []byte) error {
	queue, err := a.Tasks(ctx)
	if err != nil {
		return err
	}
	id, err := queue.Push(ctx, tasks.Task{Type: taskType, Params: params})
	if id != "" {
		return nil // it is queued, whatever else went wrong
	}
	return err
}
