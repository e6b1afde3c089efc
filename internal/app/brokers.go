package app

import (
	"context"

	"github.com/rs/zerolog"

	"procops/internal/fault"
	"procops/internal/store"
	"procops/internal/tasks"
	"procops/internal/tasks/broker"
	"procops/internal/tasks/broker/group"
	"procops/internal/tasks/broker/leptirdoc"
	"procops/internal/tasks/broker/mongo"
	"procops/internal/tasks/broker/redis"
	"procops/internal/tasks/broker/sqlite"
	"procops/internal/tasks/broker/sqs"
)

// openBrokers opens the brokers that the config has. None of them connects to anything yet. What
// they do is logged, and recorded for the other processes of the state directory.
func (a *App) openBrokers(st *store.Store) (*group.Group, error) {
	cfg := a.Config.Tasks
	var members []group.Member
	for _, declared := range cfg.Brokers() {
		b, err := a.openBroker(st, declared)
		if err != nil {
			return nil, fault.Wrap(fault.Usage, err, "cannot use the broker %q", declared.Name)
		}
		members = append(members, group.Member{
			Name: declared.Name, Priority: declared.Priority, Broker: b, Fallback: declared.Fallback,
			Timeout: declared.Timeout.Std(), EmptyFor: declared.CountCache.Std(),
		})
	}
	g := group.New(members, group.Options{
		Strict: cfg.Selection == tasks.SelectStrict,
		Changed: func(c group.Change) {
			if !a.brief { // otherwise it is what the command says
				logBroker(a.log, c)
			}
			if err := tasks.NoteBroker(st, c); err != nil {
				a.log.Error().Err(err).Str("broker", c.Name).Msg("cannot record how a broker does")
			}
		},
	})
	a.teardown.add("the brokers", g.Close)
	return g, nil
}

// logBroker logs that a broker is in another state.
func logBroker(log zerolog.Logger, c group.Change) {
	switch {
	case c.To == group.StateDown:
		log.Error().Err(c.Err).Str("broker", c.Name).Msg("broker is lost; it is tried again and again")
	case c.To == group.StateRefusing:
		log.Error().Err(c.Err).Str("broker", c.Name).Msg("broker takes no new tasks")
	case c.From != group.StateUnknown:
		log.Info().Str("broker", c.Name).Msg("broker is back")
	}
}

// TaskBroker is a broker, and how it does.
type TaskBroker struct {
	tasks.DeclaredBroker
	Now    group.Report      // what a look at it has found
	Before tasks.BrokerState // what is recorded of it
}

// TaskBrokers looks at each broker.
func (a *App) TaskBrokers(ctx context.Context) ([]TaskBroker, error) {
	if _, err := a.Tasks(ctx); err != nil {
		return nil, err
	}
	before, err := tasks.BrokerStates(ctx, a.store)
	if err != nil {
		return nil, err
	}
	declared := a.Config.Tasks.Brokers()
	list := make([]TaskBroker, len(declared))
	for i, r := range a.group.Look(ctx, nil) {
		list[i] = TaskBroker{declared[i], r, before[r.Name]}
	}
	return list, nil
}

// openBroker opens one broker. What it holds open is closed with the app.
func (a *App) openBroker(st *store.Store, cfg tasks.DeclaredBroker) (broker.Broker, error) {
	switch {
	case cfg.Kind == tasks.KindSQLite:
		return sqlite.New(st), nil
	case cfg.Kind == tasks.KindRedis && cfg.Format == tasks.FormatLeptir:
		b, err := redis.NewLeptir(redis.LeptirOptions{URL: cfg.URL, Key: cfg.Key, Timeout: cfg.Timeout.Std(), Classes: a.Config.Tasks.Classes()})
		if err != nil {
			return nil, err
		}
		a.teardown.add("the connections to Redis", func(context.Context) error { return b.Close() })
		return b, nil
	case cfg.Kind == tasks.KindRedis:
		b, err := redis.New(redis.Options{URL: cfg.URL, Prefix: cfg.Prefix, Timeout: cfg.Timeout.Std()})
		if err != nil {
			return nil, err
		}
		a.teardown.add("the connections to Redis", func(context.Context) error { return b.Close() })
		return b, nil
	case cfg.Kind == tasks.KindMongoDB:
		return a.openMongo(cfg)
	case cfg.Kind == tasks.KindSQS:
		return a.openSQS(cfg)
	default:
		return nil, fault.New(fault.Usage, "this procops has none of kind %q with the format %q", cfg.Kind, cfg.Format)
	}
}

// openSQS opens a queue of SQS.
func (a *App) openSQS(cfg tasks.DeclaredBroker) (broker.Broker, error) {
	o := sqs.Options{
		Queue: cfg.Queue, Dead: cfg.Dead, Region: cfg.Region, Endpoint: cfg.Endpoint, Create: cfg.Create,
		NoWait: len(a.Config.Tasks.Brokers()) > 1,
	}
	if cfg.Format == tasks.FormatLeptir {
		o.Format = sqs.Leptir{Documents: leptirdoc.Format{Classes: a.Config.Tasks.Classes()}}
	}
	b, err := sqs.New(o)
	if err != nil {
		return nil, err
	}
	a.teardown.add("the messages and connections of SQS", func(context.Context) error { return b.Close() })
	return b, nil
}

// openMongo opens a queue in MongoDB.
func (a *App) openMongo(cfg tasks.DeclaredBroker) (broker.Broker, error) {
	o := mongo.Options{URL: cfg.URL, Database: cfg.Database, Collection: cfg.Collection, Timeout: cfg.Timeout.Std()}
	if cfg.Format == tasks.FormatLeptir {
		q, err := mongo.NewLeptir(o, a.Config.Tasks.Classes())
		if err != nil {
			return nil, err
		}
		a.teardown.add("the connections to MongoDB", func(context.Context) error { return q.Close() })
		return q, nil
	}
	b, err := mongo.New(o)
	if err != nil {
		return nil, err
	}
	a.teardown.add("the connections to MongoDB", func(context.Context) error { return b.Close() })
	return b, nil
}
