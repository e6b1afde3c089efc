package daemon

import (
	"context"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"procops/internal/event"
	"procops/internal/store"
)

// journal writes what a daemon does into the store without holding it up: what comes
// while a transaction is under way goes into the next one, together.
type journal struct {
	id    ID
	store *store.Store
	log   zerolog.Logger
	keep  int // turns

	mu      sync.Mutex
	pending page
	writing bool
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
	if !j.writing {
		j.write()
	}
}

// keepTurns changes how many turns are kept.
func (j *journal) keepTurns(n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keep = n
}

// write begins to write what is pending. The lock is held.
func (j *journal) write() {
	p, keep := j.pending, j.keep
	j.pending = page{}
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
		j.write()
	}
	if !j.writing && j.idle != nil {
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
