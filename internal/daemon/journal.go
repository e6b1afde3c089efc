package daemon

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/store"
)

// journalPause is the least time between two transactions: turns that follow each other
// closely share one.
const journalPause = 50 * time.Millisecond

// journal writes what a daemon does into the store without holding it up: what comes
// while a transaction is under way, or soon after one, goes into the next one, together.
type journal struct {
	id    ID
	store *store.Store
	log   zerolog.Logger
	keep  int // turns

	mu      sync.Mutex
	pending page
	writing bool
	last    time.Time     // when the last transaction was begun
	later   *time.Timer   // begins the next one; nil: nothing waits
	broken  bool          // the last transaction has failed, which was said
	idle    chan struct{} // closed when nothing is being written; nil while nobody waits
}

// page is what one transaction writes.
type page struct {
	state  *record // the newest; nil: as before
	turns  []Turn
	events []event.Event
}

func (p *page) empty() bool { return p.state == nil && len(p.turns) == 0 && len(p.events) == 0 }

// note adds to what is written. What it gets it keeps.
func (j *journal) note(add func(p *page)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	add(&j.pending)
	if spare := len(j.pending.turns) - max(1, j.keep); spare > 0 {
		j.pending.turns = slices.Delete(j.pending.turns, 0, spare)
	}
	if !j.writing && j.later == nil {
		j.writeSoon()
	}
}

// writeSoon begins to write what is pending, at once if the last time is long ago. The
// lock is held.
func (j *journal) writeSoon() {
	rest := journalPause - time.Since(j.last)
	if rest <= 0 {
		j.write()
		return
	}
	j.later = time.AfterFunc(rest, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if j.later != nil {
			j.write()
		}
	})
}

// keepTurns changes how many turns are kept.
func (j *journal) keepTurns(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keep = n
}

// write begins to write what is pending. The lock is held.
func (j *journal) write() {
	if j.later != nil {
		j.later.Stop()
		j.later = nil
	}
	p, keep := j.pending, j.keep
	j.pending, j.last = page{}, time.Now()
	err := j.store.Enqueue(func(tx *store.Tx) error { return p.save(tx, j.id, keep) }, j.written)
	j.writing = err == nil
	if err != nil {
		j.failed(err)
	}
}

// written goes on with what has come meanwhile.
func (j *journal) written(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.writing = false
	if err != nil {
		j.failed(err)
	} else {
		j.broken = false
	}
	if !j.pending.empty() {
		if j.idle != nil {
			j.write() // somebody waits for it
		} else {
			j.writeSoon()
		}
	}
	if !j.writing && j.later == nil && j.idle != nil {
		close(j.idle)
		j.idle = nil
	}
}

// failed says once that nothing can be written: the turns go on.
func (j *journal) failed(err error) {
	if !j.broken {
		j.log.Error().Err(err).Str("daemon", j.id.String()).Msg("cannot record what the daemon does; it goes on")
	}
	j.broken = true
}

// flush waits until all is written.
func (j *journal) flush(ctx context.Context) error {
	j.mu.Lock()
	if j.later != nil {
		j.write()
	}
	if !j.writing {
		j.mu.Unlock()
		return nil
	}
	if j.idle == nil {
		j.idle = make(chan struct{})
	}
	idle := j.idle
	j.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
