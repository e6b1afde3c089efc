package tasks

import (
	"fmt"
	"maps"
	"slices"

	"procops/internal/tasks/leptir"
	"procops/internal/unit"
)

// MetaKind says what a meta store is.
type MetaKind string

// The kinds of meta stores.
const (
	MetaRedis   MetaKind = "redis"
	MetaMongoDB MetaKind = "mongodb"
)

// MetaConfig is a section [tasks.meta.NAME].
type MetaConfig struct {
	Kind        MetaKind      `toml:"kind" required:"true" enum:"redis,mongodb" doc:"redis (a key for each task) or mongodb (a document for each task), as leptir has them"`
	URL         string        `toml:"url" doc:"the server; redis://USER:PASSWORD@HOST:PORT/DB, rediss:// for TLS, unix:// for a socket (default: redis://127.0.0.1:6379/0); mongodb://HOST:PORT (default: mongodb://127.0.0.1:27017)"`
	Prefix      string        `toml:"prefix" doc:"redis: what stands before the id of a task in its key; default: leptir:taskinfo:"`
	Database    string        `toml:"database" doc:"mongodb: the database; default: leptir"`
	Collection  string        `toml:"collection" doc:"mongodb: the collection; default: info"`
	ExpireAfter unit.Duration `toml:"expire_after" default:"0" doc:"what is known of a task is forgotten so long after it was written; 0: never"`
}

// check reports what is wrong with the section of a meta store.
func (m MetaConfig) check(name string, report func(err error, path ...string)) {
	of := map[string]MetaKind{"prefix": MetaRedis, "database": MetaMongoDB, "collection": MetaMongoDB}
	for key, value := range map[string]string{"prefix": m.Prefix, "database": m.Database, "collection": m.Collection} {
		if value != "" && m.Kind != of[key] && m.Kind != "" {
			report(fmt.Errorf("it means nothing in a meta store of kind %q", m.Kind), "meta", name, key)
		}
	}
}

// checkClasses reports what is wrong with the classes of the types.
func (c Config) checkClasses(report func(err error, path ...string)) {
	classes, types := c.Classes(), map[string]string{}
	for _, typ := range slices.Sorted(maps.Keys(c.Types)) {
		class := classes.Class(typ)
		if c.Types[typ].Class != "" {
			if err := leptir.CheckClass(class); err != nil {
				report(err, "type", typ, "class")
			}
		}
		if other, taken := types[class]; taken {
			report(fmt.Errorf("the class %q stands for type %q already", class, other), "type", typ, "class")
		}
		types[class] = typ
	}
}

// Classes returns which PHP class stands for which type.
func (c Config) Classes() leptir.Classes {
	classes := map[string]string{}
	for typ, t := range c.Types {
		if t.Class != "" {
			classes[typ] = t.Class
		}
	}
	return leptir.NewClasses(classes)
}
