package tasks

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/runner"
)

// benchType is the type of the tasks of a measurement.
const benchType = "bench"

// Measurement says how fast tasks that do nothing were pushed and worked off.
type Measurement struct {
	Tasks  int
	Pushed time.Duration // for all of them
	Worked time.Duration // for all of them, from the first claim until the last is done
}

// BenchConfig returns the configuration of a queue for Bench: workers run at once in this
// process, and nothing but its tasks.
func BenchConfig(cfg Config, workers int) Config {
	cfg.Workers, cfg.Unknown = workers, Refuse
	cfg.Types = map[string]Type{benchType: {Command: []string{"true"}}}
	return cfg
}

// Bench pushes n tasks that do nothing, so many in a call, and works them off. The queue
// must be empty, and that of BenchConfig.
func (q *Queue) Bench(ctx context.Context, n, together int) (Measurement, error) {
	m := Measurement{Tasks: n}
	begun := time.Now()
	for left := n; left > 0; {
		batch := make([]Task, min(left, together))
		for i := range batch {
			batch[i].Type = benchType
		}
		if _, err := q.PushAll(ctx, batch); err != nil {
			return m, err
		}
		left -= len(batch)
	}
	m.Pushed = time.Since(begun)
	begun = time.Now()
	report, err := q.Work(ctx, Deps{Log: zerolog.Nop(), NewRunner: newIdle}, WorkOptions{UntilEmpty: true})
	m.Worked = time.Since(begun)
	switch {
	case err != nil:
		return m, err
	case ctx.Err() != nil:
		return m, context.Cause(ctx)
	case report.Completed != n:
		return m, fmt.Errorf("%d of %d tasks were done, %d failed", report.Completed, n, report.Failed)
	}
	return m, nil
}

// idle is the Runner whose work is nothing.
type idle struct{}

func newIdle(runner.Options) runner.Runner { return idle{} }

// Run does nothing.
func (idle) Run(context.Context, runner.Work) (runner.Result, error) {
	return runner.Result{Outcome: runner.Success, Started: time.Now()}, nil
}

// Warm does nothing.
func (idle) Warm(context.Context) error { return nil }

// Close does nothing.
func (idle) Close(context.Context) error { return nil }
