package app

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"

	"procops/internal/fault"
	"procops/internal/store"
	"procops/internal/tasks"
	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/redis"
	"procops/internal/tasks/broker/sqlite"
)

// TasksBench says what to measure.
type TasksBench struct {
	Broker   string // its name; empty: the most important one
	Tasks    int
	Together int // pushed in one call
	Workers  int
}

// BenchTasks measures a broker with tasks that do nothing: in a state directory of its own
// beside the state, and under names of its own on a server, so that the tasks that are
// there are neither seen nor run. Nothing is left of it.
func (a *App) BenchTasks(ctx context.Context, opt TasksBench) (m tasks.Measurement, err error) {
	declared, err := a.declaredBroker(opt.Broker)
	if err != nil {
		return m, err
	}
	if err := makeStateDir(a.StateDir); err != nil {
		return m, err
	}
	dir, err := os.MkdirTemp(a.StateDir, "bench-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st, err := store.Open(ctx, dir, store.Options{Durability: a.Config.Durability, KeepEvents: a.Config.Events.Keep, Bus: a.Bus})
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	b, clean, err := scratchBroker(st, declared)
	if err != nil {
		return m, fault.Wrap(fault.Usage, err, "cannot measure the broker %q", declared.Name)
	}
	defer func() { err = errors.Join(err, clean(context.WithoutCancel(ctx))) }()
	return tasks.New(st, b, tasks.BenchConfig(a.Config.Tasks, opt.Workers)).Bench(ctx, opt.Tasks, opt.Together)
}

// declaredBroker returns a broker of the config by its name.
func (a *App) declaredBroker(name string) (tasks.DeclaredBroker, error) {
	all := a.Config.Tasks.Brokers()
	if name == "" {
		return all[0], nil
	}
	names := make([]string, len(all))
	for i, b := range all {
		if b.Name == name {
			return b, nil
		}
		names[i] = b.Name
	}
	return tasks.DeclaredBroker{}, fault.New(fault.NotFound, "the configuration has no broker %q", name).
		WithHint("there is %s", strings.Join(names, ", "))
}

// scratchBroker opens a queue of the same kind that has nothing to do with that of the
// config. clean removes it.
func scratchBroker(st *store.Store, cfg tasks.DeclaredBroker) (b broker.Broker, clean func(context.Context) error, err error) {
	switch cfg.Kind {
	case tasks.KindSQLite:
		return sqlite.New(st), func(context.Context) error { return nil }, nil
	case tasks.KindRedis:
		r, err := redis.New(redis.Options{URL: cfg.URL, Prefix: "{procops-bench-" + rand.Text() + "}"})
		if err != nil {
			return nil, nil, err
		}
		return r, func(ctx context.Context) error { return errors.Join(r.Clear(ctx), r.Close()) }, nil
	default:
		return nil, nil, fault.New(fault.Usage, "there is no measurement of the kind %q, only of sqlite and redis", cfg.Kind)
	}
}
