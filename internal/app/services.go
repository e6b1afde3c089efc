package app

import (
	"context"
	"strings"
	"sync"
	"syscall"

	"github.com/rs/zerolog"

	"procops/internal/config"
	"procops/internal/daemon"
	"procops/internal/proc"
	"procops/internal/supervise"
)

// newService makes a service of the supervised tree: see supervise.Config.Hosted.
func (a *App) newService(log zerolog.Logger) func(string, supervise.ServiceCalls) (supervise.Service, error) {
	return func(name string, calls supervise.ServiceCalls) (supervise.Service, error) {
		cfg := a.hosted.Load()
		id, err := cfg.Hosted(strings.TrimPrefix(name, config.DaemonPrefix))
		if err != nil {
			return nil, err
		}
		s := &daemonService{app: a, cfg: *cfg, log: log, calls: calls, id: id}
		if err := s.renew(); err != nil {
			return nil, err
		}
		return s, nil
	}
}

// daemonService is a daemon in the place of a supervised process.
type daemonService struct {
	app   *App
	cfg   daemon.Config
	log   zerolog.Logger
	calls supervise.ServiceCalls
	id    daemon.ID

	mu     sync.Mutex
	daemon *daemon.Daemon
}

// renew makes the daemon anew.
func (s *daemonService) renew() error {
	st, err := s.app.Store(context.Background())
	if err != nil {
		return err
	}
	d, err := daemon.New(s.cfg, s.id, daemon.Deps{
		Host: s.app.host, Store: st, Bus: s.app.Bus, Log: s.log, StateDir: s.app.StateDir, Env: s.app.childEnv(),
		Output: s.calls.Output, Beat: s.app.beatFor, Hosted: true, Begun: s.begun,
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.daemon = d
	return nil
}

func (s *daemonService) begun(err error) {
	if err == nil {
		s.calls.Ready()
	}
}

func (s *daemonService) current() *daemon.Daemon {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.daemon
}

// Run runs the daemon, and afresh when it has grown too large.
func (s *daemonService) Run() error {
	for {
		d := s.current()
		if err := d.Run(context.Background()); err != nil || !d.Outgrown() {
			return err
		}
		if err := s.renew(); err != nil {
			return err
		}
	}
}

// Signal does what the signal would do to a daemon with a process of its own.
func (s *daemonService) Signal(sig proc.Signal) { s.current().Signal(syscall.Signal(sig)) }

// Hurry kills what is being stopped.
func (s *daemonService) Hurry() { s.current().Hurry() }

// Status says what the daemon does.
func (s *daemonService) Status() string { return s.current().Text() }
