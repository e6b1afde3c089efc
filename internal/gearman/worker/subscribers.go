package worker

import (
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"procops/internal/event"
)

// listen subscribes what belongs to every worker to its events, and returns what ends
// that. Nobody listens to what is not logged, so that most events cost next to nothing.
func (w *Worker) listen() (end func()) {
	var ends []func()
	for _, described := range Events() {
		if level(described.Name) >= w.deps.Log.GetLevel() {
			ends = append(ends, w.deps.Bus.Subscribe(described.Name, w.own(w.log)))
		}
		if w.cfg.MemoryLimit > 0 && looksAtMemory(described.Name) {
			ends = append(ends, w.deps.Bus.Subscribe(described.Name, w.own(func(event.Event) { w.isFull() })))
		}
	}
	return func() {
		for _, end := range slices.Backward(ends) {
			end()
		}
	}
}

// speaker is what the data of all events of workers has.
type speaker interface{ speaker() string }

func (d runData) speaker() string      { return d.Worker }
func (d serverData) speaker() string   { return d.Worker }
func (d registerData) speaker() string { return d.Worker }
func (d jobData) speaker() string      { return d.Worker }
func (d resultData) speaker() string   { return d.Worker }
func (d endData) speaker() string      { return d.Worker }
func (d failedData) speaker() string   { return d.Worker }

// own passes on the events of this worker alone.
func (w *Worker) own(to func(event.Event)) func(event.Event) {
	return func(e event.Event) {
		if d, ok := e.Data.(speaker); ok && d.speaker() == w.id {
			to(e)
		}
	}
}

// looksAtMemory reports whether at an event of the type it is looked whether the worker is
// to end because of its memory: whenever no job is in the middle, before and after each, and
// when there is nothing to do.
func looksAtMemory(typ string) bool {
	return typ == eventBeforeExecute.Name() || typ == eventWork.Name() || typ == eventIOWait.Name()
}

// isFull reports whether the worker uses so much memory that it is to end, and has it end.
func (w *Worker) isFull() bool {
	limit := w.cfg.MemoryLimit.Bytes()
	if limit == 0 {
		return false
	}
	used := w.memory.used()
	if float64(used)*nearly < float64(limit) {
		return false
	}
	w.leave(fmt.Errorf("it uses %.1f MB of its memory_limit of %.1f MB", megabytes(used), megabytes(limit)))
	return true
}

func megabytes(n int64) float64 { return float64(n) / (1 << 20) }

// level returns at which level an event is logged.
func level(typ string) zerolog.Level {
	switch typ {
	case eventFailed.Name(), eventFunctionFailed.Name():
		return zerolog.ErrorLevel
	case eventBeforeRun.Name(), eventConnected.Name(), eventAfterRegister.Name(), eventAfterRun.Name():
		return zerolog.InfoLevel
	default:
		return zerolog.DebugLevel
	}
}

// log writes an event to the log.
func (w *Worker) log(e event.Event) {
	line := w.deps.Log.WithLevel(level(e.Type)) // nil, which takes all, below the level of the log
	switch d := e.Data.(type) {
	case runData:
		line.Strs("functions", d.Functions).Int("concurrency", d.Concurrency)
	case serverData:
		line.Str("server", d.Server)
	case registerData:
		line.Str("server", d.Server).Strs("functions", d.Functions)
	case jobData:
		line.Str("function", e.Subject).Str("job", d.Job).Str("server", d.Server)
	case resultData:
		line.Str("function", e.Subject).Str("job", d.Job).Str("server", d.Server).Str("outcome", d.Outcome).Float64("seconds", d.Seconds)
		if d.Message != "" {
			line.Str("error", d.Message)
		}
	case endData:
		line.Uint64("jobs", d.Jobs).Uint64("failed", d.Failed).Str("reason", d.Reason)
	case failedData:
		line.Str("server", d.Server).Str("error", d.Message)
	}
	line.Msg(e.Type)
}
