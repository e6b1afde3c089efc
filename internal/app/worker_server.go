package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/fault"
	"procops/internal/flock"
	"procops/internal/gearman"
	"procops/internal/gearman/server"
	"procops/internal/store"
)

// GearmanServerOptions say how to run the job server.
type GearmanServerOptions struct {
	Change func(*gearman.ServerConfig) // what holds instead of the config; may be nil
	Ready  func(where string)          // is called for each address it listens on
	Hurry  <-chan struct{}             // closed: end at once
}

// GearmanServer runs the job server until ctx ends, as the section [worker.server] says.
func (a *App) GearmanServer(ctx context.Context, log zerolog.Logger, opt GearmanServerOptions) error {
	a.UseLog(log)
	a.leaveHooksAlone()
	cfg := a.Config.Worker.Server
	if opt.Change != nil {
		opt.Change(&cfg)
	}
	a.strengthen(cfg)
	s, err := a.openJobServer(ctx, cfg, log)
	if err != nil {
		return err
	}
	for _, where := range s.addresses() {
		opt.Ready(where)
	}
	defer a.tell(serverNews, func() picture { return picture{ready: true, text: serverText(s.Stats())} }).end()
	return s.serve(ctx, opt.Hurry)
}

// strengthen has the state, which is not open yet, survive what the jobs are to survive.
func (a *App) strengthen(cfg gearman.ServerConfig) {
	if cfg.Durability == gearman.DurablePower {
		a.Config.Durability = store.Power
	}
}

// jobServer is a server that listens, and has its jobs for itself.
type jobServer struct {
	*server.Server
	listeners []net.Listener
	metrics   net.Listener // nil: it serves none
	log       zerolog.Logger
	lock      *os.File // nil: it has no durable jobs
}

// openJobServer opens a server. That somebody else has the jobs of the state directory or
// listens at one of its addresses is a fault.Conflict.
func (a *App) openJobServer(ctx context.Context, cfg gearman.ServerConfig, log zerolog.Logger) (s *jobServer, err error) {
	s = &jobServer{log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.unlock())
		}
	}()
	if cfg.Durability != gearman.DurableNone {
		if s.lock, err = a.lockJobs(); err != nil {
			return nil, err
		}
	}
	st, err := a.Store(ctx)
	if err != nil {
		return s, err
	}
	if s.Server, err = server.New(server.Options{Config: cfg, Store: st, Log: log}); err != nil {
		return s, err
	}
	if s.listeners, err = server.Listen(ctx, cfg); err != nil {
		return s, err
	}
	if s.metrics, err = listenForMetrics(ctx, cfg.Metrics); err != nil {
		for _, l := range s.listeners {
			err = errors.Join(err, l.Close())
		}
	}
	return s, err
}

// addresses returns where it listens.
func (s *jobServer) addresses() (all []string) {
	for _, l := range s.listeners {
		all = append(all, l.Addr().String())
	}
	return all
}

// serve serves until ctx ends, and closes the server.
func (s *jobServer) serve(ctx context.Context, hurry <-chan struct{}) error {
	defer serveMetrics(s.metrics, s.log, s.WriteMetrics)()
	return errors.Join(s.Serve(ctx, hurry, s.listeners...), s.unlock())
}

func (s *jobServer) unlock() error {
	if s == nil || s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

// serverNews is the time between two looks at what the server does.
const serverNews = 2 * time.Second

// serverText says in a line for people what a server does.
func serverText(now server.Stats) string {
	var queued, scheduled, running int
	for i := range now.Functions {
		f := &now.Functions[i]
		queued, scheduled, running = queued+f.Queued, scheduled+f.Scheduled, running+f.Running
	}
	text := fmt.Sprintf("connections: %d; jobs: %d queued, %d running", now.Open, queued, running)
	if scheduled > 0 {
		text += fmt.Sprintf(", %d scheduled", scheduled)
	}
	return text
}

// lockJobs takes the durable jobs of the state directory for one server. The kernel
// drops the lock with the process.
func (a *App) lockJobs() (*os.File, error) {
	f, err := a.takePlace("worker-server.lock")
	if errors.Is(err, flock.ErrTaken) {
		return nil, fault.Wrap(fault.Conflict, err, "cannot take the queued jobs of %q", a.StateDir).
			WithHint("another procops worker server has them, or a procops worker run for which no servers are named; another server needs another --state-dir, or --durability none")
	}
	return f, err
}

// takePlace takes a lock in the state directory, which is made if it does not exist. That
// somebody else has it is a flock.ErrTaken.
func (a *App) takePlace(name string) (*os.File, error) {
	if err := makeStateDir(a.StateDir); err != nil {
		return nil, err
	}
	f, err := flock.Open(filepath.Join(a.StateDir, name))
	if err != nil {
		return nil, fault.Wrap(fault.Failure, err, "cannot lock state directory %q", a.StateDir).
			WithHint("make it writable for this user, or choose another one with --state-dir")
	}
	if err := flock.Try(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
