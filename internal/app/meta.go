package app

import (
	"context"
	"maps"
	"slices"

	"procops/internal/fault"
	"procops/internal/tasks"
	"procops/internal/tasks/meta/mongo"
	"procops/internal/tasks/meta/redis"
)

// metaStores opens the meta stores that the config has. None of them connects to anything yet.
func (a *App) metaStores() (stores []tasks.NamedMeta, err error) {
	for _, name := range slices.Sorted(maps.Keys(a.Config.Tasks.Meta)) {
		store, err := a.openMeta(a.Config.Tasks.Meta[name])
		if err != nil {
			return nil, fault.Wrap(fault.Usage, err, "cannot use the meta store %q", name)
		}
		stores = append(stores, tasks.NamedMeta{Name: name, MetaStore: store})
	}
	return stores, nil
}

// openMeta opens one meta store. What it holds open is closed with the app.
func (a *App) openMeta(cfg tasks.MetaConfig) (tasks.MetaStore, error) {
	switch cfg.Kind {
	case tasks.MetaRedis:
		s, err := redis.Open(redis.Options{URL: cfg.URL, Prefix: cfg.Prefix, ExpireAfter: cfg.ExpireAfter.Std()})
		if err != nil {
			return nil, err
		}
		a.teardown.add("the connections to Redis", func(context.Context) error { return s.Close() })
		return s, nil
	case tasks.MetaMongoDB:
		s, err := mongo.Open(mongo.Options{URL: cfg.URL, Database: cfg.Database, Collection: cfg.Collection, ExpireAfter: cfg.ExpireAfter.Std()})
		if err != nil {
			return nil, err
		}
		a.teardown.add("the connections to MongoDB", func(context.Context) error { return s.Close() })
		return s, nil
	default:
		return nil, fault.New(fault.Usage, "this procops has none of kind %q", cfg.Kind)
	}
}
