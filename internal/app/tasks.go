package app

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/proc"
	"procops/internal/tasks"
)

// Tasks returns the queue of tasks of the state directory. It opens its store and its
// brokers when it is first asked for.
func (a *App) Tasks(ctx context.Context) (*tasks.Queue, error) {
	a.queueOpening.Lock()
	defer a.queueOpening.Unlock()
	if a.queue != nil {
		return a.queue, nil
	}
	st, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	brokers, err := a.openBrokers(st)
	if err != nil {
		return nil, err
	}
	stores, err := a.metaStores()
	if err != nil {
		return nil, err
	}
	a.group = brokers
	a.queue = tasks.New(st, brokers, a.Config.Tasks)
	if len(stores) > 0 {
		a.meta = tasks.NewMeta(stores, a.Config.Tasks.Classes(), a.log)
		a.teardown.add("the meta stores", a.meta.Close)
		a.queue.TellMeta(a.meta)
	}
	return a.queue, nil
}

// WorkTasks works off tasks until ctx ends, or as opt says.
func (a *App) WorkTasks(ctx context.Context, log zerolog.Logger, opt tasks.WorkOptions) (report tasks.Report, err error) {
	if err := a.Config.CheckTaskPrograms(); err != nil {
		return tasks.Report{}, err
	}
	a.log = log
	queue, err := a.Tasks(ctx)
	if err != nil {
		return tasks.Report{}, err
	}
	// With a guard, because a task comes back when its worker is killed: its handler
	// must be gone by then.
	host, err := a.newHost(log, proc.HostOptions{Guard: true, Subreaper: true})
	if err != nil {
		return tasks.Report{}, err
	}
	a.teardown.add("the host of the handlers", func(context.Context) error { return host.Close() })
	now := atomic.Pointer[tasks.Progress]{}
	now.Store(&tasks.Progress{})
	m := a.tell(0, func() picture {
		p := now.Load()
		return picture{ready: p.Begun, text: fmt.Sprintf("tasks: %d running, %d done, %d failed", p.Running, p.Completed, p.Failed)}
	})
	defer m.end()
	observe := opt.Observe
	opt.Observe = func(p tasks.Progress) {
		now.Store(&p)
		m.changed()
		if observe != nil {
			observe(p)
		}
	}
	// While there is the log in which they tell what they could not write.
	defer func() { err = errors.Join(err, a.closeMeta()) }()
	return queue.Work(ctx, tasks.Deps{Host: host, Env: a.childEnv(), Bus: a.Bus, Log: log}, opt)
}

// metaPatience is how long a worker that ends waits for its meta stores.
const metaPatience = 10 * time.Second

func (a *App) closeMeta() error {
	ctx, cancel := context.WithTimeout(context.Background(), metaPatience)
	defer cancel()
	return a.meta.Close(ctx)
}
