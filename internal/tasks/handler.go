package tasks

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/launch"
	"procops/internal/proc"
	"procops/internal/runner"
)

// handler runs the tasks of a type. The goroutine of worker.run owns active; the rest
// does not change.
type handler struct {
	typ    Type
	start  func() (proc.Spec, error)
	runner runner.Runner
	before *hook // nil: none
	after  *hook // likewise
	most   int   // how many it runs at once; 0: as many as the worker does
	active int   // how many it runs
}

// newHandler returns the handler of a type that has a command.
func (w *worker) newHandler(name string, typ Type) *handler {
	program := launch.Program{Command: typ.Command, Settings: typ.Settings}
	h := &handler{typ: typ, start: program.Starter(w.deps.Env)}
	if typ.Mode == runner.ModeCoprocess {
		h.most = max(1, typ.Coprocess.Size) // a task that waits for a free one would hold a lease meanwhile
	}
	h.runner = w.deps.NewRunner(runner.Options{
		Host: w.deps.Host, Mode: typ.Mode, Start: h.start, Ladder: typ.Stop.Ladder(), Hurry: w.opt.Hurry,
		Coprocess: typ.Coprocess,
		Observe:   func(n runner.Notice) { w.observe(name, n) },
		OnError:   func(err error) { w.deps.Log.Error().Err(err).Str("type", name).Msg("co-process") },
	})
	h.before, h.after = w.newHook(h, "before", typ.Before), w.newHook(h, "after", typ.After)
	return h
}

// observe notes what becomes of a co-process.
func (w *worker) observe(typ string, n runner.Notice) {
	log := w.deps.Log.With().Str("type", typ).Int("pid", n.PID).Logger()
	switch n.Kind {
	case runner.NoticeStarted:
		log.Debug().Msg("co-process has started")
	case runner.NoticeEnded:
		level := zerolog.WarnLevel
		if n.Cause == runner.CauseClosed || n.Cause == runner.CauseUnits || n.Cause == runner.CauseMemory {
			level = zerolog.DebugLevel
		}
		log.WithLevel(level).Int("tasks", n.Units).Msg("co-process has ended: " + n.Reason)
	case runner.NoticeReady:
	}
}

// room returns how many more it may run at once beside what it runs; at most n.
func (h *handler) room(n int) int {
	if h.most == 0 {
		return n
	}
	return min(n, h.most-h.active)
}

// closePatience is how long co-processes without work may take to end.
const closePatience = 10 * time.Second

// closeHandlers ends what is left of the handlers.
func (w *worker) closeHandlers() error {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	names := slices.Sorted(maps.Keys(w.handlers))
	errs := make([]error, len(names))
	var closing sync.WaitGroup
	for i, name := range names {
		closing.Go(func() { errs[i] = w.handlers[name].close(ctx) })
	}
	closing.Wait()
	return errors.Join(errs...)
}

func (h *handler) close(ctx context.Context) error {
	err := h.runner.Close(ctx)
	for _, k := range []*hook{h.before, h.after} {
		if k != nil {
			err = errors.Join(err, k.runner.Close(ctx))
		}
	}
	return err
}

// responseKept is how many bytes of a handler's standard output are kept with
// its task.
const responseKept = 64 << 10

// runOnce runs a task. The outcome runner.Cancelled says that procops has stopped it.
func (h *handler) runOnce(ctx context.Context, told *tracker, meta []runner.Meta, params []byte, limit time.Duration) (run Run, outcome runner.Outcome) {
	response := proc.NewTail(responseKept)
	result, err := h.runner.Run(ctx, runner.Work{
		Input: params, Meta: meta, OnProgress: told.hear,
		Output: func(stream proc.Stream, data []byte) {
			if stream == proc.Stdout {
				response.Write(stream, data)
			}
		},
		MaxOutput: -1, TimeLimit: limit,
	})
	if result.Meta != nil {
		told.hear(runner.Progress{Meta: result.Meta})
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return Run{}, runner.Cancelled
	case err != nil:
		return Run{Result: ResultError, Code: notStarted, Message: err.Error()}, runner.Failed
	}
	return Run{
		Started: result.Started, Duration: result.Duration, Result: resultOf(result.Outcome), Code: result.Code(),
		Message: result.Reason, Response: []byte(response.Text(proc.Stdout)), Diagnostics: result.Diagnostics,
	}, result.Outcome
}

// notStarted is the code of a command that could not be started, as a shell has
// it.
const notStarted = 127

// meta is what a handler is told of its task.
func (r *Record) meta(limit time.Duration) []runner.Meta {
	return []runner.Meta{
		{Name: "task_id", Value: r.ID},
		{Name: "task_type", Value: r.Type},
		{Name: "task_attempt", Value: strconv.Itoa(r.Attempts + 1)},
		{Name: "task_crashes", Value: strconv.Itoa(r.Crashes)},
		{Name: "task_priority", Value: strconv.Itoa(r.Priority)},
		{Name: "task_time_limit", Value: strconv.FormatFloat(limit.Seconds(), 'f', -1, 64)},
	}
}
