package worker

import (
	"slices"
	"sync/atomic"

	"github.com/rs/zerolog"

	"procops/internal/gearman"
	"procops/internal/runner"
)

// function is one that the worker has.
type function struct {
	name   string
	cfg    gearman.Function
	runner runner.Runner
	tally  tally
	active atomic.Int64  // jobs under way
	slots  chan struct{} // who has put one in has a job of it, or asks for one; nil: it has no limit of its own
}

func newFunction(name string, cfg gearman.Function, w *Worker) *function {
	f := &function{name: name, cfg: cfg}
	if limit := cfg.Parallel(w.cfg.Concurrency); limit < w.cfg.Concurrency {
		f.slots = make(chan struct{}, limit)
	}
	program := cfg.Program()
	start := program.Starter(append(slices.Clip(w.deps.Env), "PROCOPS_WORKER="+w.id, "PROCOPS_FUNCTION="+name, "PROCOPS_LOG_LEVEL="+w.deps.LogLevel))
	f.runner = runner.New(runner.Options{
		Host: w.deps.Host, Mode: cfg.Mode, Start: start, Ladder: cfg.Stop.Ladder(), Hurry: w.deps.Hurry,
		Coprocess: cfg.Coprocess,
		Observe:   func(n runner.Notice) { w.observe(f, n) },
		OnError:   func(err error) { w.deps.Log.Error().Err(err).Str("function", name).Msg("co-process") },
	})
	return f
}

// observe notes what becomes of a co-process.
func (w *Worker) observe(f *function, n runner.Notice) {
	w.memory.note(n)
	switch n.Kind {
	case runner.NoticeStarted:
		w.deps.Log.Debug().Str("function", f.name).Int("pid", n.PID).Msg("co-process has started")
	case runner.NoticeEnded:
		level := zerolog.WarnLevel
		if n.Cause == runner.CauseClosed || n.Cause == runner.CauseUnits {
			level = zerolog.DebugLevel
		}
		w.deps.Log.WithLevel(level).Str("function", f.name).Int("pid", n.PID).Int("units", n.Units).Msg("co-process has ended: " + n.Reason)
	case runner.NoticeReady:
	}
}
