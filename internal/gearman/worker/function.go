package worker

import (
	"slices"
	"sync/atomic"

	"procops/internal/gearman"
	"procops/internal/proc"
	"procops/internal/runner"
)

// function is one that the worker has.
type function struct {
	name   string
	cfg    gearman.Function
	runner runner.Runner
	limit  int           // how many of its jobs are done at once
	scarce bool          // that is less than the worker does
	slots  chan struct{} // who has put one in does a job
	held   atomic.Int64  // jobs that the worker has, those that wait for a slot included
}

func newFunction(name string, cfg gearman.Function, w *Worker) *function {
	f := &function{name: name, cfg: cfg, limit: cfg.Parallel(w.cfg.Concurrency)}
	f.scarce = f.limit < w.cfg.Concurrency
	f.slots = make(chan struct{}, f.limit)
	s := starter{cfg: cfg, extra: append(slices.Clip(w.deps.Env), "PROCOPS_WORKER="+w.id, "PROCOPS_FUNCTION="+name, "PROCOPS_LOG_LEVEL="+w.deps.LogLevel)}
	if len(cfg.EnvFile) == 0 && cfg.User == "" && cfg.Group == "" && cfg.Groups == nil {
		s.ready, s.err = s.make()
		s.fixed = true
	}
	f.runner = runner.New(runner.Options{
		Host: w.deps.Host, Mode: cfg.Mode, Start: s.spec, Ladder: cfg.Stop.Ladder(), Hurry: w.deps.Hurry,
		Coprocess: cfg.Coprocess,
		Observe:   func(n runner.Notice) { w.observe(f, n) },
		OnError:   func(err error) { w.deps.Log.Error().Err(err).Str("function", name).Msg("co-process") },
	})
	return f
}

// free reports whether another job of the function can be done.
func (f *function) free() bool { return f.held.Load() < int64(f.limit) }

// starter says how the processes of a function are started. What may have changed since
// the last one, the users and the files with variables, is read again.
type starter struct {
	cfg   gearman.Function
	extra []string // environment
	fixed bool     // nothing can change
	ready proc.Spec
	err   error
}

func (s *starter) spec() (proc.Spec, error) {
	if s.fixed {
		return s.ready, s.err
	}
	return s.make()
}

func (s *starter) make() (proc.Spec, error) {
	spec, err := s.cfg.Program().Spec(s.extra)
	spec.Env = slices.Clip(spec.Env) // each job adds its own
	return spec, err
}

// observe notes what becomes of a co-process.
func (w *Worker) observe(f *function, n runner.Notice) {
	w.memory.note(n)
	switch n.Kind {
	case runner.NoticeStarted:
		w.deps.Log.Debug().Str("function", f.name).Int("pid", n.PID).Msg("co-process has started")
	case runner.NoticeEnded:
		level := w.deps.Log.Debug()
		if n.Cause != runner.CauseClosed && n.Cause != runner.CauseUnits {
			level = w.deps.Log.Warn()
		}
		level.Str("function", f.name).Int("pid", n.PID).Int("units", n.Units).Msg("co-process has ended: " + n.Reason)
	case runner.NoticeReady:
	}
}
