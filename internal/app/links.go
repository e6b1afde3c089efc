package app

import (
	"context"
	"time"

	"procops/internal/fault"
	"procops/internal/gearman"
	"procops/internal/supervise"
	"procops/internal/tasks"
)

// pushTask is what a task link of a chain does.
func (a *App) pushTask(ctx context.Context, link supervise.TaskLink, params []byte) error {
	queue, err := a.Tasks(ctx)
	if err != nil {
		return err
	}
	task := tasks.Task{Type: link.Type, Params: params, Priority: link.Priority}
	if link.Delay > 0 {
		task.At = time.Now().Add(link.Delay.Std())
	}
	id, err := queue.Push(ctx, task)
	if id != "" {
		return nil // it is queued, whatever else went wrong
	}
	return err
}

// submitJob is what a job link of a chain does.
func (a *App) submitJob(ctx context.Context, link supervise.JobLink, workload []byte) error {
	cfg := a.Config.Worker
	if len(link.Servers) > 0 {
		cfg.Servers = nil
	}
	for _, text := range link.Servers {
		server, err := gearman.ParseAddress(text)
		if err != nil {
			return fault.Wrap(fault.Usage, err, "cannot submit job %q", link.Function)
		}
		cfg.Servers = append(cfg.Servers, server)
	}
	_, err := gearman.NewClient(cfg).SubmitBackground(ctx, gearman.Job{
		Function: link.Function, Workload: workload, Unique: link.Unique, Priority: gearman.Priority(link.Priority),
	})
	return err
}
