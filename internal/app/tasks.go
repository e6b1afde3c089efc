package app

import (
	"context"

	"github.com/rs/zerolog"

	"procops/internal/fault"
	"procops/internal/proc"
	"procops/internal/store"
	"procops/internal/tasks"
	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/redis"
	"procops/internal/tasks/broker/sqlite"
)

// Tasks returns the queue of tasks of the state directory and opens its store
// when it is first asked for.
func (a *App) Tasks(ctx context.Context) (*tasks.Queue, error) {
	st, err := a.Store(ctx)
	if err != nil {
		return nil, err
	}
	b, err := a.broker(st)
	if err != nil {
		return nil, err
	}
	return tasks.New(st, b, a.Config.Tasks), nil
}

// broker opens the queue that the config names.
func (a *App) broker(st *store.Store) (broker.Broker, error) {
	cfg := a.Config.Tasks
	if cfg.Broker != tasks.BrokerRedis {
		return sqlite.New(st), nil
	}
	b, err := redis.New(redis.Options{URL: cfg.Redis.URL, Prefix: cfg.Redis.Prefix})
	if err != nil {
		return nil, fault.Wrap(fault.Usage, err, "cannot use the broker of [tasks]")
	}
	a.teardown.add("the connections to Redis", func(context.Context) error { return b.Close() })
	return b, nil
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
	return queue.Work(ctx, tasks.Deps{Host: host, Env: a.childEnv(), Log: log}, opt)
}
