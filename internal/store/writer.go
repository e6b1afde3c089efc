package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"

	"procops/internal/event"
)

const (
	// queueLength is how many updates may wait for the writer before Enqueue
	// blocks. It bounds memory when the disk stands still.
	queueLength = 16384
	// batchLimit bounds a transaction, so that writers in other processes get
	// their turn within milliseconds.
	batchLimit = 1024
)

// ErrClosed is returned for an update of a closed store.
var ErrClosed = errors.New("the state store is closed")

// request is one update on its way to the writer.
type request struct {
	fn   func(*Tx) error
	done func(error) // may be nil
}

// writer owns the one connection that writes.
type writer struct {
	db    *sql.DB
	conn  *sql.Conn
	opt   Options
	stmts map[string]*sql.Stmt
	log   eventLog

	mu       sync.RWMutex // guards closing the queue against a late send
	closed   bool
	queue    chan request
	finished chan struct{}
}

func startWriter(db *sql.DB, conn *sql.Conn, opt Options) *writer {
	w := &writer{
		db: db, conn: conn, opt: opt,
		stmts:    map[string]*sql.Stmt{},
		log:      eventLog{keep: opt.KeepEvents},
		queue:    make(chan request, queueLength),
		finished: make(chan struct{}),
	}
	go w.run()
	return w
}

func (w *writer) submit(ctx context.Context, r request) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.queue <- r:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *writer) close() error {
	w.mu.Lock()
	already := w.closed
	if !already {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.finished
	if already {
		return nil
	}
	var errs []error
	for _, s := range w.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

func (w *writer) run() {
	defer close(w.finished)
	batch := make([]request, 0, batchLimit)
	for first := range w.queue {
		batch = w.gather(append(batch[:0], first))
		w.commit(batch)
		clear(batch)
	}
}

// gather adds what waits already, without waiting for more.
func (w *writer) gather(batch []request) []request {
	for len(batch) < batchLimit {
		select {
		case r, ok := <-w.queue:
			if !ok {
				return batch
			}
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// commit runs the batch in one transaction. When one of several updates fails
// the transaction is undone and each runs in a transaction of its own, so that
// nobody pays for another's failure.
func (w *writer) commit(batch []request) {
	err := w.transact(batch)
	if err == nil || len(batch) == 1 {
		answer(batch, err)
		return
	}
	for i := range batch {
		answer(batch[i:i+1], w.transact(batch[i:i+1]))
	}
}

func answer(batch []request, err error) {
	for _, r := range batch {
		if r.done != nil {
			r.done(err)
		}
	}
}

// transact runs the updates in one transaction and publishes their events.
func (w *writer) transact(batch []request) error {
	ctx := context.Background()
	if _, err := w.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return writeError(err)
	}
	tx := &Tx{ctx: ctx, now: w.opt.Now(), q: w}
	events, err := w.apply(tx, batch)
	if err == nil {
		_, err = w.exec(ctx, "COMMIT")
		err = writeError(err)
	}
	if err != nil {
		// A failed COMMIT may have rolled back by itself: then this fails, harmlessly.
		_, _ = w.exec(ctx, "ROLLBACK")
		return err
	}
	w.publish(events)
	return nil
}

// apply runs the updates and records what they emitted.
func (w *writer) apply(tx *Tx, batch []request) ([]event.Event, error) {
	for _, r := range batch {
		if err := r.fn(tx); err != nil {
			return nil, err
		}
	}
	if w.opt.Bus != nil {
		for i := range tx.events {
			tx.events[i] = w.opt.Bus.Stamp(tx.events[i])
		}
	}
	return tx.events, writeError(w.log.record(tx, tx.events))
}

func (w *writer) publish(events []event.Event) {
	if w.opt.Bus == nil {
		return
	}
	for _, e := range events {
		w.opt.Bus.Publish(e)
	}
}

// prepared returns the statement for a query, preparing it once.
func (w *writer) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := w.stmts[query]; ok {
		return s, nil
	}
	s, err := w.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare %q: %w", query, err)
	}
	w.stmts[query] = s
	return s, nil
}

func (w *writer) exec(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := w.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (w *writer) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := w.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (w *writer) queryRow(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := w.prepared(ctx, query)
	if err != nil {
		// The unprepared call fails in the same way and carries the error in its Row.
		return w.conn.QueryRowContext(ctx, query, args...)
	}
	return s.QueryRowContext(ctx, args...)
}
