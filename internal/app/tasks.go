package app

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/rs/zerolog"

	"procops/internal/proc"
	"procops/internal/tasks"
)

// Tasks returns the queue of tasks of the state directory and opens its store
// when it is first asked for.
func (a *App) Tasks(ctx context.Context) (*tasks.Queue, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	b, err := a.brokers(st)
	if err != nil {
		return nil, err
	}
	return tasks.New(st, b, a.Config.Tasks), nil
}

// WorkTasks works off tasks until ctx ends, or as opt says.
func (a *App) WorkTasks(ctx context.Context, log zerolog.Logger, opt tasks.WorkOptions) (tasks.Report, error) {
	if err := a.Config.CheckTaskPrograms(); err != nil {
		return tasks.Report{}, err
	}
	queue, err := a.Tasks(ctx)
	if err != nil {
		return tasks.Report{}, err
	}
	// With a guard, because a task comes back when its worker is killed: its handler
	// must be gone by then.
	host, err := proc.NewHost(proc.HostOptions{Guard: true, Subreaper: true})
	if err != nil {
		return tasks.Report{}, err
	}
	a.teardown.add("the host of the handlers", func(context.Context) error { return host.Close() })
	now := atomic.Pointer[tasks.Progress]{}
	now.Store(&tasks.Progress{})
	m := a.tell(0, func() picture {
		p := now.Load()
		return picture{ready: p.Begun, text: fmt.Sprintf("%d tasks running, %d done, %d failed", p.Running, p.Completed, p.Failed)}
	})
	defer m.end()
	opt.Observe = func(p tasks.Progress) {
		now.Store(&p)
		m.changed()
	}
	return queue.Work(ctx, tasks.Deps{Host: host, Env: a.childEnv(), Log: log}, opt)
}
