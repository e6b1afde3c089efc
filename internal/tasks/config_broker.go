package tasks

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"procops/internal/name"
	"procops/internal/unit"
)

// BrokerKind says what a broker is.
type BrokerKind string

// The kinds of brokers.
const (
	KindSQLite  BrokerKind = "sqlite"
	KindRedis   BrokerKind = "redis"
	KindMongoDB BrokerKind = "mongodb"
	KindSQS     BrokerKind = "sqs"
)

// BrokerFormat says how a broker keeps its tasks.
type BrokerFormat string

// The formats.
const (
	FormatProcops BrokerFormat = "procops" // our own
	FormatLeptir  BrokerFormat = "leptir"  // shared with programs that use leptir
)

// Selection says from which broker the next task comes.
type Selection string

// The selections.
const (
	SelectWeighted Selection = "weighted" // from each now and then, from more important ones more often
	SelectStrict   Selection = "strict"   // from the most important one that has any
)

// DefaultBroker is the name of the broker where none is declared.
const DefaultBroker = "sqlite"

// BrokerConfig is a section [tasks.broker.NAME]. What a kind has no use for is empty.
type BrokerConfig struct {
	Kind       BrokerKind    `toml:"kind" enum:"sqlite,redis,mongodb,sqs" doc:"sqlite (in the state directory, for the processes of one host), redis, mongodb or sqs (for many hosts); default: its name, if that is one of these"`
	Priority   int           `toml:"priority" default:"0" doc:"a task goes to the first broker, in ascending order, whose priority is not below its own, otherwise to the last; and the lower, the more often the next task comes from here"`
	Format     BrokerFormat  `toml:"format" enum:"procops,leptir" default:"procops" doc:"procops, or leptir for queues that are shared with programs that use leptir"`
	URL        string        `toml:"url" doc:"the server; redis://USER:PASSWORD@HOST:PORT/DB, rediss:// for TLS, unix:// for a socket (default: redis://127.0.0.1:6379/0); mongodb://HOST:PORT (default: mongodb://127.0.0.1:27017)"`
	Prefix     string        `toml:"prefix" doc:"redis: what all its keys begin with, by default {procops}; in braces they stay together in a cluster"`
	Key        string        `toml:"key" doc:"redis with the format leptir: the sorted set of the tasks; default: leptir:ztasks"`
	Database   string        `toml:"database" doc:"mongodb: the database; default: procops, with the format leptir: leptir"`
	Collection string        `toml:"collection" doc:"mongodb: the collection; default: tasks"`
	Queue      string        `toml:"queue" doc:"sqs: the name or the URL of the queue; default: procops"`
	Dead       string        `toml:"dead_queue" doc:"sqs: the name or the URL of the queue for tasks that are given up; default: that of the queue, with -dead at its end"`
	Create     bool          `toml:"create" doc:"sqs: create the queues where they do not exist"`
	Region     string        `toml:"region" doc:"sqs: the region, such as eu-central-1; default: that in the URL of the queue, else $AWS_REGION"`
	Endpoint   string        `toml:"endpoint" doc:"sqs: the URL of the service, where that is not Amazon's own; default: $AWS_ENDPOINT_URL_SQS"`
	Fallback   string        `toml:"fallback" doc:"the broker to which a task goes that this one has certainly not taken, because it cannot be reached or refuses; default: the push fails"`
	CountCache unit.Duration `toml:"count_cache" default:"0.2s" doc:"how long a broker that was found empty is not asked again while other brokers have tasks, unless it says that it has some; 0: not at all"`
	Timeout    unit.Duration `toml:"timeout" default:"10s" min:"1ms" doc:"a call that takes longer has failed"`
}

// kind returns the kind of a broker; empty if it has none.
func (b BrokerConfig) kind(name string) BrokerKind {
	if b.Kind == "" && slices.Contains([]BrokerKind{KindSQLite, KindRedis, KindMongoDB, KindSQS}, BrokerKind(name)) {
		return BrokerKind(name)
	}
	return b.Kind
}

// check reports what is wrong with the section of a broker.
func (b BrokerConfig) check(name string, report func(err error, path ...string)) {
	kind := b.kind(name)
	if kind == "" {
		report(errors.New(`it has no kind; want kind = "sqlite", "redis", "mongodb" or "sqs"`), "broker", name)
		return
	}
	of := map[string][]BrokerKind{
		"url": {KindRedis, KindMongoDB}, "prefix": {KindRedis}, "key": {KindRedis}, "database": {KindMongoDB}, "collection": {KindMongoDB},
		"queue": {KindSQS}, "dead_queue": {KindSQS}, "region": {KindSQS}, "endpoint": {KindSQS},
	}
	for key, value := range map[string]string{
		"url": b.URL, "prefix": b.Prefix, "key": b.Key, "database": b.Database, "collection": b.Collection,
		"queue": b.Queue, "dead_queue": b.Dead, "region": b.Region, "endpoint": b.Endpoint,
	} {
		if value != "" && !slices.Contains(of[key], kind) {
			report(fmt.Errorf("it means nothing in a broker of kind %q", kind), "broker", name, key)
		}
	}
	if b.Create && kind != KindSQS {
		report(fmt.Errorf("it means nothing in a broker of kind %q", kind), "broker", name, "create")
	}
	switch {
	case b.Format == FormatLeptir && kind == KindSQLite:
		report(errors.New("leptir has no queues in SQLite"), "broker", name, "format")
	case b.Format == FormatLeptir && b.Prefix != "":
		report(errors.New("it means nothing with the format leptir; its tasks are in the sorted set that key names"), "broker", name, "prefix")
	case b.Format != FormatLeptir && b.Key != "":
		report(fmt.Errorf("it means nothing without format = %q", FormatLeptir), "broker", name, "key")
	}
}

// DeclaredBroker is a broker that the configuration has.
type DeclaredBroker struct {
	Name string
	BrokerConfig
}

// Brokers returns the brokers in ascending order of priority, those of one priority by
// name; where none is declared there is the one in the state directory.
func (c Config) Brokers() []DeclaredBroker {
	var list []DeclaredBroker
	for _, name := range slices.Sorted(maps.Keys(c.Broker)) {
		b := c.Broker[name]
		b.Kind = b.kind(name)
		list = append(list, DeclaredBroker{name, b})
	}
	slices.SortStableFunc(list, func(x, y DeclaredBroker) int { return cmp.Compare(x.Priority, y.Priority) })
	if len(list) == 0 {
		list = []DeclaredBroker{{DefaultBroker, BrokerConfig{Kind: KindSQLite}}}
	}
	return list
}

// home returns the broker that a task of some priority is pushed to.
func (c Config) home(priority int) DeclaredBroker {
	list := c.Brokers()
	for _, b := range list {
		if b.Priority >= priority {
			return b
		}
	}
	return list[len(list)-1]
}

// checkBrokers reports what is wrong with the brokers.
func (c Config) checkBrokers(report func(err error, path ...string)) {
	var embedded []string
	for _, name := range slices.Sorted(maps.Keys(c.Broker)) {
		b := c.Broker[name]
		b.check(name, report)
		c.checkFallback(name, report)
		if b.kind(name) == KindSQLite {
			embedded = append(embedded, name)
		}
	}
	if len(embedded) > 1 {
		report(fmt.Errorf("a state directory has one queue, and that is the broker %q already", embedded[0]), "broker", embedded[1])
	}
}

// checkFallback reports what is wrong with the one that stands in for a broker.
func (c Config) checkFallback(broker string, report func(err error, path ...string)) {
	switch other := c.Broker[broker].Fallback; other {
	case "":
	case broker:
		report(errors.New("a broker cannot stand in for itself"), "broker", broker, "fallback")
	default:
		names := slices.Sorted(maps.Keys(c.Broker))
		if !slices.Contains(names, other) {
			report(fmt.Errorf("there is no broker %q%s", other, name.DidYouMean(other, names)), "broker", broker, "fallback")
		}
	}
}
