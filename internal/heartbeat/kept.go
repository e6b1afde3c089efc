package heartbeat

import (
	"context"
	"slices"
	"time"

	"procops/internal/fault"
	"procops/internal/store"
)

// KeptPing is a ping that said more than that all is well, as it was recorded.
type KeptPing struct {
	ID   int64
	Time time.Time
	Ping
}

// KeptFilter selects among what is kept of a heartbeat: its runs, or its pings.
type KeptFilter struct {
	ID     int64 // only this one; 0: any
	Failed bool  // only failures
	Limit  int   // at most this many, the newest; 0 means no bound
}

// chosen returns those that the filter selects of all that are kept, oldest first.
func chosen[T any](f KeptFilter, all []T, id func(T) int64, failed func(T) bool) []T {
	all = slices.DeleteFunc(all, func(one T) bool {
		return f.ID != 0 && id(one) != f.ID || f.Failed && !failed(one)
	})
	if f.Limit > 0 {
		all = all[max(0, len(all)-f.Limit):]
	}
	return all
}

// Runs returns the runs of a wrapped command, oldest first. A name that is neither in
// the list nor has runs is a fault.NotFound, and so is a run that is not kept.
func (l *List) Runs(ctx context.Context, name string, f KeptFilter) (runs []Run, err error) {
	err = l.store.View(ctx, func(tx *store.Tx) error {
		if runs, err = loadRuns(tx, name, -1); err != nil || len(runs) > 0 {
			return err
		}
		return l.mustKnow(tx, name)
	})
	for i, r := range runs {
		if r.State == RunRunning && !r.by.Alive() {
			runs[i].State = RunLost // the next knock or run records it
		}
	}
	runs = chosen(f, runs, func(r Run) int64 { return r.ID }, Run.failed)
	if err == nil && f.ID != 0 && len(runs) == 0 {
		err = fault.New(fault.NotFound, "no run %d of heartbeat %q is kept", f.ID, name)
	}
	return runs, err
}

func (r Run) failed() bool { return r.State == RunFailed || r.State == RunLost }

// Pings returns what clients said by pings, oldest first: those that came with a body,
// told of a failure or were for the log. A name that is neither in the list nor has
// pings is a fault.NotFound, and so is a ping that is not kept.
func (l *List) Pings(ctx context.Context, name string, f KeptFilter) (pings []KeptPing, err error) {
	err = l.store.View(ctx, func(tx *store.Tx) error {
		if pings, err = loadPings(tx, name); err != nil || len(pings) > 0 {
			return err
		}
		return l.mustKnow(tx, name)
	})
	pings = chosen(f, pings, func(p KeptPing) int64 { return p.ID }, func(p KeptPing) bool { return p.Kind == PingFail })
	if err == nil && f.ID != 0 && len(pings) == 0 {
		err = fault.New(fault.NotFound, "no ping %d of heartbeat %q is kept", f.ID, name)
	}
	return pings, err
}
