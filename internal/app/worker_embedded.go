package app

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/fault"
	"procops/internal/flock"
	"procops/internal/gearman"
)

// embedded is the job server that a worker brings for which no servers are named. Of the
// workers of a state directory one has it at a time; when that has ended, the next one that
// connects in vain takes its place, and the queued jobs. A server that somebody has started
// for itself is used as it is: in its place, while it is only started again, there must be
// no other.
type embedded struct {
	app   *App
	cfg   gearman.ServerConfig
	log   zerolog.Logger
	hurry <-chan struct{}
	place *os.File // the lock that only embedded servers have

	calls chan struct{} // somebody connects
	stop  context.CancelFunc
	work  sync.WaitGroup
	err   error // of the server; valid after work
}

// embed brings a job server, unless there is one. End is to be called when the worker has
// ended.
func (a *App) embed(cfg gearman.ServerConfig, log zerolog.Logger, hurry <-chan struct{}) (*embedded, error) {
	ctx, stop := context.WithCancel(context.Background())
	e := &embedded{app: a, cfg: cfg, log: log, hurry: hurry, calls: make(chan struct{}, 1), stop: stop}
	s, err := e.open(ctx)
	switch {
	case errors.Is(err, errPlaceTaken):
		log.Info().Msg("no servers are named in [worker]: another worker has brought a job server, and this one takes its place when it is gone")
		e.work.Go(func() { e.err = e.succeed(ctx) })
	case fault.Is(err, fault.Conflict):
		log.Info().Str("reason", err.Error()).Msg("no servers are named in [worker]: there is one already, and this worker works for it")
	case err != nil:
		stop()
		return nil, err
	default:
		log.Info().Strs("listen", s.addresses()).Msg("no servers are named in [worker]: this worker brings a job server")
		e.work.Go(func() { e.err = e.serve(ctx, s) })
	}
	return e, nil
}

// errPlaceTaken says that another embedded server is there.
var errPlaceTaken = errors.New("another worker has brought a job server")

// open opens the server if it may be.
func (e *embedded) open(ctx context.Context) (*jobServer, error) {
	place, err := e.app.takePlace("worker-embedded.lock")
	if errors.Is(err, flock.ErrTaken) {
		return nil, errPlaceTaken
	}
	if err != nil {
		return nil, err
	}
	s, err := e.app.openJobServer(ctx, e.cfg, e.log)
	if err != nil {
		return nil, errors.Join(err, place.Close())
	}
	e.place = place
	return s, nil
}

func (e *embedded) serve(ctx context.Context, s *jobServer) error {
	return errors.Join(s.serve(ctx, e.hurry), e.place.Close())
}

// succeed takes the place of the present server when somebody connects in vain.
func (e *embedded) succeed(ctx context.Context) error {
	defer e.app.Bus.Subscribe("worker.server.connect", func(event.Event) {
		select {
		case e.calls <- struct{}{}:
		default:
		}
	})()
	for {
		select {
		case <-e.calls:
		case <-ctx.Done():
			return nil
		}
		s, err := e.open(ctx)
		switch {
		case err == nil:
			e.log.Info().Strs("listen", s.addresses()).Msg("the job server is gone: this worker takes its place")
			return e.serve(ctx, s)
		case !errors.Is(err, errPlaceTaken):
			e.log.Warn().Err(err).Msg("cannot take the place of the job server")
		}
	}
}

// end stops the server, if it is here.
func (e *embedded) end() error {
	if e == nil {
		return nil
	}
	e.stop()
	e.work.Wait()
	return e.err
}
